"""An optimizer over stacked tensors: row k of every tensor belongs to member k of a population.

Its rule is torch's own step, entry by entry, with coefficients that may differ from row to row. They are computed in
double precision: 1 - beta2 in single precision would be off in the fifth digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mutransfer.parameterization.plan import Plan
from mutransfer.theory.rules import Role
from mutransfer.training.optimizers.rule import Multipliers, OptimizerRule
from mutransfer.training.stacked.member_factors import MemberFactors

IN_CACHE = 2**16  # entries that a CPU keeps near while the dozen passes of one step go over them


class StepCoefficients(NamedTuple):
    """The numbers of one step, (members, 1) each: the rule's by name, and the members' own factors by role and field.

    Plain dictionaries of tensors, which a compiler takes as arguments.
    """

    rule: dict[str, Tensor]
    factors: dict[Role, dict[str, Tensor]]

    def of_rows(self, rows: slice) -> StepCoefficients:
        return StepCoefficients(
            {name: c[rows] for name, c in self.rule.items()},
            {role: {field: c[rows] for field, c in fields.items()} for role, fields in self.factors.items()},
        )


class StackedOptimizer:
    """One rule over the stacked parameters of a population, each member with its own hyperparameters."""

    def __init__(
        self,
        rule: OptimizerRule,
        plan: Plan,
        parameters: Mapping[str, Tensor],
        hyperparameters: Sequence[Mapping[str, float]],
        factors: MemberFactors,
    ) -> None:
        """
        Args:
            hyperparameters: of each member, in the order of the rows; what is left out has the rule's default.
            factors: of the members, on those of the plan.
        """
        self.rule, self.plan, self.factors = rule, plan, factors
        names = ("lr", "weight_decay", *rule.defaults)
        self.columns = {n: np.array([h.get(n, rule.default(n)) for h in hyperparameters]) for n in names}
        self.slots = {n: {slot: torch.zeros_like(p) for slot in rule.slots} for n, p in parameters.items()}

    def keep(self, rows: Tensor) -> None:
        """Drop all members but those at ``rows``."""
        self.columns = {n: column[rows.numpy()] for n, column in self.columns.items()}
        self.factors = self.factors.keep(rows)
        self.slots = {n: {s: t[rows.to(t.device)] for s, t in slots.items()} for n, slots in self.slots.items()}

    def coefficients(self, lr_factors: np.ndarray, step: int, like: Tensor) -> StepCoefficients:
        """The numbers of step 0, 1, ..., in the precision of ``like``, moved to its device in one piece."""
        numbers = self.rule.coefficients({**self.columns, "lr": self.columns["lr"] * lr_factors}, step + 1)
        columns = [*numbers.values(), *self.factors.columns.values()]
        table = torch.from_numpy(np.stack(columns)).to(like.dtype).to(like.device, non_blocking=True).unsqueeze(-1)
        factors: dict[Role, dict[str, Tensor]] = {}
        for (role, field), column in zip(self.factors.columns, table[len(numbers) :], strict=True):
            factors.setdefault(role, {})[field] = column
        return StepCoefficients(dict(zip(numbers, table, strict=False)), factors)

    def step(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        slots: Mapping[str, Mapping[str, Tensor]],
        coefficients: StepCoefficients,
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
                of_part = coefficients.of_rows(part)
                slots_of_part = {slot: t[part] for slot, t in flat.items()}
                self.rule.step(p[part], g[part], slots_of_part, of_part.rule, self._multipliers(name, of_part))

    def _multipliers(self, name: str, coefficients: StepCoefficients) -> Multipliers:
        scaling = self.plan[name]
        own = coefficients.factors.get(scaling.role, {})
        return Multipliers(
            lr=scaling.lr_mult * own.get("lr", 1.0),
            weight_decay=scaling.wd_mult * own.get("weight_decay", 1.0),
            eps=scaling.eps_mult * own.get("eps", 1.0),
        )
