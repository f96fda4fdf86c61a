"""Feature movement in Lightning's logs, and checkpoints from which plan and movement go on."""

import csv
import math

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

import mutransfer as mt
from mutransfer.errors import PlanError
from mutransfer.integrations.lightning import TransferCallback
from mutransfer.parameterization.measuring.activations import activations, relative_changes

from .lightning_runs import INPUTS, QUIET, Rates, fit, wrap

pytestmark = QUIET
KEYS = {"movement/median", "movement/largest", "movement/readout"}


def test_movement_is_logged_and_leaves_training_as_it_was_to_the_bit(tmp_path):
    plain, _ = wrap()
    torch.manual_seed(1)
    fit(plain, tmp_path)
    watched, plan = wrap()
    torch.manual_seed(1)
    logger = CSVLogger(tmp_path)
    trainer = fit(watched, tmp_path, TransferCallback(plan, movement_every=2), logger=logger)
    assert watched.losses == plain.losses
    assert all(map(torch.equal, watched.parameters(), plain.parameters()))
    assert all(module.training for module in watched.modules())
    assert set(trainer.callback_metrics) == KEYS
    with open(logger.experiment.metrics_file_path) as file:
        logged = [row for row in csv.DictReader(file) if row["movement/median"]]
    assert [row["step"] for row in logged] == ["1", "3"]
    assert all(math.isfinite(float(row[key])) and float(row[key]) > 0 for row in logged for key in KEYS)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_movement_is_that_of_the_probes_on_the_first_rows_of_the_first_batch(tmp_path, accumulate):
    module, plan = wrap(noise=False)
    callback = TransferCallback(plan, probe_rows=2)
    before = activations(module.net, lambda: module.net(INPUTS[:2]))
    fit(module, tmp_path, callback, accumulate_grad_batches=accumulate)
    expected = relative_changes(before, activations(module.net, lambda: module.net(INPUTS[:2])))
    assert callback.movement.changes == pytest.approx(expected, rel=1e-6)


def test_a_compiled_model_needs_a_probe(tmp_path):
    module, plan = wrap()
    module.net = torch.compile(module.net, backend="eager")
    with pytest.warns(UserWarning, match=r"no training batch was seen .* probe="):
        fit(module, tmp_path, TransferCallback(plan))
    module, plan = wrap()
    module.net = torch.compile(module.net, backend="eager")
    callback = TransferCallback(plan, probe=INPUTS[:4])
    fit(module, tmp_path, callback)
    assert callback.movement.changes.keys() == {"0", "3", "5"}


def test_autocast_holds_for_the_probe_too(tmp_path):
    module, plan = wrap()
    callback = TransferCallback(plan)
    fit(module, tmp_path, callback, precision="bf16-mixed")
    assert callback.movement.state()["reference"]["0"].dtype is torch.bfloat16


def test_checkpoints_carry_plan_and_movement_and_one_of_another_plan_is_refused(tmp_path):
    same_batch = {"limit_train_batches": 1}  # where Lightning resumes within an epoch is not ours to test
    whole, plan = wrap(noise=False)
    callback = TransferCallback(plan)
    fit(whole, tmp_path, callback, **same_batch)
    half, plan = wrap(noise=False)
    fit(half, tmp_path, TransferCallback(plan), max_steps=2, **same_batch).save_checkpoint(tmp_path / "half.ckpt")
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)
    assert mt.Plan.from_json(saved["mutransfer_plan"]) == plan
    rest, plan = wrap(noise=False)
    resumed = TransferCallback(plan)
    fit(rest, tmp_path, resumed, ckpt_path=tmp_path / "half.ckpt", **same_batch)
    assert half.losses + rest.losses == whole.losses
    assert resumed.movement.changes == callback.movement.changes
    other, plan = wrap(noise=False, base_width=32)
    with pytest.raises(PlanError, match="was saved under another plan: base_width 16, here 32"):
        fit(other, tmp_path, TransferCallback(plan), ckpt_path=tmp_path / "half.ckpt")


def test_a_checkpoint_without_a_plan_is_warned_of_and_its_movement_unknown(tmp_path):
    module, plan = wrap()
    fit(module, tmp_path, Rates(), max_steps=2).save_checkpoint(tmp_path / "plain.ckpt")
    module, plan = wrap()
    with (
        pytest.warns(UserWarning, match="carries no plan"),
        pytest.warns(UserWarning, match="without the activations of step 0"),
    ):
        fit(module, tmp_path, TransferCallback(plan), ckpt_path=tmp_path / "plain.ckpt")
