"""Factors that the members of a population have of their own, beside those of the plan that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mutransfer.parameterization.plan import Plan
from mutransfer.theory.rules import Role
from mutransfer.training.extra_hyperparameters import forward_hyperparameters, role_factors
from mutransfer.training.spec import RunSpec


@dataclass(frozen=True)
class MemberFactors:
    """One factor per member, by role and field of the role's factors; a column that would be all 1 is left out."""

    columns: Mapping[tuple[Role, str], np.ndarray]

    @classmethod
    def from_specs(cls, specs: Sequence[RunSpec], plan: Plan) -> MemberFactors:
        """The factors of each spec's hyperparameters; those that stand in the forward pass are in the plan already."""
        own = [{n: x for n, x in s.hyperparameters.items() if n not in forward_hyperparameters(plan)} for s in specs]
        columns = {}
        for role in dict.fromkeys(s.role for s in plan.values()):
            of_members = [role_factors(h, role, plan.optimizer) for h in own]
            for field in vars(of_members[0]):
                column = np.array([getattr(f, field) for f in of_members])
                if (column != 1.0).any():
                    columns[role, field] = column
        return cls(columns)

    def inits(self) -> dict[Role, np.ndarray]:
        """The factors on initial values, which are used up before the first step."""
        return {role: column for (role, field), column in self.columns.items() if field == "init"}

    def of_steps(self) -> MemberFactors:
        """The factors that every step needs."""
        return MemberFactors({key: column for key, column in self.columns.items() if key[1] != "init"})

    def keep(self, rows: torch.Tensor) -> MemberFactors:
        """The factors of the members at ``rows`` alone."""
        return MemberFactors({key: column[rows.numpy()] for key, column in self.columns.items()})

    @property
    def varying(self) -> tuple[tuple[Role, str], ...]:
        """Keys of the columns, in one order."""
        return tuple(sorted(self.columns))
