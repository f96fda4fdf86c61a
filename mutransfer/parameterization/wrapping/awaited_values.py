"""A Plan that was put on a model before it had values (meta device): are those that it got since rescaled?"""

from __future__ import annotations

from typing import Any

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.names import unwrapped
from mutransfer.parameterization.wrapping.fit import has_values

# A plain attribute of the module, which deepcopy and pickle keep: what listens for a checkpoint.
_LISTENER = "_mutransfer_pending"


def mark_awaiting(inner: nn.Module) -> None:
    """Remember that ``inner`` has no values yet. Loading a whole checkpoint clears the mark: its weights are scaled."""
    setattr(inner, _LISTENER, inner.register_load_state_dict_post_hook(_on_load))


def is_awaiting(inner: nn.Module) -> bool:
    """Whether :func:`mark_awaiting` was called, and nothing has cleared the mark since."""
    return _LISTENER in vars(inner)


def clear_awaiting(inner: nn.Module) -> None:
    """Forget the mark: the values are there, and scaled."""
    if (listener := vars(inner).pop(_LISTENER, None)) is not None:
        listener.remove()


def check_rescaled(model: nn.Module) -> None:
    """Raise PlanError where values came into the model after :func:`~mutransfer.apply`, and not from a checkpoint."""
    inner = unwrapped(model)
    if is_awaiting(inner) and has_values(inner.parameters()):
        raise PlanError(
            "this model had no values (meta device) when the plan was applied, and those that it has now are not "
            "rescaled: call mutransfer.apply(model, plan) again. If they are from a checkpoint that was not loaded by "
            "load_state_dict, call mutransfer.attach(model, plan)."
        )


def _on_load(module: nn.Module, keys: Any) -> None:
    if not keys.missing_keys and has_values(module.parameters()):
        vars(module).pop(_LISTENER, None)  # and stays registered: torch is going through its hooks right now
