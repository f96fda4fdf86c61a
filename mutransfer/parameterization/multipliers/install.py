"""The run-time multipliers of a whole Plan, put on the modules of a model and taken off again."""

from __future__ import annotations

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.multipliers.hooks import check_place, put_on, take_off
from mutransfer.parameterization.plan import Plan


def install(inner: nn.Module, plan: Plan) -> None:
    """Put every run-time multiplier of ``plan`` on ``inner``.

    Raises:
        PlanError: ``inner`` lacks a module that the plan multiplies, or what of it is multiplied; nothing is put on it
            then.
    """
    modules = dict(inner.named_modules())
    places = {path: modules.get(canonical(path, modules.keys())) for path, _, _ in plan.multipliers()}
    if odd := sorted(path for path, module in places.items() if module is None):
        raise PlanError(f"the plan is for another model: it multiplies {', '.join(odd)}, which this one lacks")
    for path, mechanism, _ in plan.multipliers():
        if (module := places[path]) is not None:
            check_place(unwrapped(module), mechanism, path)
    for path, mechanism, factor in plan.multipliers():
        if (module := places[path]) is not None:
            # Inside what activation checkpointing put around a block: the attributes are there.
            put_on(unwrapped(module), mechanism, factor)


def uninstall(inner: nn.Module) -> None:
    """Undo :func:`install`."""
    for module in inner.modules():
        take_off(module)
