"""The outcomes of a verification, each an enum member with a sentence, and how they are reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

from mutransfer.intervals import Interval, Slope

MOVES_WITHIN = 0.15  # |slope| of relative feature change up to which features move alike at every width
LAZY_BELOW = -0.25


class Verdict(StrEnum):
    """Whether the tuned learning rate is still right at the largest width."""

    TRANSFERS = "TRANSFERS"
    DRIFTS = "DRIFTS"
    UNSTABLE = "UNSTABLE"
    EDGE = "EDGE"
    INCONCLUSIVE = "INCONCLUSIVE"


class Movement(StrEnum):
    """Whether features move alike at every width."""

    MOVES = "MOVES"
    LAZY = "LAZY"
    EXPLODES = "EXPLODES"
    UNCLEAR = "UNCLEAR"
    UNKNOWN = "UNKNOWN"


def judge_transfer(
    *,
    regret: Mapping[str, Interval],
    tolerance: float,
    drift: Slope | None,
    drift_tolerance: float,
    diverged: Mapping[str, int],
    edges: Mapping[str, str],
    seeds: int,
    points: int = 1,
    base: str = "",
) -> tuple[Verdict, str]:
    """The verdict and its reason, from the regrets (in log loss) of all widths.

    A width's regret is small where its interval lies within the tolerance, large where it lies beyond. One width with
    a large regret drifts; a study transfers where the largest width's is small and no other's value is beyond the
    tolerance. What the regrets leave open, the drift over all widths decides, where its interval lies within or
    beyond the drift that costs as much at the largest width and the regret's value says the same.

    Args:
        regret: width -> log loss at the transferred learning rate minus that at the width's own best, largest last;
            empty: one seed.
        tolerance: regret that is called small.
        drift: of the optimum, octaves per doubling.
        drift_tolerance: drift that costs no more than the tolerance.
        diverged: width -> how many seeds diverged there at the transferred learning rate.
        edges: width -> border of the grid ("low", "high") on which its optimum lies.
        points: learning rates of a width's sweep, by which more seeds are counted in runs.
        base: the base width; where it diverges itself, nothing was tuned.
    """
    if diverged:
        where = ", ".join(f"{n} of {seeds} at width {width}" for width, n in diverged.items())
        nothing = "; at base width already, so nothing was tuned: extend the low end of the range"
        reason = f"seeds that diverge at the transferred learning rate: {where}"
        return Verdict.UNSTABLE, reason + (nothing if base in diverged else "")
    if edges:
        where = ", ".join(f"width {width}: extend the {side} end" for width, side in edges.items())
        return Verdict.EDGE, f"the optimum lies on the border of the grid ({where})"
    wider = {width: r for width, r in regret.items() if width != base}
    if not wider:
        return Verdict.INCONCLUSIVE, "one seed gives no interval; use at least two"
    large = {width: r for width, r in wider.items() if r.low > tolerance}
    if large:
        return Verdict.DRIFTS, _numbers(large, tolerance)
    largest, last = list(wider.items())[-1]
    numbers = _numbers({largest: last}, tolerance)
    doubtful = {width: r for width, r in wider.items() if r.value > tolerance}
    if last.high <= tolerance and not doubtful:
        return Verdict.TRANSFERS, numbers + _drift_note(drift, drift_tolerance)
    if drift is not None:
        small = -drift_tolerance <= drift.low and drift.high <= drift_tolerance
        beyond = drift.low > drift_tolerance or drift.high < -drift_tolerance
        with_drift = f"{numbers}; the optima move by {drift} octaves per doubling, tolerance {drift_tolerance:.2f}"
        if small and not doubtful:
            return Verdict.TRANSFERS, with_drift
        if beyond and largest in doubtful:
            return Verdict.DRIFTS, with_drift
    open_ = {width: r for width, r in wider.items() if width in doubtful or (width == largest and r.high > tolerance)}
    return Verdict.INCONCLUSIVE, f"{_numbers(open_, tolerance)}; {_more_runs(open_, tolerance, seeds, points)}"


def _numbers(regret: Mapping[str, Interval], tolerance: float) -> str:
    at = [f"{_percent(r.value)} [{_percent(r.low)}, {_percent(r.high)}] at width {w}" for w, r in regret.items()]
    numbers = f"{', '.join(at)}, tolerance {_percent(tolerance)}"
    return f"loss at the transferred learning rate against the best: {numbers}"


def _drift_note(drift: Slope | None, tolerance: float) -> str:
    """A clause on an optimum that moves by more than is free although the regret is small; else nothing."""
    if drift is None or drift.low <= 0 <= drift.high or -tolerance <= drift.low <= drift.high <= tolerance:
        return ""
    return f"; the optimum drifts all the same, by {drift} octaves per doubling, along a curve that is flat there"


def _more_runs(undecided: Mapping[str, Interval], tolerance: float, seeds: int, points: int) -> str:
    """A clause on how many more seeds would decide: an interval shrinks like one over the root of their number."""
    needed = 0
    for r in undecided.values():
        gap = abs(tolerance - r.value)
        half = r.high - r.value if r.value <= tolerance else r.value - r.low
        if gap <= half / 10:
            return "the regret is at the tolerance itself"
        needed = max(needed, math.ceil(seeds * (half / gap) ** 2))
    extra = max(1, needed - seeds)
    runs = f"{extra * points * len(undecided)} runs at width {', '.join(undecided)}"
    return f"about {extra} more seed{'s' if extra > 1 else ''} would decide ({runs})"


def judge_movement(slope: Slope | None) -> tuple[Movement, str]:
    """The movement verdict from the slope of relative feature change against width."""
    if slope is None:
        return Movement.UNKNOWN, "no activations were seen at enough widths"
    if slope.low >= -MOVES_WITHIN and slope.high <= MOVES_WITHIN:
        return Movement.MOVES, f"relative feature change goes like n^{slope}"
    if slope.high < LAZY_BELOW:
        return Movement.LAZY, f"features move less the wider the model: n^{slope}"
    if slope.low > MOVES_WITHIN:
        return Movement.EXPLODES, f"features move more the wider the model: n^{slope}"
    return Movement.UNCLEAR, f"slope {slope} decides nothing; add seeds or wider widths"


def headline(verdict: Verdict, movement: Movement) -> str:
    """The one word that leads the report."""
    if verdict in (Verdict.UNSTABLE, Verdict.EDGE, Verdict.INCONCLUSIVE):
        return str(verdict)
    return str(movement) if movement in (Movement.LAZY, Movement.EXPLODES) else str(verdict)


def exit_code(verdict: Verdict, movement: Movement) -> int:
    """0 pass, 1 negative verdict, 3 inconclusive."""
    if verdict is Verdict.UNSTABLE:
        return 1
    if verdict in (Verdict.EDGE, Verdict.INCONCLUSIVE):
        return 3
    if verdict is Verdict.DRIFTS or movement in (Movement.LAZY, Movement.EXPLODES):
        return 1
    return 3 if movement is Movement.UNCLEAR else 0


def sentence(
    verdict: Verdict,
    movement: Movement,
    *,
    parameterization: str,
    base: str,
    largest: str,
    drift: Slope | None,
) -> str:
    """The outcome in words, for a person."""
    shift = f" The optimum moves by {drift} octaves per doubling." if drift is not None else ""
    what = {
        Verdict.TRANSFERS: f"the learning rate tuned at width {base} is still right at width {largest}",
        Verdict.DRIFTS: f"the learning rate tuned at width {base} is no longer right at width {largest}",
        Verdict.UNSTABLE: f"training diverges at the learning rate tuned at width {base}",
        Verdict.EDGE: "the best learning rate was not bracketed",
        Verdict.INCONCLUSIVE: f"the runs cannot tell whether the learning rate is still right at width {largest}",
    }[verdict]
    features = {
        Movement.MOVES: "features move alike at every width",
        Movement.LAZY: "features move less the wider the model (kernel regime)",
        Movement.EXPLODES: "features move more the wider the model",
        Movement.UNCLEAR: "whether features keep moving is unclear",
        Movement.UNKNOWN: "feature movement is unknown",
    }[movement]
    return f"Under {parameterization}, {what}; {features}.{shift}"


def _percent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):+.1f} %"
