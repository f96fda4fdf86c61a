"""Every outcome of a verification is reached, in the order that leads the report, with its exit code."""

import itertools
import math

import numpy as np
import pytest

from mutransfer.intervals import Interval, Slope
from mutransfer.transfer.curves.optimum import Optimum
from mutransfer.transfer.verification.evidence import COMMON, drift_slope
from mutransfer.transfer.verification.verdict import (
    Movement,
    Verdict,
    exit_code,
    headline,
    judge_movement,
    judge_transfer,
    sentence,
)

NO_REGRET = Interval(value=0.0, low=-0.01, high=0.01)


WIDE = Slope(value=0.0, low=-1.0, high=1.0)  # a drift that says nothing


def interval(value, half):
    return Interval(value=value, low=value - half, high=value + half)


def judge(regret=NO_REGRET, *, earlier=None, tolerance=0.05, drift=WIDE, diverged=None, edges=None, seeds=3, points=10):
    wider = {} if regret is None else {"128": earlier or NO_REGRET, "256": regret}
    return judge_transfer(
        regret=wider and {"64": NO_REGRET, **wider},
        tolerance=tolerance,
        drift=drift,
        drift_tolerance=0.1,
        diverged=diverged or {},
        edges=edges or {},
        seeds=seeds,
        points=points,
        base="64",
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.01, 0.04, Verdict.TRANSFERS),
        (-0.01, 0.05, Verdict.TRANSFERS),  # at the tolerance is within it
        (0.03, 0.07, Verdict.INCONCLUSIVE),
        (0.05, 0.07, Verdict.INCONCLUSIVE),
        (0.06, 0.07, Verdict.DRIFTS),
        (-0.30, -0.20, Verdict.TRANSFERS),  # better than the width's own best: the seeds' luck, not harm
    ],
)
def test_the_interval_of_the_regret_at_the_largest_width_against_the_tolerance_decides(low, high, verdict):
    assert judge(Interval(value=(low + high) / 2, low=low, high=high))[0] is verdict


def test_a_large_regret_at_any_width_drifts_and_names_it():
    verdict, reason = judge(earlier=interval(0.2, 0.1))
    assert verdict is Verdict.DRIFTS
    assert "at width 128" in reason
    assert "at width 256" not in reason


def test_a_doubtful_width_between_keeps_a_study_from_transferring():
    verdict, reason = judge(earlier=interval(0.06, 0.02))
    assert verdict is Verdict.INCONCLUSIVE
    assert "at width 128, tolerance" in reason
    assert judge(earlier=interval(0.04, 0.02))[0] is Verdict.TRANSFERS  # its value is small, and the largest decides


@pytest.mark.parametrize(
    ("value", "drift", "verdict"),
    [
        (0.04, (-0.08, 0.08), Verdict.TRANSFERS),
        (0.06, (-0.08, 0.08), Verdict.INCONCLUSIVE),  # the regret's value says otherwise
        (0.06, (0.15, 0.30), Verdict.DRIFTS),
        (0.06, (-0.30, -0.15), Verdict.DRIFTS),
        (0.04, (0.15, 0.30), Verdict.INCONCLUSIVE),
        (0.04, (-0.05, 0.30), Verdict.INCONCLUSIVE),
    ],
)
def test_what_the_regret_leaves_open_the_drift_over_all_widths_decides(value, drift, verdict):
    low, high = drift
    found, _ = judge(interval(value, 0.03), drift=Slope(value=(low + high) / 2, low=low, high=high))
    assert found is verdict


@pytest.mark.parametrize(("low", "high", "noted"), [(0.15, 0.3, True), (-0.2, 0.3, False), (0.01, 0.05, False)])
def test_a_drift_that_costs_nothing_is_noted(low, high, noted):
    verdict, reason = judge(drift=Slope(value=(low + high) / 2, low=low, high=high))
    assert verdict is Verdict.TRANSFERS
    assert ("drifts all the same" in reason) is noted


def test_divergence_at_the_transferred_learning_rate_comes_before_everything():
    verdict, reason = judge(diverged={"32": 1, "64": 3}, edges={"64": "low"})
    assert verdict is Verdict.UNSTABLE
    assert "1 of 3 at width 32, 3 of 3 at width 64" in reason


def test_an_optimum_on_the_border_comes_before_any_regret_and_names_the_end_to_extend():
    verdict, reason = judge(Interval(value=1.0, low=0.9, high=1.1), edges={"64": "high"})
    assert verdict is Verdict.EDGE
    assert "width 64: extend the high end" in reason


def test_one_seed_decides_nothing():
    verdict, reason = judge(None, seeds=1)
    assert verdict is Verdict.INCONCLUSIVE
    assert "one seed gives no interval; use at least two" in reason


def test_the_reason_tells_the_regret_as_a_change_of_loss_in_percent():
    _, reason = judge(Interval(value=math.log(1.1), low=math.log(1.02), high=math.log(1.2)), tolerance=math.log(1.3))
    assert reason.endswith("+10.0 % [+2.0 %, +20.0 %] at width 256, tolerance +30.0 %")


def test_an_inconclusive_reason_says_how_many_more_seeds_and_runs_would_decide():
    # The half width 0.04 falls like 1/sqrt(seeds); it has to reach 0.02, the distance to the tolerance: 4 times 3.
    _, reason = judge(interval(0.03, 0.04), seeds=3, points=10)
    assert reason.endswith("about 9 more seeds would decide (90 runs at width 256)")


def test_it_never_asks_for_no_more_seeds():
    _, reason = judge(Interval(value=0.75, low=0.5, high=1.0), tolerance=0.5)
    assert "about 1 more seed would decide" in reason


