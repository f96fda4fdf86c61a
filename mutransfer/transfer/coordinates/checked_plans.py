"""The plans that a coordinate check trains under, and the plan that the largest of them should be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mutransfer.errors import MutransferError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import Overrides
from mutransfer.theory import rules
from mutransfer.theory.recipe import Recipe
from mutransfer.theory.regimes import Regime, regime_of
from mutransfer.theory.rules import Parameterization
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.task import Task
from mutransfer.training.task_plan import infer_for_task
from mutransfer.widths import Width


@dataclass(frozen=True, kw_only=True)
class CheckedPlans:
    """One plan per width, the smallest first, with what they are compared with."""

    plans: tuple[Plan, ...]
    base_width: Width
    table: Parameterization
    optimizer: str
    right: Plan | None  # what is inferred at the largest width; None: nothing can be
    smallest_right: Plan | None  # the same at the smallest width
    ideal: Plan  # whose roles say what is to be expected: of overrides the user's word, of an edited plan ``right``'s

    @property
    def largest(self) -> Plan:
        """The plan at the largest width, which is the one that is judged."""
        return self.plans[-1]

    @property
    def regime(self) -> Regime | None:
        """The regime that theory predicts; None where the model's own initialisation is left as it is."""
        return regime_of(self.ideal, self.table)


def plans_to_check(
    task: Task,
    widths: Sequence[Width],
    *,
    base_width: Width | None,
    parameterization: str | Parameterization,
    optimizer: str,
    plan: Callable[[Width], Plan] | None,
    overrides: Overrides | None,
) -> CheckedPlans:
    """The user's plans, from ``plan``, or inferred ones where it is None; arguments as of ``coordinate_check``."""
    base = widths[0] if base_width is None else base_width
    plans: tuple[Plan, ...] = ()
    if plan is not None:
        plans = tuple(plan(width) for width in widths)
        optimizer = plans[0].optimizer
        if base_width is None:
            base = plans[0].base_width
        if not isinstance(parameterization, Parameterization):
            parameterization = plans[0].parameterization
    optimizer_rule(optimizer)  # raises for one that is not known, before plans are inferred
    table = rules.parameterization(parameterization)
    if plan is None:
        recipe = Recipe.of(table, optimizer=optimizer)
        builds = (Builds(task.build, base=base, target=width) for width in widths)
        plans = tuple(infer_for_task(task, b, recipe, overrides=overrides) for b in builds)
    right: Plan | None = plans[-1]  # a plan that was inferred without a word of the user's is the inferred one
    smallest_right: Plan | None = plans[0]
    if plan is not None or overrides:
        words = overrides if plan is not None else {}
        right, smallest_right = (reference(task, its, base, table, words) for its in (plans[-1], plans[0]))
    ideal = plans[-1] if plan is None or right is None else right
    return CheckedPlans(
        plans=plans,
        base_width=base,
        table=table,
        optimizer=optimizer,
        right=right,
        smallest_right=smallest_right,
        ideal=ideal,
    )


def reference(
    task: Task, plan: Plan, base_width: Width, table: Parameterization, overrides: Overrides | None
) -> Plan | None:
    """The plan that would be inferred where ``plan`` is; None where nothing can be."""
    try:
        builds = Builds(task.build, base=base_width, target=plan.width)
        return infer_for_task(task, builds, plan.recipe(table), overrides=overrides)
    except MutransferError as error:
        logging.getLogger("mutransfer").info("no plan to compare with: %s", error)
        return None
