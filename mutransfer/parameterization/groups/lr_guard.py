"""The learning-rate guard: whether the ratios between an optimizer's groups are still the plan's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.attached_schedulers import attached, steps_taken, suspect
from mutransfer.parameterization.groups.param_groups import lr_mult_of

# Relative deviations. A Python float carries 53 bits through any schedule; a tensor is rounded at every step, by up to
# half an eps in each of the few operations of a scheduler, and the errors of slow schedules all go one way.
TOLERANCE = 1e-6
EPS_AT_ANY_STEP = 1024  # of a tensor's dtype: passes without asking how many steps there were
EPS_PER_STEP = 4
MOST = 0.05  # a 16-bit rate that is further off no longer follows the plan, though only rounding did it

_LIST = "[lr * g['lr_mult'] for g in optimizer.param_groups]"
_FLOOR = "use eta_min=0, or a LambdaLR whose factor has the floor"
_FACTOR = "give all groups the same function"
_FIXES = {
    "OneCycleLR": f"give max_lr as a list, {_LIST}",
    "CyclicLR": f"give base_lr and max_lr as lists, {_LIST}",
    "CosineAnnealingLR": _FLOOR,
    "CosineAnnealingWarmRestarts": _FLOOR,
    "LambdaLR": _FACTOR,
    "MultiplicativeLR": _FACTOR,
    "ReduceLROnPlateau": f"give min_lr as a list, {_LIST}",
    "SWALR": f"give swa_lr as a list, {_LIST}",
}
_SET_LR = "set the base learning rate with mutransfer.set_lr(optimizer, lr)"

# Schedulers found once, so that a rate that drifts by rounding is not searched for at every step.
_schedulers: WeakKeyDictionary[torch.optim.Optimizer, WeakSet[Any]] = WeakKeyDictionary()


def check_lr(optimizer: torch.optim.Optimizer) -> None:
    """Raise where a scheduler, or a loop that writes ``group["lr"]``, has flattened the plan's ratios.

    Call it after a scheduler's step, as often as you like; it reads one number per group. A group whose rate is 0 is
    frozen, or waits for its warmup, and says nothing about ratios. Rates in tensors may be off by what their precision
    loses on the way.

    Raises:
        PlanError: naming the groups, the scheduler at work and the fix; or a group carries no ``lr_mult``.

    >>> import torch, mutransfer as mt
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, width))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-3))
    >>> mt.check_lr(optimizer)
    """
    check_ratios(optimizer, {i: lr_mult_of(group, i) for i, group in enumerate(optimizer.param_groups)})


def check_ratios(optimizer: torch.optim.Optimizer, mults: Mapping[int, float]) -> None:
    """Raise as :func:`check_lr` does, of the groups of these numbers and factors."""
    groups = optimizer.param_groups
    rates = {i: rate for i in mults if (rate := float(groups[i]["lr"]))}
    first = next((i for i in rates if mults[i]), None)
    for i, rate in rates.items():
        if not mults[i]:
            raise PlanError(
                f"learning rates no longer follow the plan: group {i} was made with learning rate 0 and now has "
                f"{rate:.4g}, of which no base learning rate is known. To train it later, make the group with the "
                "learning rate that it will have, and keep it still by requires_grad_(False)"
            )
        assert first is not None
        expected = rates[first] * mults[i] / mults[first]
        if math.isinf(expected) or math.isinf(rate):  # a run that diverges by itself
            continue
        off = abs(rate / expected - 1) if math.isfinite(rate / expected) else math.inf
        if off > TOLERANCE and off > _lost_by_rounding(optimizer, groups[i], groups[first], off):
            raise PlanError(
                f"learning rates no longer follow the plan: group {i} has {rate:.4g} and group {first} "
                f"{rates[first]:.4g}, their ratio should be {mults[i] / mults[first]:.4g}. "
                f"{_cause(optimizer, groups[i], groups[first])}"
            )


def _lost_by_rounding(
    optimizer: torch.optim.Optimizer, one: Mapping[str, Any], other: Mapping[str, Any], off: float
) -> float:
    """The largest deviation of two groups that the precision of their rates explains, if ``off`` needs explaining."""
    eps = max(_eps(one), _eps(other))
    if off <= (at_any_step := min(EPS_AT_ANY_STEP * eps, MOST)):
        return at_any_step
    if off > MOST or not eps:
        return 0.0
    if not _schedulers.get(optimizer):
        _schedulers[optimizer] = WeakSet(attached(optimizer))
    return min(EPS_PER_STEP * eps * steps_taken(list(_schedulers[optimizer])), MOST)


def _eps(group: Mapping[str, Any]) -> float:
    """The relative spacing of numbers in a rate that is a tensor; 0 for Python's."""
    rate = group["lr"]
    return torch.finfo(rate.dtype).eps if isinstance(rate, torch.Tensor) and rate.is_floating_point() else 0.0


def _cause(optimizer: torch.optim.Optimizer, one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    name, nested = suspect(optimizer)
    if not name and EPS_AT_ANY_STEP * max(_eps(one), _eps(other)) > MOST:
        return "Their 16-bit tensors round at every step. Fix: give lr as a float32 tensor."
    culprit = f"{name}{nested}" if name else "something that writes group['lr'], a loop of your own perhaps"
    return f"Changed by {culprit}. Fix: {_FIXES.get(name, _SET_LR)}."
