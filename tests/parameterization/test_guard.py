"""The learning-rate guard: schedules that keep the plan's ratios pass, those that flatten them are named."""

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from mutransfer import check_lr, param_groups, parameterize, set_lr
from mutransfer.errors import PlanError
from tests.parameterization.models import mlp


@pytest.fixture
def optimizer():
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer="adamw", check=False)
    return torch.optim.AdamW(param_groups(model, plan, lr=1e-2))


KEEP = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (step + 1)),
    "StepLR": lambda o: schedulers.StepLR(o, 2),
    "LinearLR": lambda o: schedulers.LinearLR(o),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 20),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 20),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, [0.1 * g["lr_mult"] for g in o.param_groups], total_steps=20),
}
MULTIPLY = {
    "CosineAnnealingLR": lambda o, n: schedulers.CosineAnnealingLR(o, n),
    "CosineAnnealingWarmRestarts": lambda o, n: schedulers.CosineAnnealingWarmRestarts(o, n // 3),
    "ExponentialLR": lambda o, n: schedulers.ExponentialLR(o, 1 - 5 / n),
    "LinearLR": lambda o, n: schedulers.LinearLR(o, 0.01, 1.0, n),
    "PolynomialLR": lambda o, n: schedulers.PolynomialLR(o, n, 2.0),
    "OneCycleLR": lambda o, n: schedulers.OneCycleLR(
        o, [g["lr"].clone() for g in o.param_groups], total_steps=n + 2, anneal_strategy="linear"
    ),
}
FLATTEN = {
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 20, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 20, eta_min=1e-3),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=20),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 1e-3, 1e-2, cycle_momentum=False),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 5e-3, anneal_epochs=4),
    "LambdaLR": lambda o: schedulers.LambdaLR(
        o, [lambda s, i=i: 1 / (1 + s * i) for i, _ in enumerate(o.param_groups)]
    ),
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


def with_tensor_rate(width=1000, base_width=64, dtype=torch.float32, **settings):
    model, plan = parameterize(mlp, width=width, base_width=base_width, check=False)
    return torch.optim.AdamW(param_groups(model, plan, lr=torch.tensor(3e-3, dtype=dtype)), foreach=False, **settings)


def of_many_ratios(dtype):
    ratios = [1.0, 0.064, 0.13, 1 / 3, 0.0125, 7 / 11, 0.9]
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": torch.tensor(3e-3, dtype=dtype) * m, "lr_mult": m}
        for m in ratios
    ]
    return torch.optim.SGD(groups, foreach=False)


@pytest.mark.parametrize("n", [60, 3000])
@pytest.mark.parametrize("name", MULTIPLY)
def test_rounding_of_a_tensor_rate_is_no_offence(name, n):
    optimizer = with_tensor_rate()
    scheduler = MULTIPLY[name](optimizer, n)
    optimizer.step()
    for _ in range(n):
        scheduler.step()
        check_lr(optimizer)


def test_rounding_that_goes_one_way_for_long_is_allowed_by_the_steps_it_had():
    optimizer = of_many_ratios(torch.float32)
    scheduler = schedulers.ExponentialLR(optimizer, 1 - 2e-7)  # changes by about one spacing of float32 a step
    optimizer.step()
    for i in range(4000):
        scheduler.step()
        if i % 200 == 0:
            check_lr(optimizer)
    base = [float(g["lr"]) / g["lr_mult"] for g in optimizer.param_groups]
    assert max(abs(b / base[0] - 1) for b in base) > 1024 * torch.finfo(torch.float32).eps
    check_lr(optimizer)
    optimizer.param_groups[1]["lr"].mul_(1.01)
    with pytest.raises(PlanError, match="no longer follow"):
        check_lr(optimizer)


@pytest.mark.parametrize("eta_min", [1e-3, 1e-5, 1e-6])
def test_a_tensor_rate_with_a_floor_is_still_found(eta_min):
    optimizer = with_tensor_rate()
    scheduler = schedulers.CosineAnnealingLR(optimizer, 40, eta_min=eta_min)
    steps(optimizer, scheduler, 30)
    with pytest.raises(PlanError, match=r"Changed by CosineAnnealingLR\. Fix: use eta_min=0"):
        check_lr(optimizer)


def test_a_16_bit_rate_passes_while_it_follows_and_is_blamed_itself_when_it_does_not():
    optimizer = of_many_ratios(torch.bfloat16)
    scheduler = schedulers.CosineAnnealingLR(optimizer, 2000)
    steps(optimizer, scheduler, 20)
    check_lr(optimizer)
    steps(optimizer, scheduler, 1800)
    with pytest.raises(PlanError, match="16-bit tensors round at every step"):
        check_lr(optimizer)


