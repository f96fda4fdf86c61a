"""What a sequential verification spent, beside what it was expected to."""

from __future__ import annotations

from typing import Any

from mutransfer.report.section import Section
from mutransfer.transfer.verification.budget import Spending
from mutransfer.transfer.verification.result import Verification


def spending_section(verification: Verification) -> Section:
    """The spending in a sentence; nothing but null for machines where verification was not sequential."""
    spending = verification.spending
    if spending is None:
        return Section(data={"spending": None})
    return Section(notes=(f"Sequential: {spending}.",), data={"spending": _data(spending)})


def _data(s: Spending) -> dict[str, Any]:
    return {
        "runs": s.runs,
        "flops": s.flops,
        "seconds": s.seconds,
        "expected_flops": s.estimate.usual,
        "full_grid_flops": s.estimate.full,
        "stopped": s.reason,
        "widths_left_out": [str(key) for key in s.left_out],
        "perturbing_flops": s.perturbing,
        "not_perturbed": list(s.not_perturbed),
    }
