"""The rules by name: parameterizations and their variants, optimizer families, weight-decay policies.

The tables themselves are in ``tables`` and ``variants``, their vocabulary in ``exponents``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from mutransfer.errors import PlanError
from mutransfer.theory.exponents import ONE as ONE
from mutransfer.theory.exponents import Family as Family
from mutransfer.theory.exponents import Parameterization as Parameterization
from mutransfer.theory.exponents import Power as Power
from mutransfer.theory.exponents import Role as Role
from mutransfer.theory.exponents import Row as Row
from mutransfer.theory.tables import AS_IS as AS_IS
from mutransfer.theory.tables import MF as MF
from mutransfer.theory.tables import MUP as MUP
from mutransfer.theory.tables import NTK as NTK
from mutransfer.theory.tables import SP as SP
from mutransfer.theory.variants import LR_RULES, VARIANTS

PARAMETERIZATIONS: Mapping[str, Parameterization] = {p.name: p for p in (SP, AS_IS, NTK, MF, MUP)}
TABLES: Mapping[str, Parameterization] = {**PARAMETERIZATIONS, **VARIANTS}


class Form(StrEnum):
    """The place of a table's forward multipliers; both forms train the same function."""

    FORWARD = "forward"  # on a layer's input, at run time
    ABSORBED = "absorbed"  # into init, learning rate, weight decay and eps


class WdPolicy(StrEnum):
    """What becomes of weight decay, for optimizers that decay by ``lr * wd * w``."""

    INDEPENDENT = "independent"  # lr * wd constant in width (Wang & Aitchison, arXiv:2405.13698; as MuAdamW does)
    SQRT = "sqrt"  # lr * wd ~ m^-1/2 for hidden matrices, none for the rest (Fan et al., arXiv:2510.15262)
    STANDARD = "standard"  # weight decay untouched; it then weakens or grows with the learning rate


# All of the Adam row take steps that do not depend on the gradient's size: measured, the forms T8, T3, T9 and mf
# train to the same losses under each of them.
OPTIMIZERS: Mapping[str, Family] = {
    "sgd": Family.SGD,
    **dict.fromkeys(("adam", "adamw", "nadam", "adamax", "rmsprop", "adagrad", "lion"), Family.ADAM),
    "adafactor": Family.ADAFACTOR,
    "muon": Family.MUON,
}
NO_RULE: Mapping[str, str] = {
    "radam": "its first steps are not normalised (they are SGD's), so no one row fits; use adam or nadam",
}
COUPLED_DECAY = frozenset({"adam", "nadam", "adamax", "rmsprop", "adagrad"})  # torch adds it to the gradient
# torch's eps. Adam's kin add it to a root of squared gradients; Lion has none; Adafactor's is a pair: bounds of the
# squared gradient's estimate, which have no exponent, and the least root-mean-square of a weight that its steps
# count, which goes with the weight's init.
DEFAULT_EPS: Mapping[str, Any] = {
    "adafactor": (None, 1e-3),
    "adam": 1e-8,
    "adamw": 1e-8,
    "nadam": 1e-8,
    "adamax": 1e-8,
    "rmsprop": 1e-8,
    "adagrad": 1e-10,
}


def parameterization(which: str | Parameterization, lr_rule: str | None = None) -> Parameterization:
    """The table named ``which`` (a variant's name too), or ``which`` itself when it is a table already.

    ``lr_rule``: "full_alignment" or "no_alignment", Everett et al.'s per-layer rates for sp and ntk.
    """
    name = which.name if isinstance(which, Parameterization) else which
    if lr_rule is not None:
        if (name, lr_rule) not in LR_RULES:
            known = ", ".join(f"{rule!r} for {table!r}" for table, rule in LR_RULES)
            raise PlanError(f"unknown lr_rule {lr_rule!r} for parameterization {name!r}: expected None, or {known}")
        return LR_RULES[name, lr_rule]
    if isinstance(which, Parameterization):
        return which
    if which not in TABLES:
        raise PlanError(
            f"unknown parameterization {which!r}: expected one of {', '.join(TABLES)}, "
            "or a mutransfer.Parameterization of your own"
        )
    return TABLES[which]


def family(optimizer: str) -> Family:
    """The family of a torch optimizer's lower-case name.

    >>> family("adamw")
    <Family.ADAM: 'adam'>
    """
    name = optimizer.lower()
    if name in NO_RULE:
        raise PlanError(f"no rule for optimizer {optimizer!r}: {NO_RULE[name]}")
    if name not in OPTIMIZERS:
        raise PlanError(f"no rule for optimizer {optimizer!r}: expected one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def family_of(optimizer: Family, role: Role, n_dims: int) -> Family:
    """The family whose row one parameter takes: Muon is for hidden matrices, beside it AdamW for the rest."""
    beside = role is not Role.HIDDEN or n_dims != 2
    return Family.ADAM if optimizer is Family.MUON and beside else optimizer


def wd_factor(policy: str, role: Role, lr_factor: float, m_in: float) -> float:
    """The factor on weight decay under a :class:`WdPolicy`, beside ``lr_factor`` on the learning rate."""
    match choice(WdPolicy, policy, "wd_policy"):
        case WdPolicy.INDEPENDENT:
            return 1.0 / lr_factor
        case WdPolicy.SQRT:
            return m_in**-0.5 / lr_factor if role is Role.HIDDEN else 0.0
        case WdPolicy.STANDARD:
            return 1.0


Option = TypeVar("Option", bound=StrEnum)


def choice(options: type[Option], text: str, what: str) -> Option:
    """The option that ``text`` names; PlanError with all options where it names none."""
    if text not in list(options):
        raise PlanError(f"unknown {what} {text!r}: expected one of {', '.join(options)}")
    return options(text)
