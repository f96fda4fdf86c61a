"""The plan of the parameterization under study at the largest width."""

from __future__ import annotations

from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section


def plan_section(study: FinishedStudy) -> Section:
    """What theory says of the plan, and its table."""
    return Section(title="Plan", notes=(study.regime,), code=str(study.plan))
