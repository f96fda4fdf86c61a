"""The learning-rate guard: whether the ratios between an optimizer's groups are still the plan's."""

from __future__ import annotations

import gc
import math

import torch

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.param_groups import lr_mult_of

TOLERANCE = 1e-6  # relative; schedulers multiply in floating point

_LIST = "[lr * g['lr_mult'] for g in optimizer.param_groups]"
_FLOOR = "use eta_min=0, or a LambdaLR whose factor has the floor"
_FIXES = {
    "OneCycleLR": f"give max_lr as a list, {_LIST}",
    "CyclicLR": f"give base_lr and max_lr as lists, {_LIST}",
    "CosineAnnealingLR": _FLOOR,
    "CosineAnnealingWarmRestarts": _FLOOR,
    "SWALR": f"give swa_lr as a list, {_LIST}",
}


def check_lr(optimizer: torch.optim.Optimizer) -> None:
    """Raise where a scheduler, or a loop that writes ``group["lr"]``, has flattened the plan's ratios.

    Call it after a scheduler's step, as often as you like; it reads one number per group.

    Raises:
        PlanError: naming the groups, the scheduler at work and the fix; or a group carries no ``lr_mult``.

    >>> import torch, mutransfer as mt
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, width))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-3))
    >>> mt.check_lr(optimizer)
    """
    base = []
    for i, group in enumerate(optimizer.param_groups):
        base.append(float(group["lr"]) / lr_mult_of(group, i))
    odd = next((i for i, b in enumerate(base) if not math.isclose(b, base[0], rel_tol=TOLERANCE)), None)
    if odd is None:
        return
    scheduler = _scheduler(optimizer)
    culprit = scheduler or "something that writes group['lr'], a loop of your own perhaps"
    groups = optimizer.param_groups
    raise PlanError(
        f"learning rates no longer follow the plan: group {odd} has {float(groups[odd]['lr']):.4g} and group 0 "
        f"{float(groups[0]['lr']):.4g}, their ratio should be {groups[odd]['lr_mult'] / groups[0]['lr_mult']:.4g}. "
        f"Changed by {culprit}. "
        f"Fix: {_FIXES.get(scheduler or '', 'set the base learning rate with mutransfer.set_lr(optimizer, lr)')}."
    )


def _scheduler(optimizer: torch.optim.Optimizer) -> str | None:
    """The scheduler attached to the optimizer: it points at the optimizer, not the other way round."""
    for found in gc.get_objects():
        # Not isinstance: asking a lazy proxy for its __class__ may run its code.
        if issubclass(type(found), torch.optim.lr_scheduler.LRScheduler) and found.optimizer is optimizer:
            return type(found).__name__
    return None
