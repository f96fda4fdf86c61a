"""The verifier's judgement of sweeps made by hand, whose truth is known."""

import math

import numpy as np
import pytest

from mutransfer.parameterization.plan import Plan
from mutransfer.theory.rules import AS_IS, MUP, NTK, SP
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.transfer.verification.result import judge
from mutransfer.transfer.verification.verdict import Movement, Verdict

WIDTHS = (16, 32, 64, 128)
GRID = [x / 2 for x in range(-20, -3)]
TRANSFERRED = -6.0
INITIAL = 2.3


@pytest.fixture(scope="module")
def plan(digits):
    return Plan.infer(digits.build, width=128, base_width=16, parameterization="mup", optimizer="adam", check=False)


@pytest.fixture
def judged(plan, make_spec):
    def do(
        *,
        shift=0.0,  # octaves by which the optimum moves per doubling
        curvature=0.4,  # log loss one octave to the left of the optimum
        noise=0.01,
        seeds=4,
        power=0.0,  # of width, of the features' movement
        shake=0.01,
        cliff=math.inf,  # log2 learning rate beyond which the largest width diverges
        table=MUP,
        grid=GRID,
        moved=True,
        no_memory=False,  # for the largest width
        luck=0.0,  # of a seed, at every learning rate
    ):
        rng = np.random.default_rng(0)
        sweeps = {}
        for doublings, width in enumerate(WIDTHS):
            centre = TRANSFERRED + shift * doublings
            results = {}
            for x in grid:
                d = x - centre
                height = curvature * d * d * (2 if d > 0 else 1)
                dead = width == WIDTHS[-1] and x > cliff
                runs = []
                for seed in range(seeds):
                    lucky = luck * (seed - (seeds - 1) / 2)
                    loss = 0.1 * 0.8**doublings * math.exp(min(height, 10) + rng.normal(0, noise) + lucky)
                    dead_or_bad = dead or loss > INITIAL
                    outcome = Outcome.DIVERGED if dead_or_bad else Outcome.OK
                    if no_memory and width == WIDTHS[-1]:
                        dead_or_bad, outcome = True, Outcome.OUT_OF_MEMORY
                    change = math.exp(math.log(0.5) + power * math.log(width) + rng.normal(0, shake))
                    runs.append(
                        RunResult(
                            outcome=outcome,
                            initial_loss=math.inf if outcome is Outcome.OUT_OF_MEMORY else INITIAL,
                            final_loss=math.inf if dead_or_bad else loss,
                            best_loss=min(loss, INITIAL),
                            movement={"1": change} if moved else {},
                        )
                    )
                results[x] = runs
            template = make_spec(width=width, base_width=16)
            sweeps[width] = Sweep(template=template, seeds=tuple(range(seeds)), results=results)
        return judge(table, sweeps, TRANSFERRED, plan)

    return do


def test_one_optimum_at_every_width_transfers_with_features_that_move(judged):
    found = judged()
    assert (found.verdict, found.movement) == (Verdict.TRANSFERS, Movement.MOVES)
    assert (found.headline, found.exit_code) == ("TRANSFERS", 0)
    assert "still right at width 128" in found.sentence
    assert list(found.optima) == list(found.regret) == list(WIDTHS)


def test_an_optimum_that_halves_with_every_doubling_drifts_by_one_octave(judged):
    found = judged(shift=-1.0, curvature=0.1, table=SP)
    assert (found.verdict, found.headline, found.exit_code) == (Verdict.DRIFTS, "DRIFTS", 1)
    # A step of half an octave off the optimum costs 0.025 to 0.05 in log loss, the mean of four seeds errs by 0.005:
    # each optimum is within a quarter of an octave, the slope over three doublings within 0.25 / sqrt(5).
    assert found.drift.value == pytest.approx(-1.0, abs=0.25 / math.sqrt(5))
    assert found.drift.low <= -1.0 <= found.drift.high
    assert [found.optima[w].log2_lr for w in WIDTHS] == pytest.approx([-6, -7, -8, -9], abs=0.25)


def test_the_regret_of_a_drift_is_the_height_of_the_curve_at_the_transferred_learning_rate(judged):
    found = judged(shift=-1.0, curvature=0.1, table=SP)
    # d octaves to the right of its optimum a curve of this kind is 0.2 d^2 high. The floor is read off a chord of
    # half an octave, which lies up to 0.4 / 8 / 4 above it; the difference of two means of four errs by 0.007.
    for doublings, width in enumerate(WIDTHS):
        assert found.regret[width].value == pytest.approx(0.2 * doublings**2, abs=0.0125 + 3 * 0.007)


