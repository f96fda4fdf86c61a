"""Under Lightning the plan's groups train as in a loop of one's own; what spoils them is caught."""

import importlib
import math
import sys

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

import mutransfer as mt
from mutransfer.errors import ConfigError, MutransferError, PlanError
from mutransfer.integrations.lightning import TransferCallback

from .lightning_runs import BATCHES, INPUTS, LR, QUIET, STEPS, Module, Rates, build, cosine, fit, wrap

pytestmark = QUIET


def test_groups_keep_their_ratios_under_warmup_and_cosine(tmp_path):
    module, plan = wrap()
    rates = Rates()
    fit(module, tmp_path, rates, TransferCallback(plan))
    mults = [g["lr_mult"] for g in mt.param_groups(module.net, plan, **LR)]
    assert set(mults) == {1.0, 0.25}
    assert len({base for base, *_ in rates.seen}) == STEPS
    for seen in rates.seen:
        assert seen == pytest.approx([seen[0] * mult / mults[0] for mult in mults])


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_losses_are_those_of_a_loop_of_ones_own(tmp_path, clip_norm):
    module, plan = wrap(noise=False)
    fit(module, tmp_path, TransferCallback(plan, clip_norm=clip_norm))
    own, plan = wrap(noise=False)
    optimizer = torch.optim.AdamW(mt.param_groups(own.net, plan, **LR))
    schedule = cosine(optimizer)
    for batch in BATCHES:
        own.training_step(batch).backward()
        if clip_norm is not None:
            assert mt.clip_grad_norm_(own.net, plan, clip_norm) > clip_norm
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    assert module.losses == own.losses


def test_a_scheduler_that_flattens_the_groups_is_caught_before_it_trains(tmp_path):
    module, plan = wrap(schedule=lambda optimizer: OneCycleLR(optimizer, max_lr=1e-2, total_steps=STEPS + 1))
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(PlanError, match=r"Changed by OneCycleLR\. Fix: give max_lr as a list"):
        fit(module, tmp_path, TransferCallback(plan))
    assert all(map(torch.equal, module.parameters(), before))


def test_the_monitor_of_learning_rates_shows_the_groups_by_name(tmp_path):
    module, plan = wrap()
    monitor = LearningRateMonitor()
    fit(module, tmp_path, monitor, logger=CSVLogger(tmp_path))
    assert {name.rpartition("/")[2] for name in monitor.lrs} == {
        group["name"] for group in mt.param_groups(module.net, plan, **LR)
    }
    assert any(name.endswith("/hidden") for name in monitor.lrs)


def test_a_module_that_was_replaced_is_refused_when_training_begins_and_when_saving(tmp_path):
    module, plan = wrap()
    index = max(i for i, layer in enumerate(module.net) if isinstance(layer, nn.Linear))

    def replace():
        module.net[index] = nn.Linear(module.net[index].in_features, module.net[index].out_features)

    trainer = fit(module, tmp_path, TransferCallback(plan))
    replace()
    with pytest.raises(PlanError, match="was a module replaced"):
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    module, plan = wrap()
    replace()
    with pytest.raises(PlanError, match="was a module replaced"):
        fit(module, tmp_path, TransferCallback(plan))


def test_every_nth_step_is_looked_at(tmp_path):
    def odd_from_the_second_step(optimizer):
        return LambdaLR(optimizer, [lambda step, i=i: 1.0 + i * step for i, _ in enumerate(optimizer.param_groups)])

    module, plan = wrap(schedule=odd_from_the_second_step)
    with mt.guard("off"), pytest.raises(PlanError, match="no longer follow"):
        fit(module, tmp_path, TransferCallback(plan, every=3))
    assert len(module.losses) == 4


@pytest.mark.parametrize("fused", [False, True])
def test_float16_gradients_are_clipped_unscaled_or_not_at_all(tmp_path, fused):
    norms = []

    class Half(Module):
        def on_before_optimizer_step(self, optimizer):
            norms.append(float(mt.clip_grad_norm_(self.net, self.plan, math.inf)))

        def configure_optimizers(self):
            return torch.optim.AdamW(mt.param_groups(self.net, self.plan, **LR), fused=fused)

    module, plan = wrap()
    scaling = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
    callback = TransferCallback(plan, clip_norm=0.05)
    if fused:
        with pytest.raises(ConfigError, match="Make it with fused=False"):
            fit(Half(module.net, plan), tmp_path, callback, plugins=scaling)
    else:
        fit(Half(module.net, plan), tmp_path, callback, plugins=scaling)
        assert norms == pytest.approx([0.05] * STEPS, rel=1e-3)


@pytest.mark.filterwarnings("ignore:gradients had the same plain norm")  # which the guard says as well
def test_plain_clipping_is_warned_of(tmp_path):
    module, plan = wrap(form="absorbed")
    with pytest.warns(UserWarning, match=r"gradient_clip_val=0\.5 .*64 as at 16, least of all in the absorbed"):
        fit(module, tmp_path, TransferCallback(plan), gradient_clip_val=0.5)
    module, plan = wrap(width=16)
    fit(module, tmp_path, TransferCallback(plan), gradient_clip_val=0.5)


@pytest.mark.parametrize("parameterization", ["mup", "ntk", "sp"])
def test_weights_only_are_plain_and_checkpoints_are_not(tmp_path, parameterization):
    module, plan = wrap(noise=False, parameterization=parameterization)
    trainer = fit(module, tmp_path, TransferCallback(plan))
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    expected, plain = module.net(INPUTS), build(64, noise=False)
    for file, attached in (("weights.ckpt", False), ("whole.ckpt", True)):
        saved = torch.load(tmp_path / file, weights_only=False)
        own = {name.removeprefix("net."): x for name, x in saved["state_dict"].items() if name.startswith("net.")}
        plain.load_state_dict(own)
        torch.testing.assert_close((mt.attach(plain, plan) if attached else plain)(INPUTS), expected)
        assert ("mutransfer_plain" in saved) == (not attached and parameterization != "sp")


def test_an_optimizer_of_another_part_is_let_be(tmp_path):
    class Two(Module):
        automatic_optimization = False

        def training_step(self, batch):
            for optimizer, part in zip(self.optimizers(), (self.extra, self.net), strict=True):
                optimizer.zero_grad()
                x = batch[0] if part is self.net else batch[0][:, :3]
                self.manual_backward(nn.functional.cross_entropy(part(x), batch[1]))
                optimizer.step()

        def configure_optimizers(self):
            return torch.optim.SGD(self.extra.parameters(), lr=0.1), super().configure_optimizers()["optimizer"]

    module, plan = wrap()
    callback = TransferCallback(plan, clip_norm=1.0)
    fit(Two(module.net, plan), tmp_path, callback, max_steps=2 * STEPS)
    assert callback.movement.changes


def test_a_model_of_another_plan_is_refused(tmp_path):
    module, _ = wrap()
    _, other = wrap(base_width=32)
    with pytest.raises(PlanError, match="the model is under another plan: base_width 16, here 32"):
        fit(module, tmp_path, TransferCallback(other))


def test_without_lightning_the_error_gives_the_line_that_installs_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "mutransfer.integrations.lightning")
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MutransferError, match=r'pip install "mutransfer\[lightning\]"'):
        importlib.import_module("mutransfer.integrations.lightning")