def own_groups(*rates, lr=1e-2):
    model, plan = parameterize(mlp, width=32, base_width=8, check=False)
    modules = [model[0], model[2], model[4]]
    own = [{"params": m.parameters(), **({} if r is None else {"lr": r})} for m, r in zip(modules, rates, strict=True)]
    return torch.optim.AdamW(param_groups(model, plan, lr=lr, params=own))


@pytest.mark.parametrize("rates", [(0.0, None, None), (None, 0.0, 1e-3), (0.0, 0.0, 0.0)])
def test_a_frozen_group_is_no_offence_and_no_crash(rates):
    optimizer = own_groups(*rates)
    scheduler = schedulers.LinearLR(optimizer)
    for _ in range(4):
        check_lr(optimizer)
        steps(optimizer, scheduler, 1)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    with pytest.raises(PlanError, match="no longer follow the plan"):
        check_lr(optimizer)


def test_a_group_that_a_loop_freezes_is_no_offence_to_the_others(optimizer):
    optimizer.param_groups[0]["lr"] = 0.0
    check_lr(optimizer)
    optimizer.param_groups[1]["lr"] *= 2
    with pytest.raises(PlanError, match=r"group 2 has .* and group 1 "):
        check_lr(optimizer)


def test_a_warmup_from_zero_passes(optimizer):
    scheduler = schedulers.LambdaLR(optimizer, lambda step: step / 10)
    for _ in range(12):
        check_lr(optimizer)
        steps(optimizer, scheduler, 1)


def test_a_rate_of_ones_own_beside_a_base_rate_of_zero_is_refused():
    with pytest.raises(PlanError, match=r"lr=0\.1 of its own and lr=0 is given for all"):
        own_groups(0.1, None, None, lr=0.0)


def cosine_with_floor(optimizer):
    return schedulers.CosineAnnealingLR(optimizer, 20, eta_min=1e-5)


def in_sequence(optimizer, *parts, at):
    return schedulers.SequentialLR(optimizer, list(parts), at)


NESTED = {
    "after a warmup": (
        lambda o: in_sequence(o, schedulers.LinearLR(o, total_iters=2), cosine_with_floor(o), at=[2]),
        "CosineAnnealingLR in SequentialLR",
    ),
    "before what keeps ratios": (
        lambda o: in_sequence(o, cosine_with_floor(o), schedulers.MultiplicativeLR(o, lambda _: 0.9), at=[4]),
        "CosineAnnealingLR in SequentialLR",
    ),
    "chained": (
        lambda o: schedulers.ChainedScheduler([schedulers.LinearLR(o), cosine_with_floor(o)], optimizer=o),
        "CosineAnnealingLR in ChainedScheduler",
    ),
    "chained in a sequence": (
        lambda o: in_sequence(
            o,
            schedulers.LinearLR(o),
            schedulers.ChainedScheduler([schedulers.ExponentialLR(o, 0.9), cosine_with_floor(o)], optimizer=o),
            at=[20],
        ),
        None,
    ),
    "a sequence in a sequence": (
        lambda o: in_sequence(
            o,
            in_sequence(o, schedulers.LinearLR(o, total_iters=2), cosine_with_floor(o), at=[2]),
            schedulers.ConstantLR(o),
            at=[16],
        ),
        "CosineAnnealingLR in SequentialLR in SequentialLR",
    ),
    "one of two": (lambda o: (schedulers.LinearLR(o), cosine_with_floor(o)), "CosineAnnealingLR"),
}


@pytest.mark.filterwarnings("ignore:Detected call of")  # torch steps a sequence in a sequence when it is made
@pytest.mark.parametrize("name", NESTED)
def test_of_nested_schedulers_the_one_that_flattens_is_named(optimizer, name):
    make, culprit = NESTED[name]
    made = make(optimizer)
    for _ in range(12):
        optimizer.step()
        for scheduler in made if isinstance(made, tuple) else (made,):
            scheduler.step()
    if culprit is None:  # it has not been its turn
        check_lr(optimizer)
    else:
        with pytest.raises(PlanError, match=rf"Changed by {culprit}\. Fix: use eta_min=0"):
            check_lr(optimizer)


def test_a_scheduler_that_only_multiplies_is_not_blamed_for_a_loop(optimizer):
    scheduler = schedulers.LinearLR(optimizer)
    steps(optimizer, scheduler, 1)
    optimizer.param_groups[0]["lr"] *= 2
    with pytest.raises(PlanError, match="Changed by something that writes"):
        check_lr(optimizer)


def test_a_scheduler_of_ones_own_is_named(optimizer):
    class Floor(schedulers.LRScheduler):
        def get_lr(self):
            return [max(base, 3e-3) for base in self.base_lrs]

    scheduler = Floor(optimizer)
    steps(optimizer, scheduler, 1)
    with pytest.raises(PlanError, match=r"Changed by Floor\. Fix: set the base"):
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
