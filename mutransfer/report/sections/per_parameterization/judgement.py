"""The verdict on one parameterization in a sentence, and its numbers for machines."""

from __future__ import annotations

from mutransfer.report.numbers import bounds
from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification


def judgement_section(verification: Verification) -> Section:
    """The sentence with its reason; verdict, drift and overall feature slope as data."""
    v = verification
    return Section(
        notes=(f"{v.sentence} ({v.reason})",),
        data={
            "headline": v.headline,
            "exit_code": v.exit_code,
            "verdict": str(v.verdict),
            "movement": str(v.movement),
            "reason": v.reason,
            "movement_reason": v.movement_reason,
            "drift_octaves_per_doubling": bounds(v.drift),
            "feature_slope": bounds(v.overall_features),
        },
    )