def test_a_drift_on_a_flat_curve_transfers_with_a_drift_note(judged):
    found = judged(shift=-0.5, curvature=0.005, noise=0.005)
    assert (
        found.verdict is Verdict.TRANSFERS
    )  # 0.02 in log loss at 1.5 octaves; width bought 0.67, a tenth is tolerated
    assert found.drift.high < 0
    assert "octaves per doubling" in found.sentence


def test_seeds_that_diverge_at_the_transferred_learning_rate_make_it_unstable(judged):
    found = judged(shift=-0.5, cliff=-6.5, table=SP)
    assert (found.verdict, found.headline, found.exit_code) == (Verdict.UNSTABLE, "UNSTABLE", 1)
    assert found.reason.endswith("4 of 4 at width 128")


def test_divergence_beyond_the_transferred_learning_rate_is_no_instability(judged):
    assert judged(cliff=-5.5).verdict is Verdict.TRANSFERS


def test_a_width_that_the_memory_does_not_hold_decides_nothing_and_is_no_instability(judged):
    found = judged(no_memory=True)
    assert (found.verdict, found.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert found.reason == "the memory does not hold width 128"


def test_an_optimum_that_leaves_the_grid_is_an_edge_with_its_side(judged):
    found = judged(shift=-1.0, curvature=0.1, grid=[x for x in GRID if x >= -8])
    assert (found.verdict, found.headline, found.exit_code) == (Verdict.EDGE, "EDGE", 3)
    assert "width 128: extend the low end" in found.reason
    assert "width 16" not in found.reason


def test_seeds_that_disagree_are_inconclusive(judged):
    found = judged(shift=-0.5, curvature=0.05, noise=0.2, seeds=3)  # regret 0.225, tolerance about 2 * 0.2 / sqrt(3)
    assert (found.verdict, found.headline, found.exit_code) == (Verdict.INCONCLUSIVE, "INCONCLUSIVE", 3)
    assert found.regret[128].low < found.tolerance < found.regret[128].high


def test_one_seed_is_inconclusive_and_has_no_regret(judged):
    found = judged(seeds=1)
    assert (found.verdict, found.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert found.regret == {}
    assert "use at least two" in found.reason


def test_features_that_freeze_are_lazy_though_the_learning_rate_transfers(judged):
    found = judged(power=-0.5, table=NTK)
    assert (found.verdict, found.movement) == (Verdict.TRANSFERS, Movement.LAZY)
    assert (found.headline, found.exit_code) == ("LAZY", 1)
    # 1 % noise, 4 seeds, widths 32 to 128: the slope's standard error is 0.01 / (0.57 sqrt 12) = 0.005.
    assert found.overall_features.value == pytest.approx(-0.5, abs=0.02)
    assert found.features["1"].predicted == -0.5


def test_features_that_move_ever_more_explode(judged):
    found = judged(power=0.5)
    assert (found.movement, found.headline, found.exit_code) == (Movement.EXPLODES, "EXPLODES", 1)


def test_features_that_differ_by_seed_are_unclear(judged):
    found = judged(shake=1.0)
    assert (found.movement, found.exit_code) == (Movement.UNCLEAR, 3)


def test_without_activations_the_movement_is_unknown_and_does_not_fail_a_transfer(judged):
    found = judged(moved=False)
    assert (found.movement, found.exit_code) == (Movement.UNKNOWN, 0)
    assert (found.overall_features, found.features) == (None, {})


def test_what_theory_predicts_is_set_beside_what_was_found(judged):
    assert judged(table=MUP).drift.predicted == 0.0
    assert judged(table=SP).drift.predicted == -1.0
    found = judged(table=AS_IS)  # its init law was not measured
    assert (found.drift.predicted, found.overall_features.predicted) == (None, None)


def test_the_tolerance_is_a_tenth_of_what_width_bought_where_the_seeds_agree(judged):
    found = judged(noise=0.001)
    assert found.tolerance == pytest.approx(0.1 * math.log(1 / 0.8**3), rel=0.02)


def test_noisy_seeds_raise_the_tolerance_to_what_a_pair_of_runs_cannot_tell(judged):
    # The noise is pooled over 4 widths, some 6 learning rates near the best and 4 seeds: 60 degrees of freedom, three
    # of its standard errors are 27 %. The number of seeds does not matter.
    for seeds in (4, 8):
        assert judged(noise=0.2, seeds=seeds).tolerance == pytest.approx(0.2 * math.sqrt(2), rel=0.27)


def test_luck_that_a_seed_has_at_every_learning_rate_excuses_no_regret(judged):
    one, lucky = judged(noise=0.001), judged(noise=0.001, luck=0.5)
    assert lucky.tolerance == pytest.approx(one.tolerance, rel=0.02)
    assert lucky.regret[128].high == pytest.approx(one.regret[128].high, abs=0.002)
