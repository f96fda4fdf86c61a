"""The run-time multipliers of a whole Plan, put on the modules of a model and taken off again."""

from __future__ import annotations

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.multipliers.hooks import is_on, put_on, take_off
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import Mechanism


def install(inner: nn.Module, plan: Plan) -> None:
    """Put every run-time multiplier of ``plan`` on ``inner``.

    Raises:
        PlanError: ``inner`` lacks a module that the plan multiplies; nothing is put on it then.
    """
    for _, module, mechanism, factor in _places(inner, plan):
        put_on(module, mechanism, factor)


def missing_multipliers(inner: nn.Module, plan: Plan) -> list[str]:
    """What of the run-time multipliers of ``plan`` is not on ``inner``, as text: module, mechanism and factor.

    Raises:
        PlanError: ``inner`` lacks a module that the plan multiplies.
    """
    return [
        f"{path or 'the model'} ({mechanism} x {factor:g})"
        for path, module, mechanism, factor in _places(inner, plan)
        if not is_on(module, mechanism, factor)
    ]


def _places(inner: nn.Module, plan: Plan) -> list[tuple[str, nn.Module, Mechanism, float]]:
    """Every run-time multiplier of ``plan`` with its module in ``inner``."""
    multipliers = list(plan.multipliers())
    modules = dict(inner.named_modules()) if multipliers else {}
    places = {path: modules.get(canonical(path, modules.keys())) for path, _, _ in multipliers}
    if odd := sorted(path for path, module in places.items() if module is None):
        raise PlanError(f"the plan is for another model: it multiplies {', '.join(odd)}, which this one lacks")
    # Inside what activation checkpointing put around a block: the attributes are there.
    return [
        (path, unwrapped(module), mechanism, factor)
        for path, mechanism, factor in multipliers
        if (module := places[path]) is not None
    ]


def uninstall(inner: nn.Module) -> None:
    """Undo :func:`install`."""
    for module in inner.modules():
        take_off(module)
