"""A second look at a plan before it is handed over: refused, warned of, or told that it was measured."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace
from fnmatch import fnmatch

from mutransfer.errors import PlanMeasurementError
from mutransfer.parameterization.judging.measure_plan import measure_plan
from mutransfer.parameterization.judging.offenders import Offender, grouped_by_cause, sentence_for
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.theory.rules import Parameterization

HINT = (
    "If a role or fans are wrong, say which by overrides=; if the model is meant to do this, check=False hands the "
    "plan over unmeasured"
)


def second_look(
    builds: Builds, plan: Plan, table: Parameterization, traces: Traces | None, told: Collection[str] = ()
) -> Plan:
    """``plan`` with a word on how it was measured; see :func:`measure_plan`.

    What no factor of the plan can mend, and what the user's own overrides are at (their patterns are ``told``), is
    warned of.

    Raises:
        PlanMeasurementError: a parameter or a use of one does not do what the table predicts.
    """
    found = measure_plan(builds, plan, table, traces)
    refused = [o for o in found.offenders if _mendable(o, plan) and not _was_told(o, told)]
    listed = "; ".join(map(sentence_for, grouped_by_cause(refused or found.offenders)))
    widths = ", ".join(map(str, found.widths))
    if refused:
        raise PlanMeasurementError(
            f"the plan for {plan.parameterization} under {plan.optimizer} does not hold on models of width {widths}: "
            f"{listed}. {HINT}"
        )
    if found.offenders:
        warnings.warn(f"measured at widths {widths}: {listed}", stacklevel=4)
    return replace(plan, measurement=str(found))


def _mendable(offender: Offender, plan: Plan) -> bool:
    return offender.where in plan or offender.where.startswith("attention logits of ") or offender.where in plan.sites


def _was_told(offender: Offender, told: Collection[str]) -> bool:
    return any(fnmatch(offender.where, pattern) for pattern in told)
