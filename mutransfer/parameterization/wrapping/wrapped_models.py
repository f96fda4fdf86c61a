"""The marks that a plan leaves on a model and its modules, and the models of this process that carry one."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet, ref

from torch import nn

from mutransfer.parameterization.model.names import unwrapped
from mutransfer.parameterization.plan import Plan

# Plain attributes of modules: deepcopy and pickle keep them, state_dict never sees them.
_MARK = "_mutransfer_plan"
_ENROLMENT = "_mutransfer_enrolment"
_PLANNED = "_mutransfer_planned"

_models: WeakSet[nn.Module] = WeakSet()


class Enrolment:
    """A model's place in the list of wrapped ones. A copy of the model, and one that is unpickled, get their own."""

    def __init__(self, model: nn.Module | None) -> None:
        from mutransfer.parameterization.groups.step_guard import watch_steps  # which looks at this list

        self._model = None if model is None else ref(model)
        if model is not None:
            _models.add(model)
            watch_steps()

    def __reduce__(self) -> Any:
        return Enrolment, (self._model and self._model(),)


def mark(inner: nn.Module, plan: Plan) -> None:
    """Remember that ``plan`` was put on ``inner`` and on the modules that it has now."""
    vars(inner)[_MARK] = plan
    vars(inner)[_ENROLMENT] = Enrolment(inner)
    for module in inner.modules():
        vars(module)[_PLANNED] = True


def unmark(inner: nn.Module) -> None:
    """Undo :func:`mark`."""
    _models.discard(inner)
    for module in inner.modules():
        for name in (_MARK, _ENROLMENT, _PLANNED):
            vars(module).pop(name, None)


def holds_mark(inner: nn.Module) -> bool:
    """Whether a plan is on ``inner`` or on a part of it."""
    return any(_MARK in vars(module) for module in inner.modules())


def applied_plan(model: nn.Module) -> Plan | None:
    """The plan that :func:`~mutransfer.apply` put on ``model``, or None."""
    return vars(unwrapped(model)).get(_MARK)


def wrapped_models() -> list[tuple[nn.Module, Plan]]:
    """The living models of this process that are under a plan."""
    return [(model, plan) for model in list(_models) if (plan := applied_plan(model)) is not None]


def parameters_of_others(inner: nn.Module) -> list[str]:
    """Names of the parameters whose modules were not there when the plan was put on ``inner``."""
    if _ENROLMENT not in vars(inner):  # not under a plan; or unpickled from a file that is older than these marks
        return []
    return [
        f"{path}.{name}" if path else name
        for path, module in inner.named_modules()
        if _PLANNED not in vars(module)
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]
