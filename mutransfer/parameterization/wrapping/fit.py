"""Whether a model's parameters are a Plan's: names, shapes, and values as the factory draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.initialisation.drawn_sizes import sums
from mutransfer.parameterization.model.names import canonical
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind


def fitting(inner: nn.Module, plan: Plan) -> dict[str, nn.Parameter]:
    """The parameters of ``inner`` by their names in ``plan``; PlanError where names or shapes differ."""
    parameters = {canonical(n, plan.scalings.keys()): p for n, p in inner.named_parameters()}
    if odd := sorted(parameters.keys() ^ plan.keys()):
        raise PlanError(
            f"the plan is for another model: {', '.join(odd[:6])} {'are' if len(odd) > 1 else 'is'} in only one of them"
            + "".join(untied(name, plan) for name in odd)
        )
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != plan.shapes[name]:
            raise PlanError(
                f"the plan is for another width: {name} has shape {tuple(parameter.shape)}, "
                f"the plan (width {plan.width}) expects {plan.shapes[name]}"
            )
    return parameters


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
    return not any(parameter.is_meta for parameter in parameters)


def check_fresh(parameters: Mapping[str, nn.Parameter], plan: Plan) -> None:
    """Raise PlanError where the size of a parameter's values is not what the plan saw the factory draw."""
    for name, parameter in parameters.items():
        if name not in plan.fresh_rms:
            continue
        rms, expected = _rms(parameter), plan.fresh_rms[name]
        # Six standard deviations of a sample's root-mean-square, or 16/n where all n elements may be small by
        # chance (probability e^-16), and 5 % for what the plan's own estimate is off.
        n = parameter.numel()
        slack = max(6 / math.sqrt(2 * n), 16 / n) + 0.05
        if not rms or abs(math.log(rms / expected)) > slack:
            raise PlanError(
                f"{name} is not as the factory draws it: root-mean-square {rms:.4g}, expected "
                f"{expected:.4g}. Was a checkpoint loaded, or the model trained? Apply the plan to a fresh "
                "model first and load the checkpoint afterwards, which never rescales; or put the plan on weights that "
                "were trained under it by mutransfer.attach(model, plan)."
            )


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
