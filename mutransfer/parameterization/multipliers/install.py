"""The run-time multipliers of a whole Plan, put on the modules of a model and taken off again."""

from __future__ import annotations

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.multipliers import hooks
from mutransfer.parameterization.plan import Plan, multipliers


def install(inner: nn.Module, plan: Plan) -> None:
    """Put every run-time multiplier of ``plan`` on ``inner``, or none.

    Raises:
        PlanError: ``inner`` lacks a module that the plan multiplies, or a mechanism is unknown.
    """
    modules = dict(inner.named_modules())
    found = {path: modules.get(canonical(path, modules.keys())) for path, _, _ in multipliers(plan)}
    if odd := sorted(path for path, module in found.items() if module is None):
        raise PlanError(f"the plan is for another model: it multiplies {', '.join(odd)}, which this one lacks")
    try:
        for path, mechanism, factor in multipliers(plan):
            if (module := found[path]) is not None:
                # Inside what activation checkpointing put around a block: the attributes are there.
                hooks.install(unwrapped(module), mechanism, factor)
    except PlanError:
        uninstall(inner)
        raise


def uninstall(inner: nn.Module) -> None:
    """Undo :func:`install`."""
    for module in inner.modules():
        hooks.uninstall(module)
