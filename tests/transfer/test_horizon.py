"""The optimum against the training step, from curves whose optimum is known, and what differs from tuning."""

import math
from dataclasses import replace

import pytest

from mutransfer.training.events import Note
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.transfer.search.tune import tune
from mutransfer.transfer.verification.optimum_by_step import changed_settings, optimum_course
from mutransfer.transfer.verification.verify import verify

STEPS = 64


def spec(**changes):
    known = {"task": "none", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.1}, "steps": STEPS}
    return RunSpec(**{**known, **changes})


def bowl(x, step, slope):
    """Loss whose optimum in log2 lr moves by ``slope`` octaves per doubling of the step, from -4 at 16 steps."""
    return math.exp(0.1 * (x + 4 - slope * math.log2(step / 16)) ** 2)


def sweep_of(slope, *, evaluations=(), seeds=3, died=None):
    results = {}
    for x in [float(i) for i in range(-9, 1)]:
        train = [bowl(x, step, slope) for step in range(1, STEPS + 1)]
        curve = ((0, 50.0), *((s, bowl(x, s, slope)) for s in evaluations), (STEPS, train[-1]))
        if died is not None and x >= died:
            train, curve = train[:20], ((0, 50.0), *((s, v) for s, v in curve[1:] if s <= 20))
        end = curve[-1][1] if len(train) == STEPS else math.inf
        outcome = Outcome.OK if math.isfinite(end) else Outcome.DIVERGED
        run = RunResult(
            outcome=outcome,
            initial_loss=50.0,
            final_loss=end,
            best_loss=1.0,
            train_curve=tuple(train),
            eval_curve=tuple(curve),
        )
        results[x] = [run] * seeds
    return Sweep(template=spec(), seeds=tuple(range(seeds)), results=results)


@pytest.mark.parametrize("slope", [0.0, -0.5, -1.0])
def test_the_slope_of_evaluations_is_the_one_that_was_put_in(slope):
    found = optimum_course(sweep_of(slope, evaluations=(16, 32)))
    assert (found.source, list(found.optima)) == ("evaluation", [16, 32, 64])
    assert found.slope == pytest.approx(slope, abs=0.05)
    for step, optimum in found.optima.items():
        assert optimum.log2_lr == pytest.approx(-4 + slope * math.log2(step / 16), abs=0.1)


@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_without_evaluations_training_losses_are_read(slope):
    found = optimum_course(sweep_of(slope))
    assert (found.source, list(found.optima)) == ("training", [16, 32, 48, 64])
    assert found.slope == pytest.approx(slope, abs=0.08)


@pytest.mark.parametrize("evaluations", [(16, 32), ()])
def test_a_run_that_died_on_the_way_counts_until_it_died(evaluations):
    found = optimum_course(sweep_of(0.0, evaluations=evaluations, died=-4.0))
    assert found.optima[16].log2_lr == pytest.approx(-4, abs=0.15)
    assert found.optima[64].log2_lr < -4.2


def test_an_optimum_on_the_border_does_not_bend_the_slope():
    found = optimum_course(sweep_of(-3.0, evaluations=(16, 32)))  # -4, -7, -10: beyond the grid
    assert found.optima[64].at_edge == "low"
    assert found.slope == pytest.approx(-3.0, abs=0.1)


def test_every_difference_is_said():
    assert changed_settings(spec(), spec(width=64, parameterization="sp", seed=3)) == ()
    found = changed_settings(spec(), replace(spec(steps=128, batch_size=32), task="other"))
    assert [text.split(":")[0] for text in found] == [
        "tuned on none, verified on other",
        "tuned with steps=64, verified with steps=128",
        "tuned with batch_size=default, verified with batch_size=32",
    ]


def test_verifying_with_other_steps_and_batches_says_so_and_trains_so():
    task, record, notes = DigitsMLP(batch_size=32, n_train=256), Record(), []
    search = {"space": {"lr": (2.0**-6, 2.0**-2)}, "optimizer": "adam", "steps": 4, "seeds": 2, "device": "cpu"}
    tuned = tune(task, base_width=8, record=record, **search)
    larger = replace(task, batch_size=64)
    found = verify(
        larger,
        tuned,
        widths=[16],
        steps=8,
        record=record,
        device="cpu",
        sink=lambda e: notes.append(e.text) if isinstance(e, Note) else None,
    )
    assert len(found.notes) == 2
    assert "batch_size=64" in found.notes[0]
    assert found.notes[1].startswith("tuned with steps=4, verified with steps=8")
    assert [n for n in notes if "tuned" in n] == [f"mup: {n}" for n in found.notes]
    assert {s.template.steps for s in found.sweeps.values()} == {8}
    assert {s.template.task for s in found.sweeps.values()} == {repr(larger)}
    assert set(found.courses) == {8, 16}
    same = verify(task, tuned, widths=[16], record=record, device="cpu")
    assert same.notes == ()
