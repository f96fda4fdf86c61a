"""The optimum against the training step, at base and largest width."""

from __future__ import annotations

from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification


def optimum_by_step_section(verification: Verification) -> Section:
    """A row per width."""
    courses = verification.courses
    rows = [
        {
            "losses": course.source,
            "width": str(key),
            "log2 lr after steps": "; ".join(
                f"{step}: {o.log2_lr:.2f}{' (border)' if o.at_edge else ''}" for step, o in course.optima.items()
            ),
            "octaves per doubling of steps": "-" if course.slope is None else f"{course.slope:+.2f}",
        }
        for key, course in courses.items()
    ]
    return Section(
        notes=("The optimum against the training step, under the schedule of the whole run:",) if rows else (),
        table=rows,
        data={
            "optimum_by_step": {
                str(key): {str(step): [o.log2_lr, o.low, o.high] for step, o in course.optima.items()}
                for key, course in courses.items()
            }
        },
    )
