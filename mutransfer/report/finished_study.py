"""The study that a report tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mutransfer.parameterization.plan import Plan
from mutransfer.transfer.coordinates.check import CoordinateCheck
from mutransfer.transfer.search.tune import TuneResult
from mutransfer.transfer.verification.result import Verification


@dataclass(frozen=True, kw_only=True)
class FinishedStudy:
    """Everything a section may tell. ``verifications`` holds the one under study first, then the controls."""

    title: str
    config_text: str
    command: str
    plan: Plan  # of the parameterization under study, at the largest width
    regime: str  # what theory says of it
    checks: Mapping[str, CoordinateCheck]
    tuned: TuneResult
    verifications: Mapping[str, Verification]
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Verification:
        """The verification under study."""
        return next(iter(self.verifications.values()))
