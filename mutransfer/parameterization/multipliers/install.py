"""The run-time multipliers of a whole Plan, put on the modules of a model and taken off again."""

from __future__ import annotations

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.multipliers.hooks import check_place, is_on, put_on, take_off
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import Mechanism


def install(inner: nn.Module, plan: Plan) -> None:
    """Put every run-time multiplier of ``plan`` on ``inner``.

    Raises:
        PlanError: ``inner`` lacks a module that the plan multiplies, or what of it is multiplied; nothing is put on it
            then.
    """
    places = _places(inner, plan)
    for path, module, mechanism, _ in places:
        check_place(module, mechanism, path)
    for _, module, mechanism, factor in places:
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
    places, odd = [], []
    walked: dict[str, nn.Module] = {}
    for path, mechanism, factor in plan.multipliers():
        try:
            module = inner.get_submodule(path)
        except AttributeError:  # a wrapper within has changed the names
            walked = walked or dict(inner.named_modules())
            module = walked.get(canonical(path, walked.keys()))
        if module is None:
            odd.append(path)
        else:  # inside what activation checkpointing put around a block: the attributes are there
            places.append((path, unwrapped(module), mechanism, factor))
    if odd:
        raise PlanError(f"the plan is for another model: it multiplies {', '.join(sorted(odd))}, which this one lacks")
    return places


def uninstall(inner: nn.Module) -> None:
    """Undo :func:`install`."""
    for module in inner.modules():
        take_off(module)
