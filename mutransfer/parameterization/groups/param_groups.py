"""Parameter groups for torch optimizers, with the plan's factors on learning rate, weight decay and eps."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.group_names import set_names
from mutransfer.parameterization.groups.written_numbers import write_numbers
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.awaited_values import check_rescaled
from mutransfer.parameterization.wrapping.fit import check_in_place, untied
from mutransfer.theory.rules import COUPLED_DECAY, DEFAULT_EPS

ADAFACTOR_LR = 1e-2  # torch's default: its clamp is reached after 10 000 steps


def param_groups(
    model: nn.Module,
    plan: Plan,
    *,
    lr: float | torch.Tensor,
    weight_decay: float = 0.0,
    eps: float | tuple[float | None, float] | None = None,
    params: Iterable[Any] | None = None,
) -> list[dict[str, Any]]:
    """Groups for any torch optimizer of the plan's family, one per distinct set of numbers.

    Every group carries ``lr``, ``weight_decay``, ``lr_mult`` and, in the Adam family, ``eps``, so values
    given to the optimizer's constructor are ignored for these. It has a ``name``, of the roles in it (``"hidden"``,
    ``"input_vector"``), which monitors of learning rates show, and ``param_names``, as torch writes them for named
    parameters; groups of your own beside them need names too, by ``{"params": module.named_parameters()}``.

    Args:
        lr: the learning rate tuned at base width; a tensor is kept a tensor.
        weight_decay: at base width.
        eps: at base width; None is torch's default. For Adafactor a pair, of which the second, the floor under a
            weight's size, is scaled.
        params: your own parameters, named parameters or groups (dicts), which stay apart and may override
            ``lr``, ``weight_decay`` and ``eps``; they are not changed. None: all parameters of ``model``.

    ``lr_mult`` is relative to ``lr``, so :func:`set_lr` and :func:`check_lr` keep your own ratios too. Weight decay
    that Adam adds to the gradient (L2) has no form that is the same at every width: it is warned of. So is a rate of
    torch's Adafactor from which its clamp min(lr, 1/sqrt(step)) soon makes all groups alike.

    Raises:
        PlanError: a parameter is not in the plan; a group has an ``lr`` of its own where ``lr`` is 0; or the model got
            its values after :func:`~mutransfer.apply`, and they are not rescaled yet.

    >>> import torch
    >>> from mutransfer import parameterize
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, 3))
    >>> model, plan = parameterize(build, width=256, base_width=64)
    >>> optimizer = torch.optim.AdamW(param_groups(model, plan, lr=1e-3))
    """
    if plan.optimizer == "muon":
        raise PlanError(
            "Muon takes only matrices: use mutransfer.muon_groups, which gives groups for Muon and for AdamW"
        )
    check_rescaled(model)
    check_in_place(model, plan)
    names = {id(p): canonical(n, plan.scalings.keys()) for n, p in unwrapped(model).named_parameters()}
    groups: list[dict[str, Any]] = []
    for own in _own_groups(model, params):
        merged: dict[tuple[Any, ...], dict[str, Any]] = {}
        base_lr, base_wd, base_eps = (
            own.get("lr", lr),
            own.get("weight_decay", weight_decay),
            own.get("eps", eps),
        )
        own_ratio = _ratio(base_lr, lr) if "lr" in own else 1.0
        if plan.optimizer in COUPLED_DECAY and base_wd:
            warnings.warn(
                f"weight_decay={base_wd} with optimizer {plan.optimizer!r} is added to the gradient, and no factor "
                "makes that the same at every width; use 'adamw', whose decay is apart from the gradient",
                stacklevel=2,
            )
        if plan.optimizer == "adafactor" and float(base_lr) > ADAFACTOR_LR:
            warnings.warn(
                f"torch's Adafactor takes min(lr, 1/sqrt(step)): with lr={float(base_lr):g} it flattens the "
                f"plan's ratios from step {round(float(base_lr) ** -2)} on. Keep lr below 1/sqrt(steps), or use adamw",
                stacklevel=2,
            )
        for parameter in own["params"]:
            name = names.get(id(parameter))
            if name is None or name not in plan:
                raise PlanError(
                    f"a parameter of shape {tuple(parameter.shape)} "
                    f"({name or 'not a parameter of this model'}) is not in the plan{untied(name or '', plan)}"
                )
            s = plan[name]
            numbers: dict[str, Any] = {"weight_decay": base_wd * s.wd_mult, "lr_mult": s.lr_mult * own_ratio}
            if plan.optimizer in DEFAULT_EPS:
                numbers["eps"] = _scaled_eps(DEFAULT_EPS[plan.optimizer] if base_eps is None else base_eps, s.eps_mult)
            key = (s.lr_mult, *numbers.values())
            if key not in merged:
                kept = {k: v for k, v in own.items() if k not in ("params", "param_names")}
                merged[key] = {**kept, "params": [], "param_names": [], "lr": base_lr * s.lr_mult, **numbers}
            merged[key]["params"].append(parameter)
            merged[key]["param_names"].append(name)
        groups += merged.values()
    for group in groups:
        write_numbers(group)
    set_names(groups, plan)
    return groups


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the base learning rate of every group, keeping the plan's ratios; for hand-written schedules.

    Raises PlanError where a group carries no ``lr_mult``, i.e. was not made by :func:`param_groups`.
    """
    for i, group in enumerate(optimizer.param_groups):
        rate = lr * lr_mult_of(group, i)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def lr_mult_of(group: Mapping[str, Any], number: int) -> float:
    """The plan's factor on a group's learning rate; PlanError, with the group's number, where it carries none."""
    if "lr_mult" not in group:
        raise PlanError(f"group {number} has no 'lr_mult': make the optimizer from mutransfer.param_groups(...)")
    return group["lr_mult"]


def _ratio(own_lr: float | torch.Tensor, lr: float | torch.Tensor) -> float:
    """A group's own learning rate over the one for all; 0 for a frozen group."""
    if float(lr):
        return float(own_lr) / float(lr)
    if float(own_lr):
        raise PlanError(
            f"a group has lr={float(own_lr):g} of its own and lr={float(lr):g} is given for all: no schedule of one "
            "base rate can keep their ratio. Give lr the base rate that is reached, and start a warmup from 0 by a "
            "scheduler or mutransfer.set_lr(optimizer, 0.0)"
        )
    return 1.0


def _scaled_eps(eps: Any, mult: float) -> Any:
    return (eps[0], eps[1] * mult) if isinstance(eps, tuple | list) else eps * mult


def _own_groups(model: nn.Module, params: Iterable[Any] | None) -> list[Mapping[str, Any]]:
    items: list[Any] = list(model.parameters()) if params is None else list(params)
    if items and isinstance(items[0], Mapping):
        return [{**group, "params": _tensors(group["params"])} for group in items]
    return [{"params": _tensors(items)}]


def _tensors(params: Any) -> list[torch.Tensor]:
    if isinstance(params, torch.Tensor):
        return [params]
    return [p[1] if isinstance(p, tuple) else p for p in params]
