"""Under Hugging Face's Trainer the plan's groups train as in a loop of one's own; what spoils them is caught."""

import importlib
import sys

import pytest
import torch
from transformers import SchedulerType, get_cosine_schedule_with_warmup

import mutransfer as mt
from mutransfer.errors import MutransferError, PlanError
from mutransfer.integrations.hf import TransferCallback, optimizer

from .hf_runs import LABELS, LR, ROWS, STEPS, Rates, build, history, trainer, wrap


def test_groups_keep_their_ratios_under_warmup_and_cosine(tmp_path):
    model, plan = wrap()
    rates = Rates()
    run = trainer(model, plan, tmp_path, rates, TransferCallback(plan))
    run.train()
    groups = mt.param_groups(model, plan, **LR)
    made = run.optimizer.param_groups
    keys = ("lr_mult", "weight_decay", "eps")
    assert [[g[k] for k in keys] for g in made] == [[g[k] for k in keys] for g in groups]
    assert {g["lr_mult"] for g in groups} == {1.0, 0.5}
    assert len({base for base, *_ in rates.seen}) == STEPS
    for seen in rates.seen:
        assert seen == pytest.approx([seen[0] * g["lr_mult"] / groups[0]["lr_mult"] for g in groups])


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_losses_are_those_of_a_loop_of_ones_own(tmp_path, clip_norm):
    model, plan = wrap(dropout=0.0)
    run = trainer(model, plan, tmp_path, TransferCallback(plan, clip_norm=clip_norm))
    run.train()
    model, plan = wrap(dropout=0.0)
    own = torch.optim.AdamW(mt.param_groups(model, plan, **LR))
    schedule = get_cosine_schedule_with_warmup(own, 1, STEPS)
    losses = []
    for rows, labels in zip(ROWS.split(4), LABELS.split(4), strict=True):
        loss = model(input_ids=rows, labels=labels).loss
        loss.backward()
        if clip_norm is not None:
            assert mt.clip_grad_norm_(model, plan, clip_norm) > clip_norm
        own.step()
        schedule.step()
        own.zero_grad()
        losses.append(loss.item())
    assert history(run) == pytest.approx(losses, rel=1e-6)


def test_a_scheduler_that_flattens_the_groups_is_caught_before_it_trains(tmp_path):
    model, plan = wrap()
    before = [p.clone() for p in model.parameters()]
    own = torch.optim.AdamW(mt.param_groups(model, plan, **LR))
    flat = torch.optim.lr_scheduler.OneCycleLR(own, max_lr=1e-2, total_steps=STEPS + 1)
    run = trainer(model, plan, tmp_path, TransferCallback(plan), optimizers=(own, flat))
    with pytest.raises(PlanError, match=r"Changed by OneCycleLR\. Fix: give max_lr as a list"):
        run.train()
    assert all(map(torch.equal, model.parameters(), before))


@pytest.mark.skipif("greedy" not in [*SchedulerType], reason="this version of transformers has no GreedyLR")
def test_a_scheduler_of_transformers_that_flattens_the_groups_is_named(tmp_path):
    model, plan = wrap()
    run = trainer(
        model,
        plan,
        tmp_path,
        TransferCallback(plan),
        lr_scheduler_type="greedy",
        lr_scheduler_kwargs={"min_lr": 0.0, "max_lr": 1e-2, "patience": 0},
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="loss",
    )
    with pytest.raises(PlanError, match="no longer follow the plan") as caught:
        run.train()
    assert "GreedyLR" in str(caught.value) + str(caught.value.__notes__)


@pytest.mark.parametrize(("form", "says"), [("forward", "as at 32. Set"), ("absorbed", "least of all in the absorbed")])
def test_plain_clipping_is_warned_of(tmp_path, form, says):
    model, plan = wrap(form=form)
    with pytest.warns(UserWarning, match=f"max_grad_norm=1 .*{says}.*clip_norm"):
        trainer(model, plan, tmp_path, TransferCallback(plan), max_grad_norm=1.0, max_steps=1).train()


def test_plain_clipping_is_as_good_at_base_width(tmp_path):
    model, plan = wrap(width=32)
    trainer(model, plan, tmp_path, TransferCallback(plan), max_grad_norm=1.0, max_steps=1).train()


def test_a_model_without_its_multipliers_is_refused(tmp_path):
    _, plan = wrap()
    with pytest.raises(PlanError, match="not on this model"):
        trainer(build(64), plan, tmp_path, TransferCallback(plan)).train()


def test_an_optimizer_that_the_plan_is_not_for_is_refused():
    model, plan = wrap()
    with pytest.raises(PlanError, match="make it with optimizer='sgd'"):
        optimizer(model, plan, torch.optim.SGD, lr=0.1)
    model, plan = wrap(optimizer="muon")
    with pytest.raises(PlanError, match="muon_groups"):
        optimizer(model, plan, torch.optim.Muon, lr=0.1)


def test_own_groups_are_made_from_the_trainers_model(tmp_path):
    model, plan = wrap()

    def matrices_decay(model):
        ones = [p for p in model.parameters() if p.ndim < 2]
        return [{"params": [p for p in model.parameters() if p.ndim > 1]}, {"params": ones, "weight_decay": 0.0}]

    factory, options = optimizer(model, plan, params=matrices_decay, betas=(0.9, 0.95), **LR)
    made = factory()(model, **options)
    assert {(g["params"][0].ndim > 1, g["weight_decay"] > 0) for g in made.param_groups} == {
        (True, True),
        (False, False),
    }
    assert {g["betas"] for g in made.param_groups} == {(0.9, 0.95)}
    assert made.defaults["lr"] == LR["lr"]


def test_without_transformers_the_error_gives_the_line_that_installs_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "mutransfer.integrations.hf")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MutransferError, match=r'pip install "mutransfer\[hf\]"'):
        importlib.import_module("mutransfer.integrations.hf")
