"""What each module's own update does to its output by the end of training."""

from __future__ import annotations

from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification

SMALL_PRINT = (
    "What each module's own update does to its output, (W_t - W_0) x_t, and what reached it, W_0 (x_t - x_0), after "
    "the last step at the transferred learning rate: powers of width. The alignment exponent of an update with its "
    "input, a number per width, is 1 where they are aligned and 1/2 where independent."
)


def updates_section(verification: Verification) -> Section | None:
    """A row per module of the runs that were watched; None where none was."""
    over = verification.over_training
    if not over.effective:
        return None
    rows = [
        {
            "module": module,
            "effective update": str(slope),
            "propagated": str(over.propagated.get(module, "-")),
            "alignment of update and input": ", ".join(
                f"{exponent:.2f}" for exponent in over.update_alignment.get(module, {}).values()
            )
            or "-",
        }
        for module, slope in over.effective.items()
    ]
    return Section(table=rows, small_print=SMALL_PRINT)
