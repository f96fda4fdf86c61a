"""What a reader of a verification must know: other steps or batches than when tuning."""

from __future__ import annotations

from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification


def notes_section(verification: Verification) -> Section:
    """A point per note."""
    return Section(points=verification.notes, data={"notes": list(verification.notes)})
