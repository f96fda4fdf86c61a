"""Clipping gradients by a global norm that means the same at every width and in every form."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.names import unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.fit import check_multipliers, fitting


def clip_grad_norm_(model: nn.Module, plan: Plan, max_norm: float) -> torch.Tensor:
    """Like ``torch.nn.utils.clip_grad_norm_``, with each gradient's square weighted as SGD's learning rate scales.

    The plain norm of all gradients is no invariant: every tensor's gradient has its own power of width, and putting a
    multiplier f into a weight divides its gradient by f. A threshold tuned at small width then clips another share of
    steps at large width, and other shares in the forward and the absorbed form. The sum of (SGD learning rate) x
    ||gradient||^2 is, to first order, by how much a step of SGD lowers the loss, and that is kept. At base width this
    is the plain norm.

    Args:
        max_norm: the largest norm, as tuned at base width.

    Returns:
        The weighted norm before clipping, a scalar.

    Raises:
        PlanError: the plan's table has no row for SGD, or the plan is for another model, or not on this one.

    >>> import torch, mutransfer as mt
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, 3))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> model(torch.ones(1, 8)).sum().backward()
    >>> norm = mt.clip_grad_norm_(model, plan, max_norm=1.0)
    """
    by_weight: dict[float, list[torch.Tensor]] = {}
    parameters = [(n, p) for n, p in fitting(unwrapped(model), plan).items() if p.grad is not None]
    check_multipliers(model, plan)
    for name, parameter in parameters:
        weight = plan[name].norm_mult
        if weight is None:
            raise PlanError(f"parameterization {plan.parameterization!r} has no rule for SGD, which weights gradients")
        assert parameter.grad is not None
        by_weight.setdefault(weight, []).append(parameter.grad)
    norms = [_whole(get_total_norm(grads)) * weight**0.5 for weight, grads in by_weight.items()]
    if not norms:
        return torch.zeros(())
    total = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
    clip_grads_with_norm_([p for _, p in parameters], max_norm, total)
    return total


def _whole(norm: Any) -> torch.Tensor:
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of sharded gradients
