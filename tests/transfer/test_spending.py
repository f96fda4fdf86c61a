"""Sequential verifications of real runs: what is run, what it costs beside the full grid, and budgets."""

import pytest
import torch

from mutransfer.errors import ConfigError
from mutransfer.training.events import Note, RunFinished
from mutransfer.training.flops import flops_per_step
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.tune import tune
from mutransfer.transfer.verification.budget import Budget
from mutransfer.transfer.verification.verdict import Verdict
from mutransfer.transfer.verification.verify import verify

TASK = DigitsMLP(hidden_layers=1, n_train=512)
SEARCH = {"space": {"lr": (2.0**-9, 2.0**-1)}, "optimizer": "adam", "steps": 20, "seeds": 3, "device": "cpu"}


def test_flops_are_those_of_the_matrix_products():
    spec = RunSpec(task="digits", width=32, base_width=32, hyperparameters={"lr": 0.01}, optimizer="adam")
    state = torch.random.get_rng_state()
    found = flops_per_step(spec, TASK, infer_plan(spec, TASK))
    assert torch.equal(torch.random.get_rng_state(), state)
    # Two per multiplication; forward and gradients of weights everywhere, gradients of inputs behind the first layer.
    assert found == 2 * 64 * (2 * 64 * 32 + 3 * 32 * 10)


@pytest.fixture(scope="module")
def record():
    return Record()


@pytest.fixture(scope="module")
def tuned(record):
    return tune(TASK, base_width=16, record=record, **SEARCH)


@pytest.fixture(scope="module")
def few(tuned, record):
    events = []
    found = verify(TASK, tuned, widths=[32, 64], record=record, device="cpu", sequential=True, sink=events.append)
    return found, events


def test_what_was_spent_is_that_of_the_runs_and_less_than_the_full_grid_with_every_seed(few):
    found, events = few
    done = [e.result for e in events if isinstance(e, RunFinished) and e.spec.width > 16]
    spent = found.spending
    assert spent.runs == len(done)
    assert spent.seconds == pytest.approx(sum(r.seconds for r in done))
    expected = sum(
        len(e.result.train_curve) * 2 * 64 * (2 * 64 * e.spec.width + 3 * e.spec.width * 10)
        for e in events
        if isinstance(e, RunFinished) and e.spec.width > 16
    )
    assert spent.flops == expected
    per_run = {w: 20 * 2 * 64 * (2 * 64 * w + 3 * w * 10) for w in (32, 64)}
    assert spent.estimate.full == sum(per_run.values()) * (9 + 3) * 3
    assert spent.part == expected / spent.estimate.full < 0.6  # features of so small a study leave no seed unused
    assert any("of the full grid's cost" in e.text for e in events if isinstance(e, Note))
    assert any(str(spent) in e.text for e in events if isinstance(e, Note))


def test_it_has_all_widths_and_the_transferred_learning_rate_in_each(few):
    found, _ = few
    assert list(found.sweeps) == [16, 32, 64]
    for sweep in found.sweeps.values():
        assert found.transferred_log2_lr in sweep.results
        assert {len(runs) for runs in sweep.results.values()} == {len(sweep.seeds)}


def test_its_runs_are_those_of_the_full_grid_where_they_share_points(few, tuned, record):
    found, _ = few
    full = verify(TASK, tuned, widths=[32, 64], record=record, device="cpu")
    assert full.spending is None
    shared = found.sweeps[64].results[found.transferred_log2_lr]
    assert full.sweeps[64].results[found.transferred_log2_lr][: len(shared)] == shared
    if found.verdict is not Verdict.INCONCLUSIVE:
        assert found.verdict is full.verdict


def test_a_divergence_at_the_transferred_learning_rate_ends_it_at_once(record):
    point = {"lr": 2.0**8}
    found = verify(
        TASK,
        point,
        base_width=16,
        widths=[32, 64],
        parameterization="sp",
        optimizer="adam",
        steps=20,
        seeds=3,
        grid=[7.0, 8.0],
        record=record,
        device="cpu",
        sequential=True,
    )
    assert found.verdict is Verdict.UNSTABLE
    assert found.spending.runs == 2
    assert found.spending.reason == "UNSTABLE"


def test_a_budget_leaves_widths_out_and_is_kept(few, tuned, record):
    found, _ = few
    flops = 0.6 * found.spending.estimate.usual
    less = verify(TASK, tuned, widths=[32, 64], record=record, device="cpu", budget=Budget(flops=flops))
    assert list(less.sweeps) == [16, 32]
    assert less.spending.left_out == (64,)
    assert less.spending.flops <= flops
    assert "does not pay for width 64" in str(less.spending)


def test_a_budget_pays_for_moving_other_hyperparameters_with_what_the_learning_rate_leaves(few, tuned, record):
    moved = ["init_mult", "output_mult"]
    whole = verify(TASK, tuned, widths=[32, 64], record=record, device="cpu", sequential=True, perturb=moved)
    assert list(whole.sensitivity) == moved
    assert not whole.spending.not_perturbed
    run_flops = 20 * 2 * 64 * (2 * 64 * 64 + 3 * 64 * 10)
    reference = 3 - len(whole.sweeps[64].seeds)
    assert whole.spending.perturbing == (reference + 2 * 2 * 3) * run_flops

    flops = whole.spending.flops + (reference + 2 * 3) * run_flops  # of one of the two
    tight = verify(TASK, tuned, widths=[32, 64], record=record, device="cpu", budget=Budget(flops=flops), perturb=moved)
    assert list(tight.sensitivity) == ["init_mult"]
    assert tight.spending.flops + tight.spending.perturbing <= flops
    assert "does not pay for moving output_mult" in str(tight.spending)


def test_a_budget_that_pays_for_nothing_is_refused_with_what_is_needed(tuned, record):
    with pytest.raises(ConfigError, match=r"does not pay for the smallest width .* FLOPs are needed, 10 are there"):
        verify(TASK, tuned, widths=[32], record=record, device="cpu", budget=Budget(flops=10.0))
    with pytest.raises(ConfigError, match="minutes must be positive"):
        Budget(minutes=0)
