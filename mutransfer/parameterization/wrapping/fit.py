"""Whether a model is a Plan's: names and shapes of parameters, multipliers in place, values as the factory draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from mutransfer.errors import PlanError
from mutransfer.parameterization.initialisation.drawn_sizes import chance_deviation, sums
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.model.stand_in import StandIn
from mutransfer.parameterization.multipliers.install import missing_multipliers
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.parameterization.wrapping.wrapped_models import parameters_of_others

_REPLACED = (
    "was a module replaced after wrapping (a new head, resize_token_embeddings, attention made anew)? Do it in the "
    "factory, before the plan is made"
)


def fitting(inner: nn.Module, plan: Plan) -> dict[str, nn.Parameter]:
    """The parameters of ``inner`` by their names in ``plan``; PlanError where names or shapes differ."""
    parameters = {canonical(n, plan.scalings.keys()): p for n, p in inner.named_parameters()}
    if odd := sorted(parameters.keys() ^ plan.keys()):
        raise PlanError(
            f"the plan is for another model: {', '.join(odd[:6])} {'are' if len(odd) > 1 else 'is'} in only one of them"
            + "".join(untied(name, plan) for name in odd)
        )
    _check_shapes(parameters, plan)
    return parameters


def check_in_place(model: nn.Module, plan: Plan) -> None:
    """Raise PlanError where ``model`` is no longer as ``plan`` was put on it: the one question of all who use the two.

    A module that was replaced since has neither its multiplier nor, perhaps, its shape; and if it needs no multiplier,
    its values are not scaled as the plan asks.
    """
    inner = _computing(model)
    _check_shapes({canonical(n, plan.scalings.keys()): p for n, p in unwrapped(model).named_parameters()}, plan)
    check_multipliers(model, plan)
    if not isinstance(inner, GraphModule) and (
        strange := [n for n in parameters_of_others(inner) if canonical(n, plan.scalings.keys()) in plan]
    ):
        raise PlanError(f"the plan was not put on what holds {', '.join(strange[:6])}: {_REPLACED}")


def check_multipliers(model: nn.Module, plan: Plan) -> None:
    """Raise PlanError where a run-time multiplier of ``plan`` is not on ``model``; cheap enough for every step."""
    inner = _computing(model)
    if isinstance(inner, GraphModule):  # exported or traced: the multipliers are operations of its code
        return
    if missing := missing_multipliers(inner, plan):
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise PlanError(
            f"the plan multiplies at every forward pass, but is not on this model at {', '.join(missing[:6])}{more}: "
            f"{_REPLACED}, or the plan was never put on it (make the model by mutransfer.parameterize, or "
            "call mutransfer.attach(model, plan) on one that was trained under the plan)"
        )


def _computing(model: nn.Module) -> nn.Module:
    """The module that computes for ``model``, under whatever wraps it or stands for it."""
    inner = unwrapped(model)
    while isinstance(inner, StandIn):
        inner = unwrapped(inner.original)
    return inner


def _check_shapes(parameters: Mapping[str, nn.Parameter], plan: Plan) -> None:
    for name, parameter in parameters.items():
        if name in plan.shapes and tuple(parameter.shape) != plan.shapes[name]:
            raise PlanError(
                f"the plan is for another width: {name} has shape {tuple(parameter.shape)}, the plan "
                f"(width {plan.width}) expects {plan.shapes[name]}; or {_REPLACED}"
            )


def untied(name: str, plan: Plan) -> str:
    """What to do about a parameter that is not in ``plan`` because it was tied to another; else nothing."""
    path = name.rpartition(".")[0]
    if path not in plan.sites or plan.sites[path].kind is not SiteKind.TIED_READOUT:
        return ""
    return (
        f". {name} was tied to another parameter when the plan was made, and torch unties on to_empty, "
        '.to("meta") and load_state_dict(assign=True): tie it again as the factory does'
    )


def has_values(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether none of them is on the meta device."""
    return not any(parameter.is_meta for parameter in parameters)


def check_fresh(parameters: Mapping[str, nn.Parameter], plan: Plan) -> None:
    """Raise PlanError where the size of a parameter's values is not what the plan saw the factory draw."""
    for name, parameter in parameters.items():
        if name not in plan.fresh_rms:
            continue
        rms, expected = _rms(parameter), plan.fresh_rms[name]
        slack = chance_deviation(parameter.numel()) + 0.05  # and what the plan's own estimate is off
        if not any(size and abs(math.log(size / expected)) <= slack for size in (rms, _without_largest(parameter))):
            raise PlanError(
                f"{name} is not as the factory draws it: root-mean-square {rms:.4g}, expected "
                f"{expected:.4g}. Was a checkpoint loaded, or the model trained? Apply the plan to a fresh "
                "model first and load the checkpoint afterwards, which never rescales; or put the plan on weights that "
                "were trained under it by mutransfer.attach(model, plan)."
            )


def _without_largest(parameter: nn.Parameter) -> float:
    """The root-mean-square of all entries but the largest: truncated normal draws may hold one of -2 by rounding.

    ``trunc_normal_`` takes the inverse of the error function at -1 once in 2**24 entries, and clamps what comes of it.
    """
    tensor: Any = parameter.detach()
    if hasattr(tensor, "full_tensor") or tensor.numel() < 2:
        return 0.0
    return math.sqrt(max(sums(tensor)[0] - float(tensor.abs().max()) ** 2, 0.0) / (tensor.numel() - 1))


def _rms(parameter: nn.Parameter) -> float:
    tensor: Any = parameter.detach()
    if not hasattr(tensor, "full_tensor"):
        return math.sqrt(sums(tensor)[0] / tensor.numel())
    # Sharded (FSDP2, tensor parallelism): every process adds up what it holds, and all come to the same verdict.
    from torch.distributed.tensor import DTensor, Partial, Replicate

    mesh = tensor.device_mesh
    square = torch.tensor(sums(tensor.to_local())[0], dtype=torch.float64, device=mesh.device_type)
    parts = [Replicate() if placement.is_replicate() else Partial() for placement in tensor.placements]
    whole = DTensor.from_local(square, mesh, parts).full_tensor()
    return math.sqrt(whole.item() / tensor.numel())
