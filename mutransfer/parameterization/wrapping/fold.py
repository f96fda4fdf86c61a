"""Folding a plan's run-time multipliers away: a plain model and a plain optimizer that go on as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.attached_schedulers import attached
from mutransfer.parameterization.groups.group_names import distinct_name
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.normed_weights import normed_weight
from mutransfer.parameterization.sites import SiteKind
from mutransfer.parameterization.wrapping.apply import remove
from mutransfer.parameterization.wrapping.fit import check_in_place
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan
from mutransfer.theory.exponents import SHIFT
from mutransfer.theory.rules import Family, family

# The power of the gradient's size that each entry of torch's optimizer state carries.
_GRADIENT_POWER = {
    **dict.fromkeys(("momentum_buffer", "exp_avg", "exp_inf", "grad_avg"), 1),
    **dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "row_var", "col_var", "variance"), 2),
    **dict.fromkeys(("step", "mu_product"), 0),
}
# Entries of a group that are learning rates; all but the first are schedulers'.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")


def fold(model: nn.Module, plan: Plan, optimizer: torch.optim.Optimizer | None = None) -> nn.Module:
    """Make ``model`` plain again, in place: the same function, no hooks, weights that any code can load.

    A weight W under multiplier f becomes f W. With the ``optimizer`` given, its state and groups follow by the
    symmetry of abc-parameterizations (Tensor Programs IV Eq. 5, IVb Eq. 2.5), so that training goes on as it
    would have: gradients are divided by f, so learning rates take f^2 (SGD) or f (Adam family, Muon) and eps 1/f.

    A learning-rate scheduler keeps rates and a number of groups of its own, of which a class does not tell: with one
    attached nothing is folded. The entries that it left in the groups (``initial_lr`` and the like) do follow, so that
    one that is made anew on the folded optimizer goes on from there.

    Raises:
        PlanError: the model does not carry ``plan``, or no longer as it was put on; a multiplier belongs to one use of
            a shared tensor (a tied readout), which no plain weight can hold; or a scheduler is attached to the
            optimizer. Nothing is changed then.
    """
    check_foldable(model, plan)
    inner = unwrapped(model)
    factors = weight_factors(inner, plan)
    state = []
    if optimizer is not None:
        _check_no_scheduler(optimizer)
        state = list(_state_with_powers(optimizer, factors))
    with torch.no_grad():
        for parameter, factor in factors.items():
            parameter.mul_(factor)
    remove(inner)
    if optimizer is not None:
        for value, factor in state:
            value.div_(factor)
        _fold_groups(optimizer, factors, family(plan.optimizer))
    return model


def check_foldable(model: nn.Module, plan: Plan) -> None:
    """Raise PlanError where ``plan`` is not on ``model``, or multiplies what no plain weight can hold."""
    if applied_plan(model) != plan:
        raise PlanError("this plan is not on the model: nothing to fold")
    check_in_place(model, plan)
    inner = unwrapped(model)
    for name in plan:
        normed = normed_weight(inner, name) if plan[name].forward_mult != 1.0 else None
        if normed is not None and normed.gain is None:
            raise PlanError(
                f"{name} is divided by its largest singular value, so that no multiplier can be folded into it: keep "
                "the wrapped model, save_plan beside its checkpoint, and attach the plan where it is loaded"
            )
    sites = {path: site.kind for path, site in plan.sites.items() if site.factor != 1.0}
    if tied := [path for path, kind in sites.items() if kind is SiteKind.TIED_READOUT]:
        raise PlanError(
            f"{', '.join(tied)} reads out with a tensor it shares with an embedding, and a multiplier on one use "
            "of a tensor cannot be folded into it. Untie the two first, or keep the wrapped model, save_plan beside "
            "its checkpoint, and attach the plan where it is loaded"
        )
    if sites:
        raise PlanError(
            f"the logits of attention are multiplied at {', '.join(sites)}, which no plain weight can hold: keep the "
            "wrapped model, save_plan beside its checkpoint, and attach the plan where it is loaded"
        )


def weight_factors(inner: nn.Module, plan: Plan) -> dict[torch.Tensor, float]:
    """What every parameter that is multiplied at run time is multiplied with."""
    parameters = {canonical(name, plan.keys()): parameter for name, parameter in inner.named_parameters()}
    factors: dict[torch.Tensor, float] = {}
    for name, parameter in parameters.items():
        if plan[name].forward_mult != 1.0:
            normed = normed_weight(inner, name)
            held = parameters[normed.gain] if normed is not None and normed.gain else parameter
            factors[held] = plan[name].forward_mult
    return factors


def _check_no_scheduler(optimizer: torch.optim.Optimizer) -> None:
    if not attached(optimizer):
        return
    gc.collect()  # one that was let go of may still lie about
    if names := sorted({type(scheduler).__name__ for scheduler in attached(optimizer)}):
        raise PlanError(
            f"{', '.join(names)} is attached to the optimizer and keeps learning rates by group of its own, which "
            "folding changes in number and size. Let go of it (del scheduler), fold, and make it anew with "
            "last_epoch=done - 1, where done is the scheduler.last_epoch of before; rates by group that you give it "
            "(max_lr) are then those of the folded groups, whose lr_mult fold has changed"
        )


def _state_with_powers(
    optimizer: torch.optim.Optimizer, factors: dict[torch.Tensor, float]
) -> Iterator[tuple[torch.Tensor, float]]:
    """The entries of the optimizer's state that carry the gradient's size, each with what it is divided by."""
    # RMSprop's momentum sums steps that are normalised already.
    powers = _GRADIENT_POWER | ({"momentum_buffer": 0} if isinstance(optimizer, torch.optim.RMSprop) else {})
    for parameter, factor in factors.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is None:
                continue
            if key not in powers:
                raise PlanError(f"optimizer state {key!r} of {type(optimizer).__name__} has no known scaling")
            if powers[key]:
                yield value, factor ** powers[key]


def _fold_groups(optimizer: torch.optim.Optimizer, factors: dict[torch.Tensor, float], optimized: Family) -> None:
    """Split groups by factor, so that each keeps one learning rate."""
    groups = []
    taken = {group["name"] for group in optimizer.param_groups if "name" in group}
    for group in optimizer.param_groups:
        by_factor: dict[float, list[int]] = {}
        for i, parameter in enumerate(group["params"]):
            by_factor.setdefault(factors.get(parameter, 1.0), []).append(i)
        for part, (factor, members) in enumerate(by_factor.items()):
            on_lr = factor ** SHIFT[optimized]
            folded = dict(group)
            for key in ("params", "param_names"):
                if key in group:
                    folded[key] = [group[key][i] for i in members]
            if part and "name" in group:
                folded["name"] = distinct_name(group["name"], taken)
            if factor != 1.0:
                folded |= {key: group[key] * on_lr for key in _RATES if key in group}
                folded["lr_mult"] = group.get("lr_mult", 1.0) * on_lr
                folded["weight_decay"] = group["weight_decay"] / on_lr
                if isinstance(eps := group.get("eps"), tuple):  # Adafactor's: its second entry floors the weight's size
                    folded["eps"] = (eps[0], eps[1] * factor)
                elif eps is not None:
                    folded["eps"] = eps / factor
            groups.append(folded)
    optimizer.param_groups[:] = groups
