"""Muon for hidden matrices and AdamW for everything else, from one plan."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.group_names import set_names
from mutransfer.parameterization.groups.written_numbers import write_numbers
from mutransfer.parameterization.model.names import unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.wrapping.awaited_values import check_rescaled
from mutransfer.parameterization.wrapping.fit import check_multipliers, fitting
from mutransfer.theory.rules import DEFAULT_EPS, Role, wd_factor

# What torch's Muon multiplies its rate with, by ``adjust_lr_fn``, as a function of (rows, columns).
_ADJUST = {
    "original": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "spectral_unclamped": lambda rows, columns: math.sqrt(rows / columns),
}


def muon_groups(
    model: nn.Module,
    plan: Plan,
    *,
    lr: float,
    adamw_lr: float,
    weight_decay: float = 0.0,
    eps: float = DEFAULT_EPS["adamw"],
    adjust_lr_fn: str = "original",
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Groups for ``torch.optim.Muon(..., adjust_lr_fn=adjust_lr_fn)`` and for ``torch.optim.AdamW``.

    Muon takes only matrices, and torch's multiplies its rate by a factor of the shape; the rate here makes up for
    what that factor does as the shape grows, so that the step follows the plan. Weight decay uses the group's rate.

    Args:
        lr, adamw_lr: the two learning rates tuned at base width.
        weight_decay, eps: at base width.

    Raises:
        PlanError: the plan was not made for optimizer="muon", or ``adjust_lr_fn`` is unknown; or the model got its
            values after :func:`~mutransfer.apply`, and they are not rescaled yet.

    >>> import torch, mutransfer as mt
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, width))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64, optimizer="muon")
    >>> muon, adamw = mt.muon_groups(model, plan, lr=0.02, adamw_lr=1e-3)
    >>> optimizers = torch.optim.Muon(muon), torch.optim.AdamW(adamw)
    """
    if plan.optimizer != "muon":
        raise PlanError(f"the plan is for optimizer {plan.optimizer!r}; make it with optimizer='muon'")
    if adjust_lr_fn not in _ADJUST:
        raise PlanError(f"adjust_lr_fn must be one of {', '.join(_ADJUST)}, found {adjust_lr_fn!r}")
    check_rescaled(model)
    check_multipliers(model, plan)
    muon: dict[Any, dict[str, Any]] = {}
    adamw: dict[Any, dict[str, Any]] = {}
    for name, parameter in fitting(unwrapped(model), plan).items():
        s = plan[name]
        if s.role is Role.HIDDEN and parameter.ndim == 2:
            mult = muon_lr_mult(parameter, s, adjust_lr_fn)
            decay = wd_factor(plan.wd_policy, s.role, mult, s.m_in)
            _put(muon, name, parameter, lr=lr, lr_mult=mult, weight_decay=weight_decay * decay)
        else:
            decay = weight_decay * s.wd_mult
            _put(adamw, name, parameter, lr=adamw_lr, lr_mult=s.lr_mult, weight_decay=decay, eps=eps * s.eps_mult)
    groups = list(muon.values()), list(adamw.values())
    for part in groups:
        for group in part:
            write_numbers(group)
        set_names(part, plan)
    return groups


def muon_lr_mult(parameter: torch.Tensor, s: Scaling, adjust_lr_fn: str) -> float:
    """The factor on Muon's rate, without what torch's own factor grows by from the base shape to this one."""
    rows, columns = parameter.shape
    adjust = _ADJUST[adjust_lr_fn]
    return s.lr_mult / (adjust(rows, columns) / adjust(rows / s.m_out, columns / s.m_in))


def _put(groups: dict[Any, dict[str, Any]], name: str, parameter: torch.Tensor, *, lr: float, **numbers: float) -> None:
    key = tuple(numbers.values())
    group = groups.setdefault(key, {"params": [], "param_names": [], "lr": lr * numbers["lr_mult"], **numbers})
    group["params"].append(parameter)
    group["param_names"].append(name)
