"""Feature movement in the Trainer's logs, and checkpoints from which plan and movement go on."""

import math

import pytest
import torch

import mutransfer as mt
from mutransfer.errors import PlanError
from mutransfer.integrations.hf import TransferCallback
from mutransfer.parameterization.measuring.activations import activations, relative_changes

from .hf_runs import KEYS, ROWS, STEPS, history, trainer, wrap


def test_movement_is_logged_and_leaves_training_as_it_was_to_the_bit(tmp_path):
    model, plan = wrap()
    plain = trainer(model, plan, tmp_path)
    plain.train()
    watched_model, plan = wrap()
    watched = trainer(watched_model, plan, tmp_path, TransferCallback(plan, movement_every=2))
    watched.train()
    assert history(watched) == history(plain)
    assert all(map(torch.equal, watched_model.parameters(), model.parameters()))
    assert all(module.training for module in watched_model.modules())
    for key in KEYS:
        assert len(history(watched, key)) == STEPS // 2
        assert all(math.isfinite(x) and x > 0 for x in history(watched, key))


def test_movement_is_that_of_the_probes_on_the_first_rows_of_the_first_batch(tmp_path):
    model, plan = wrap()
    callback = TransferCallback(plan, probe_rows=2)
    before = activations(model, lambda: model(ROWS[:2]))
    run = trainer(model, plan, tmp_path, callback)
    run.train()
    expected = relative_changes(before, activations(model, lambda: model(ROWS[:2])))
    assert callback.movement.changes == pytest.approx(expected, rel=1e-5)
    assert history(run, "movement/readout")[-1] == pytest.approx(expected["lm_head"], rel=1e-5)
    assert history(run, "movement/largest")[-1] == pytest.approx(max(expected.values()), rel=1e-5)


def test_added_first_it_reaches_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, plan = wrap()
    run = trainer(model, plan, tmp_path, report_to="tensorboard")
    TransferCallback(plan, probe={"input_ids": ROWS[:4]}).add_to(run)
    run.train()
    (file,) = tmp_path.rglob("events.out.*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert {f"train/{key}" for key in KEYS} <= set(events.Tags()["scalars"])


def test_checkpoints_carry_the_plan_and_a_resumed_run_goes_on_with_plan_and_movement(tmp_path):
    model, plan = wrap()
    whole = trainer(model, plan, tmp_path, TransferCallback(plan), save_strategy="steps", save_steps=2)
    whole.train()
    assert mt.load_plan(tmp_path / "checkpoint-2") == plan == mt.load_plan(tmp_path / "checkpoint-4")
    model, plan = wrap()
    resumed = trainer(model, plan, tmp_path, TransferCallback(plan))
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for key in KEYS | {"loss"}:
        assert history(resumed, key) == pytest.approx(history(whole, key), rel=1e-6)
    model, other = wrap(base_width=16)
    run = trainer(model, other, tmp_path, TransferCallback(other))
    with pytest.raises(PlanError, match="base_width 32, here 16"):
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
