"""Offenders of a coordinate check: values, their sentences, and how far off a slope is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mutransfer.intervals import Slope

TOLERANCE = 0.15  # on exponents; what finite widths leave over at ratios of 16 (theory: 0 or -1/2)
UPDATE_TOLERANCE = 0.25  # half of the least that a wrong factor does
# An update starts by up to this power fainter, where its input is not aligned with it yet, or under SGD its gradient
# with what reads it. It counts as too small only beyond that, or where its factors are not the table's.
EARLY = 0.5
EPS_TOLERANCE, EPS_GROWTH = 0.3, 0.75  # of eps over the gradient: where the plan's differs, and in any case
STEP_TOLERANCE = 0.1  # of a power that is read from factors: those of tables are multiples of 1/2
MOST_NAMES = 8  # in one sentence


@dataclass(frozen=True, kw_only=True)
class Offender:
    """One cause of what does not scale: a parameter, a module or an attention, what of it is off, and why."""

    where: str
    module: str  # whose output is off; "" where it is not one module's
    what: str  # the quantity that is off, in words
    slope: Slope | None  # None: read from the plan, not measured
    cause: str

    def __str__(self) -> str:
        return sentence_for([self])


def sentence_for(alike: Sequence[Offender]) -> str:
    """One sentence for offenders with one cause."""
    first = alike[0]
    measured = f"{first.what} goes like n^{first.slope}" if first.slope is not None else first.what
    others = f" ({first.where})" if len(alike) > 1 and first.slope is not None else ""
    names = ", ".join(offender.where for offender in alike[:MOST_NAMES])
    more = f" and {len(alike) - MOST_NAMES} more" if len(alike) > MOST_NAMES else ""
    return f"{names}{more}: {measured}{others}: {first.cause}"


def grouped_by_cause(offenders: Sequence[Offender]) -> list[list[Offender]]:
    """Offenders with the same cause in one group, in the order of the first of each."""
    groups: dict[tuple[str, str], list[Offender]] = {}
    for offender in offenders:
        groups.setdefault((offender.what, offender.cause), []).append(offender)
    return list(groups.values())


def excess(slope: Slope, low: float, high: float, tolerance: float, *, suspect: bool = False) -> float:
    """The power by which a slope is beyond [low, high], if by more than the tolerance; 0.0 where it is not.

    Its whole interval must be beyond the tolerance; where a cause is known (``suspect``), beyond [low, high].
    """
    margin = 0.0 if suspect else tolerance
    if slope.low > high + margin and slope.value > high + tolerance:
        return slope.value - high
    return slope.value - low if slope.high < low - margin and slope.value < low - tolerance else 0.0
