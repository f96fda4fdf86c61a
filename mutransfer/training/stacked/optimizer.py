"""Optimizer steps written over stacked tensors: row k of every tensor belongs to member k of a population.

Each rule is torch's own step, entry by entry, with coefficients that may differ from row to row. They are computed in
double precision: 1 - beta2 in single precision would be off in the fifth digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mutransfer.theory.rules import DEFAULT_EPS

Columns = Mapping[str, np.ndarray]  # name -> one value per member, float64
Coefficients = Mapping[str, Tensor]  # name -> (members, 1)
IN_CACHE = 2**16  # entries that a CPU keeps near while the dozen passes of one step go over them


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """The plan's factors for one parameter, or (members, 1) where members have their own."""

    lr: float | Tensor = 1.0
    weight_decay: float | Tensor = 1.0
    eps: float | Tensor = 1.0


@dataclass(frozen=True, kw_only=True)
class ElementwiseRule:
    """One optimizer: which hyperparameters it has, what it remembers, and its step."""

    defaults: Mapping[str, float]
    slots: tuple[str, ...]  # tensors like the parameter, zero at first
    # (hyperparameters with the step's own lr, number of the step from 1 on) -> coefficients
    coefficients: Callable[[Columns, int], dict[str, np.ndarray]]
    # (parameter, gradient, slots, coefficients, factors): changes the parameter and the slots
    step: Callable[[Tensor, Tensor, Mapping[str, Tensor], Coefficients, Multipliers], None]


def _sgd_coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    return {"lr": h["lr"], "momentum": h["momentum"], "decay": h["weight_decay"]}


def _sgd(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    buffer = s["momentum"].mul_(c["momentum"]).add_(g).addcmul_(p, c["decay"] * m.weight_decay)
    p.addcmul_(buffer, c["lr"] * -m.lr)


def _adam_coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    """Kingma and Ba (1412.6980) with torch's bias corrections."""
    return {
        "first": 1 - h["beta1"],
        "second": 1 - h["beta2"],
        "beta2": h["beta2"],
        "lr": h["lr"] / (1 - h["beta1"] ** t),
        "root": (1 - h["beta2"] ** t) ** -0.5,
        "eps": h["eps"],
    }


def _adam(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    s["mean"].lerp_(g, c["first"])
    s["square"].mul_(c["beta2"]).addcmul_(g * g, c["second"])
    p.addcdiv_(s["mean"] * (c["lr"] * -m.lr), s["square"].sqrt().mul_(c["root"]).add_(c["eps"] * m.eps))


def _adamw_coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    return {**_adam_coefficients(h, t), "decay": h["lr"] * h["weight_decay"]}


def _adamw(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    p.mul_(1 - c["decay"] * (m.lr * m.weight_decay))
    _adam(p, g, s, c, m)


def _lion_coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    return {
        "lr": h["lr"],
        "now": 1 - h["beta1"],
        "later": 1 - h["beta2"],
        "decay": h["lr"] * h["weight_decay"],
    }


def _lion(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    """Chen et al. (2302.06675): the sign of an average of momentum and gradient."""
    p.mul_(1 - c["decay"] * (m.lr * m.weight_decay))
    p.addcmul_(s["mean"].lerp(g, c["now"]).sign_(), c["lr"] * -m.lr)
    s["mean"].lerp_(g, c["later"])


_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": DEFAULT_EPS["adam"]}
RULES: Mapping[str, ElementwiseRule] = {
    "sgd": ElementwiseRule(
        defaults={"momentum": 0.0, "weight_decay": 0.0},
        slots=("momentum",),
        coefficients=_sgd_coefficients,
        step=_sgd,
    ),
    "adam": ElementwiseRule(defaults=_ADAM, slots=("mean", "square"), coefficients=_adam_coefficients, step=_adam),
    "adamw": ElementwiseRule(
        defaults={**_ADAM, "weight_decay": 0.0},
        slots=("mean", "square"),
        coefficients=_adamw_coefficients,
        step=_adamw,
    ),
    "lion": ElementwiseRule(
        defaults={"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0},
        slots=("mean",),
        coefficients=_lion_coefficients,
        step=_lion,
    ),
}


class ElementwiseOptimizer:
    """One rule over the stacked parameters of a population, each member with its own hyperparameters."""

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, Tensor],
        multipliers: Mapping[str, Multipliers],
        hyperparameters: Sequence[Mapping[str, float]],
        own: Mapping[str, np.ndarray] | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            hyperparameters: of each member, in the order of the rows; what is left out has torch's default.
            own: "FIELD GROUP" -> a factor per member on that field of the multipliers of a group's parameters.
            groups: parameter -> its group.
        """
        self.own, self.groups = dict(own or {}), dict(groups or {})
        self.rule = RULES[name]
        self.multipliers = multipliers
        names = {**self.rule.defaults, "lr": 0.0}
        self.columns = {n: np.array([h.get(n, default) for h in hyperparameters]) for n, default in names.items()}
        self.slots = {n: {slot: torch.zeros_like(p) for slot in self.rule.slots} for n, p in parameters.items()}

    def keep(self, rows: Tensor) -> None:
        """Drop all members but those at ``rows``."""
        self.columns = {n: column[rows.numpy()] for n, column in self.columns.items()}
        self.own = {n: column[rows.numpy()] for n, column in self.own.items()}
        self.slots = {n: {s: t[rows.to(t.device)] for s, t in slots.items()} for n, slots in self.slots.items()}

    def coefficients(self, lr_factors: np.ndarray, step: int, like: Tensor) -> dict[str, Tensor]:
        """Those of step 0, 1, ..., in the precision of ``like``, moved to its device in one piece."""
        found = self.rule.coefficients({**self.columns, "lr": self.columns["lr"] * lr_factors}, step + 1) | self.own
        table = torch.from_numpy(np.stack(list(found.values()))).to(like.dtype).to(like.device, non_blocking=True)
        return dict(zip(found, table.unsqueeze(-1), strict=True))

    def step(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        slots: Mapping[str, Mapping[str, Tensor]],
        coefficients: Coefficients,
    ) -> None:
        """Change parameters and slots in place; those without a gradient stay, as in torch."""
        for name, gradient in gradients.items():
            members = len(gradient)
            p, g = parameters[name].view(members, -1), gradient.reshape(members, -1)
            flat = {slot: t.view(members, -1) for slot, t in slots[name].items()}
            # A compiler makes one pass of it; otherwise a CPU is better off with a dozen passes over few rows.
            small = p.device.type == "cpu" and not torch.compiler.is_compiling()
            rows = max(1, IN_CACHE // max(1, p.shape[1])) if small else members
            for start in range(0, members, rows):
                part = slice(start, start + rows)
                of_part = {n: c[part] for n, c in coefficients.items()}
                slots_of_part = {slot: t[part] for slot, t in flat.items()}
                self.rule.step(p[part], g[part], slots_of_part, of_part, self._multipliers(name, of_part))

    @property
    def varying(self) -> tuple[str, ...]:
        """Names of the factors that members have of their own."""
        return tuple(sorted(self.own))

    def _multipliers(self, name: str, coefficients: Coefficients) -> Multipliers:
        plain, group = self.multipliers[name], self.groups.get(name)
        own = {f: coefficients[f"{f} {group}"] for f in vars(plain) if f"{f} {group}" in coefficients}
        return replace(plain, **{f: getattr(plain, f) * factor for f, factor in own.items()}) if own else plain
