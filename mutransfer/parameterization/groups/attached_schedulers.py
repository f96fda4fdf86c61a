"""The schedulers attached to an optimizer: which are at work, and which of them does not keep the plan's ratios."""

from __future__ import annotations

import gc
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.optim import lr_scheduler as schedulers

# They multiply all groups by the same number. A class that is not here may do anything.
_MULTIPLY = (
    *(schedulers.ConstantLR, schedulers.ExponentialLR, schedulers.LinearLR, schedulers.MultiStepLR),
    *(schedulers.PolynomialLR, schedulers.StepLR),
    # and these, where what is asked first does not say otherwise:
    *(schedulers.CosineAnnealingLR, schedulers.CosineAnnealingWarmRestarts, schedulers.LambdaLR),
    *(schedulers.CyclicLR, schedulers.MultiplicativeLR, schedulers.OneCycleLR, schedulers.ReduceLROnPlateau),
    torch.optim.swa_utils.SWALR,
)
_SAME_RATIO = 1e-3  # relative, of settings per group: far below what a scalar does to them


def attached(optimizer: torch.optim.Optimizer) -> list[schedulers.LRScheduler]:
    """The outermost schedulers of the optimizer, which they point at, not the other way round."""
    ours = [
        candidate
        for candidate in gc.get_objects()
        # Not isinstance: asking a lazy proxy for its __class__ may run its code.
        if issubclass(type(candidate), schedulers.LRScheduler) and _drives(candidate, optimizer)
    ]
    nested = {id(part) for scheduler in ours for part in _parts(scheduler)}
    return [scheduler for scheduler in ours if id(scheduler) not in nested]


def steps_taken(outermost: Iterable[Any]) -> int:
    """How often the one that has stepped most has stepped, nested ones included."""
    counts = [vars(scheduler).get("last_epoch", 0) for scheduler in outermost]
    inner = [steps_taken(parts) for scheduler in outermost if (parts := _parts(scheduler))]
    return max(counts + inner, default=0)


def suspect(optimizer: torch.optim.Optimizer) -> tuple[str, str]:
    """The class of the scheduler that most likely changed the ratios, and where it is nested: ``" in SequentialLR"``.

    Those at work come first, then those that were; of these, one whose settings flatten groups, else one of an unknown
    kind. Both are empty where all keep the ratios.
    """
    unknown = ("", "")
    for scheduler, outer in (pair for root in attached(optimizer) for pair in _by_last_use(root)):
        named = (type(scheduler).__name__, f" in {' in '.join(outer)}" if outer else "")
        verdict = _flattens(scheduler, optimizer.param_groups)
        if verdict:
            return named
        if verdict is None and not unknown[0]:
            unknown = named
    return unknown


def _drives(scheduler: Any, optimizer: torch.optim.Optimizer) -> bool:
    held = vars(scheduler).get("optimizer")  # perhaps a trainer's wrapper around it
    return held is not None and (held is optimizer or held.param_groups is optimizer.param_groups)


def _parts(scheduler: Any) -> Sequence[schedulers.LRScheduler]:
    return vars(scheduler).get("_schedulers", ())


def _by_last_use(scheduler: Any, outer: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The schedulers within, each with what it is nested in: those that step now, then those that have stepped."""
    parts = list(_parts(scheduler))
    if not parts:
        yield scheduler, outer
    if isinstance(scheduler, schedulers.SequentialLR):
        current = bisect_right(scheduler._milestones, scheduler.last_epoch)
        parts = parts[: current + 1][::-1]
    for part in parts:
        yield from _by_last_use(part, (type(scheduler).__name__, *outer))


def _flattens(scheduler: Any, groups: Sequence[dict[str, Any]]) -> bool | None:
    """Whether its settings are not in the groups' ratios; None where they do not tell."""
    settings = vars(scheduler)
    if settings.get("eta_min") or len(set(map(id, settings.get("lr_lambdas", ())))) > 1:
        return True
    per_group = [settings[key] for key in ("max_lrs", "min_lrs") if key in settings]
    if isinstance(scheduler, schedulers.CyclicLR | schedulers.LambdaLR):  # others start from the rate that they find
        per_group.append(scheduler.base_lrs)
    # Group entries stay behind when their scheduler goes: ask only for those that its own class writes.
    for kind, key in ((schedulers.OneCycleLR, "max_lr"), (torch.optim.swa_utils.SWALR, "swa_lr")):
        if isinstance(scheduler, kind):
            per_group.append([group[key] for group in groups])
    if any(len(values) == len(groups) and not _in_ratio(values, groups) for values in per_group):
        return True
    return False if type(scheduler) in _MULTIPLY else None


def _in_ratio(values: Sequence[Any], groups: Sequence[dict[str, Any]]) -> bool:
    base = [float(v) / g["lr_mult"] for v, g in zip(values, groups, strict=True) if g["lr_mult"]]
    return all(math.isclose(b, base[0], rel_tol=_SAME_RATIO) for b in base)
