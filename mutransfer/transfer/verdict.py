"""The outcomes of a verification, each an enum member with a sentence, and how they are reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from mutransfer.measure.slopes import Slope
from mutransfer.transfer.estimate import Interval, Optimum

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
    regret: Interval | None,
    tolerance: float,
    diverged: Mapping[str, int],
    edges: Mapping[str, str],
    seeds: int,
    base: str = "",
) -> tuple[Verdict, str]:
    """The verdict and its reason, from the regret (in log loss) at the largest width.

    Args:
        regret: log loss at the transferred learning rate minus that at the width's own best; None: one seed.
        tolerance: regret that is called small.
        diverged: width -> how many seeds diverged there at the transferred learning rate.
        edges: width -> border of the grid ("low", "high") on which its optimum lies.
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
    if regret is None:
        return Verdict.INCONCLUSIVE, "one seed gives no interval; use at least two"
    numbers = (
        f"loss at the transferred learning rate against the best: {_percent(regret.value)} "
        f"[{_percent(regret.low)}, {_percent(regret.high)}], tolerance {_percent(tolerance)}"
    )
    if regret.high <= tolerance:
        return Verdict.TRANSFERS, numbers
    if regret.low > tolerance:
        return Verdict.DRIFTS, numbers
    gap = abs(tolerance - regret.value)
    half = (regret.high - regret.low) / 2
    needed = math.ceil(seeds * (half / gap) ** 2) if gap > half / 10 else None
    more = "the regret is at the tolerance itself"
    if needed:
        extra = max(1, needed - seeds)
        more = f"about {extra} more seed{'s' if extra > 1 else ''} would decide"
    return Verdict.INCONCLUSIVE, f"{numbers}; {more}"


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
    return str(Movement.LAZY) if movement is Movement.LAZY else str(verdict)


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
    """What happened, for a person."""
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


def drift_slope(sizes: Sequence[float], optima: Sequence[Optimum], predicted: float | None) -> Slope | None:
    """Octaves of the optimum per doubling of width, least squares over widths, with an interval from draws."""
    if len(sizes) < 2:
        return None
    x = np.log2(sizes)
    x = x - x.mean()
    weights = x / (x @ x)
    value = float(weights @ np.array([o.log2_lr for o in optima]))
    draws = weights @ np.array([o.draws for o in optima])
    low, high = np.quantile(draws, [0.05, 0.95])
    return Slope(value=value, low=float(min(low, value)), high=float(max(high, value)), predicted=predicted)


def _percent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):+.1f} %"
