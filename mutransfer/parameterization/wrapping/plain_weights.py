"""The weights of a wrapped model as plain code reads them, without changing the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.model.names import unhidden, unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.awaited_values import check_rescaled
from mutransfer.parameterization.wrapping.fold import check_foldable, weight_factors


def plain_state_dict(model: nn.Module, plan: Plan) -> dict[str, Any]:
    """The state dict that :func:`~mutransfer.fold` would leave: what any code computes the same function from.

    A wrapped model's own ``state_dict`` lacks the run-time multipliers, and in a model without them is another
    function. This one is for whoever is given the weights; to go on training under the plan, save the model's own and
    the plan beside it (:func:`~mutransfer.save_plan`). The names are the user's own, whatever wraps the model or its
    parts; tensors without a multiplier share memory with the model's, as in every state dict.

    Raises:
        PlanError: as :func:`~mutransfer.fold`: the model does not carry ``plan``, or a multiplier on a tied readout or
            on the logits of attention, which no plain weight can hold.

    >>> import mutransfer as mt
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> plain = build(256)
    >>> _ = plain.load_state_dict(mt.plain_state_dict(model, plan))
    >>> x = torch.ones(1, 8)
    >>> torch.allclose(plain(x), model(x), atol=1e-6)
    True
    """
    check_rescaled(model)
    check_foldable(model, plan)
    return scaled_state(model, plan)


def scaled_state(model: nn.Module, plan: Plan) -> dict[str, Any]:
    """The weights with their run-time factors in them, whatever else ``plan`` multiplies."""
    inner = unwrapped(model)
    factors = weight_factors(inner, plan)
    state: dict[str, Any] = inner.state_dict(keep_vars=True)
    scaled: dict[torch.Tensor, torch.Tensor] = {}  # one tensor under two names stays one
    for name in list(state):
        value = state.pop(name)  # and put it back, so that their order stays
        if isinstance(value, torch.Tensor):
            if value in factors and value not in scaled:
                scaled[value] = value.detach() * factors[value]
            value = scaled[value] if value in scaled else value.detach()
        state[unhidden(name)] = value
    return state
