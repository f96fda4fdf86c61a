"""The learning-rate guard: schedules that keep the plan's ratios pass, those that flatten them are named."""

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from mutransfer import check_lr, param_groups, parameterize, set_lr
from mutransfer.errors import PlanError
from tests.parameterization.models import mlp


@pytest.fixture
def optimizer():
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer="adamw")
    return torch.optim.AdamW(param_groups(model, plan, lr=1e-2))


KEEP = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (step + 1)),
    "StepLR": lambda o: schedulers.StepLR(o, 2),
    "LinearLR": lambda o: schedulers.LinearLR(o),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 20),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 20),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, [0.1 * g["lr_mult"] for g in o.param_groups], total_steps=20),
}
FLATTEN = {
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 20, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 20, eta_min=1e-3),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=20),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 1e-3, 1e-2, cycle_momentum=False),
}


def steps(optimizer, scheduler, n):
    for _ in range(n):
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", KEEP)
def test_a_schedule_that_multiplies_keeps_the_ratios(optimizer, name):
    scheduler = KEEP[name](optimizer)
    for _ in range(8):
        steps(optimizer, scheduler, 1)
        check_lr(optimizer)


@pytest.mark.parametrize("name", FLATTEN)
def test_a_schedule_that_flattens_the_ratios_is_named_with_its_fix(optimizer, name):
    scheduler = FLATTEN[name](optimizer)
    steps(optimizer, scheduler, 8)
    with pytest.raises(PlanError, match=rf"Changed by {name}\. Fix: (give|use) "):
        check_lr(optimizer)


def test_a_loop_that_writes_lr_is_caught_and_set_lr_mends_it(optimizer):
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    with pytest.raises(PlanError, match=r"a loop of your own.*mutransfer\.set_lr"):
        check_lr(optimizer)
    set_lr(optimizer, 1e-3)
    check_lr(optimizer)


def test_a_schedule_that_has_reached_zero_is_no_offence(optimizer):
    set_lr(optimizer, 0.0)
    check_lr(optimizer)


def test_groups_that_are_not_ours_are_refused():
    with pytest.raises(PlanError, match="no 'lr_mult'"):
        check_lr(torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1))
