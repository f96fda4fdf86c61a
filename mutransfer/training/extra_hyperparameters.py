"""Hyperparameters beside the optimizer's own: constants at base width that are multiplied into the plan's factors.

Tensor Programs V (Yang et al. 2022, Table 2) names what transfers across width under mup: per-layer learning rates and
initialisations, and multipliers after weights. Each is one number here, which means the same at every width because the
plan's own factors carry all growth; at 1 the model is what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mutransfer.errors import ConfigError
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.theory import rules
from mutransfer.theory.exponents import SHIFT
from mutransfer.theory.rules import Role

WEIGHTS = (Role.INPUT, Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK)  # what init_mult scales: no bias, gain or norm
LR_MULTS = {f"lr_mult_{role}": role for role in Role}
INIT_MULTS = {f"init_mult_{role}": role for role in WEIGHTS}
MULTIPLIERS = (*LR_MULTS, "init_mult", *INIT_MULTS, "output_mult", "attention_mult")
DECAY = ("weight_decay", "independent_weight_decay")  # times the learning rate, as torch does; per step as it is


@dataclass(frozen=True, kw_only=True)
class HyperparameterFactors:
    """The factors by which the constants of one run change those of one role."""

    init: float = 1.0
    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0
    norm: float = 1.0  # of a squared gradient in clipping


def weight_decay(hyperparameters: Mapping[str, float]) -> float:
    """Decay as torch's optimizers take it, which multiply it by the learning rate.

    >>> weight_decay({"lr": 0.01, "weight_decay": 0.1})
    0.1
    >>> weight_decay({"lr": 0.01, "independent_weight_decay": 0.001})
    0.1
    """
    if "independent_weight_decay" in hyperparameters:
        return hyperparameters["independent_weight_decay"] / hyperparameters["lr"]
    return hyperparameters.get("weight_decay", 0.0)


def role_factors(hyperparameters: Mapping[str, float], role: Role, optimizer: str) -> HyperparameterFactors:
    """The factors of one role, beside those of the plan.

    The output multiplier is put into the readout's weight: init times a, learning rate times a (Adam) or a^2 (SGD),
    decay per step, eps and norm so that training is the same as with a forward multiplier (Yang & Hu 2021, Eq. 5; Yang
    & Littwin 2023, Eq. 2.5).
    """
    h = hyperparameters
    init = h.get(f"init_mult_{role}", 1.0) * (h.get("init_mult", 1.0) if role in WEIGHTS else 1.0)
    lr = h.get(f"lr_mult_{role}", 1.0)
    decay = 1.0 / lr if "independent_weight_decay" in h else 1.0
    out = h.get("output_mult", 1.0) if role is Role.OUTPUT else 1.0
    shift = out ** SHIFT[rules.family(optimizer)]
    return HyperparameterFactors(init=init * out, lr=lr * shift, weight_decay=decay / shift, eps=1.0 / out, norm=out**2)


def with_hyperparameters(plan: Plan, hyperparameters: Mapping[str, float]) -> Plan:
    """The plan with the constants of one run multiplied in; the plan itself where all of them are 1.

    Raises ConfigError where a constant reaches nothing in the model.
    """
    constants = {name: x for name in MULTIPLIERS if (x := hyperparameters.get(name, 1.0)) != 1.0}
    if not constants:
        return plan
    roles = {scaling.role for scaling in plan.values()}
    kinds = {site.kind for site in plan.sites.values()}
    for name in constants:
        role = {**LR_MULTS, **INIT_MULTS}.get(name)
        if role is not None and role not in roles:
            raise ConfigError(f"{name}: the model has no parameter of role {role}, only {', '.join(sorted(roles))}")
    if "attention_mult" in constants and SiteKind.ATTENTION_LOGITS not in kinds:
        raise ConfigError("attention_mult: no attention was seen in the model, or it has one key alone")
    if "output_mult" in constants and Role.OUTPUT not in roles and SiteKind.TIED_READOUT not in kinds:
        raise ConfigError("output_mult: the model has no parameter of role output, and no tied readout")
    of = {role: role_factors(hyperparameters, role, plan.optimizer) for role in roles}
    uses = {
        SiteKind.ATTENTION_LOGITS: constants.get("attention_mult", 1.0),
        SiteKind.TIED_READOUT: constants.get("output_mult", 1.0),
    }
    scalings = {
        name: replace(
            s,
            init_mult=s.init_mult * of[s.role].init,
            lr_mult=s.lr_mult * of[s.role].lr,
            wd_mult=s.wd_mult * of[s.role].weight_decay,
            eps_mult=s.eps_mult * of[s.role].eps,
            norm_mult=None if s.norm_mult is None else s.norm_mult * of[s.role].norm,
        )
        for name, s in plan.items()
    }
    sites = {path: replace(site, factor=site.factor * uses.get(site.kind, 1.0)) for path, site in plan.sites.items()}
    return replace(plan, scalings=scalings, sites=sites)


def forward_hyperparameters(plan: Plan) -> tuple[str, ...]:
    """Constants that stand in the forward pass, so that runs which differ in them are different programs."""
    tied = any(site.kind is SiteKind.TIED_READOUT for site in plan.sites.values())
    return ("attention_mult", "output_mult") if tied else ("attention_mult",)