def test_a_regret_at_the_tolerance_itself_is_beyond_any_number_of_seeds():
    _, reason = judge(interval(0.05, 0.04))
    assert reason.endswith("the regret is at the tolerance itself")


@pytest.mark.parametrize(
    ("low", "high", "movement"),
    [
        (-0.1, 0.1, Movement.MOVES),
        (-0.15, 0.15, Movement.MOVES),
        (-0.6, -0.4, Movement.LAZY),
        (-0.3, -0.26, Movement.LAZY),
        (0.2, 0.6, Movement.EXPLODES),
        (-0.24, -0.16, Movement.UNCLEAR),  # between alike at every width and lazy
        (-0.6, 0.1, Movement.UNCLEAR),
        (-0.1, 0.3, Movement.UNCLEAR),
    ],
)
def test_the_interval_of_the_slope_decides_the_movement(low, high, movement):
    found, reason = judge_movement(Slope(value=(low + high) / 2, low=low, high=high, predicted=0.0))
    assert found is movement
    assert f"{(low + high) / 2:+.2f}" in reason


def test_without_activations_the_movement_is_unknown():
    assert judge_movement(None)[0] is Movement.UNKNOWN


@pytest.mark.parametrize(("verdict", "movement"), list(itertools.product(Verdict, Movement)))
def test_the_headline_is_the_first_that_holds_of_the_documented_order(verdict, movement):
    holds = {str(verdict), str(movement)}
    order = ["UNSTABLE", "EDGE", "INCONCLUSIVE", "LAZY", "EXPLODES", "DRIFTS", "TRANSFERS"]
    assert headline(verdict, movement) == next(word for word in order if word in holds)


@pytest.mark.parametrize(
    ("verdict", "movement", "code"),
    [
        (Verdict.TRANSFERS, Movement.MOVES, 0),
        (Verdict.TRANSFERS, Movement.UNKNOWN, 0),  # a task of the user's own that reports no activations
        (Verdict.TRANSFERS, Movement.LAZY, 1),
        (Verdict.TRANSFERS, Movement.EXPLODES, 1),
        (Verdict.TRANSFERS, Movement.UNCLEAR, 3),
        (Verdict.DRIFTS, Movement.MOVES, 1),
        (Verdict.DRIFTS, Movement.UNCLEAR, 1),
        (Verdict.UNSTABLE, Movement.MOVES, 1),
        (Verdict.UNSTABLE, Movement.UNKNOWN, 1),
        (Verdict.EDGE, Movement.MOVES, 3),
        (Verdict.EDGE, Movement.LAZY, 3),
        (Verdict.INCONCLUSIVE, Movement.MOVES, 3),
        (Verdict.INCONCLUSIVE, Movement.EXPLODES, 3),
    ],
)
def test_the_exit_code_is_0_for_a_pass_1_for_a_negative_verdict_3_for_none(verdict, movement, code):
    assert exit_code(verdict, movement) == code


@pytest.mark.parametrize(("verdict", "movement"), list(itertools.product(Verdict, Movement)))
def test_every_outcome_has_a_sentence_of_its_own_with_the_parameterization_in_it(verdict, movement):
    def of(v, m):
        return sentence(v, m, parameterization="mup", base="64", largest="1024", drift=None)

    text = of(verdict, movement)
    assert text.startswith("Under mup, ")
    assert text.endswith(".")
    others = itertools.product(Verdict, Movement)
    assert [(v, m) for v, m in others if of(v, m) == text] == [(verdict, movement)]


def test_the_sentence_tells_the_drift_where_it_is_known():
    drift = Slope(value=-1.0, low=-1.1, high=-0.9, predicted=-1.0)
    text = sentence(Verdict.DRIFTS, Movement.MOVES, parameterization="sp", base="8", largest="64", drift=drift)
    assert "moves by -1.00 [-1.10, -0.90] (theory -1.00) octaves per doubling" in text


def optimum(log2_lr, spread=0.0):
    draws = log2_lr + spread * np.linspace(-1, 1, 101)
    return Optimum(log2_lr=log2_lr, low=draws[5], high=draws[95], loss=1.0, draws=tuple(draws))


def test_the_drift_of_optima_on_a_line_is_its_slope_exactly():
    found = drift_slope([64, 128, 256, 512], [optimum(-6.0 - 0.5 * i) for i in range(4)], predicted=-1.0)
    assert (found.value, found.low, found.high) == pytest.approx((-0.5, -0.5, -0.5), abs=1e-12)
    assert found.predicted == -1.0


def test_the_drift_is_per_doubling_whatever_the_ratios_of_the_widths():
    found = drift_slope([10, 40, 80], [optimum(0.0), optimum(-2.0), optimum(-3.0)], predicted=None)
    assert found.value == pytest.approx(-1.0, abs=1e-12)


def test_the_drift_between_two_widths_scatters_like_their_difference_less_what_they_have_in_common():
    # The difference of two uniform numbers from -1 to 1 is within -2 (1 - sqrt(0.1)) and its opposite 90 % of the time.
    found = drift_slope([64, 128], [optimum(-6.0, 1.0), optimum(-6.0, 1.0)], predicted=None)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    expected = 4 * (1 - math.sqrt(0.1)) * math.sqrt(1 - COMMON)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)  # of 101 draws


def test_one_width_has_no_drift():
    assert drift_slope([64], [optimum(-6.0)], predicted=None) is None


def test_a_tuned_rate_that_diverges_at_base_width_says_that_nothing_was_tuned():
    verdict, reason = judge(None, diverged={"64": 1, "128": 2})
    assert verdict is Verdict.UNSTABLE
    assert "at base width already, so nothing was tuned" in reason
    assert "nothing was tuned" not in judge(None, diverged={"128": 2})[1]
