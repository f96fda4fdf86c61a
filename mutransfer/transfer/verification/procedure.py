"""The choice of the runs that decide a verdict: a pure function from curves so far to the next runs, or to a stop.

The verdict is led by the regret at the largest width, where nearly all of the cost is, and a full grid spends most of
it far from the optimum. Instead: the transferred learning rate first, which alone can show that training diverges; then
the cheap widths, from which the optimum at the next is extrapolated; then a bracket around that place, halved once
around its lowest point; then one more seed at a time while the verdict is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mutransfer.errors import ConfigError
from mutransfer.transfer.curves.optimum import Curve, log_losses
from mutransfer.widths import WidthKey

MAX_EXTENSIONS = 6  # steps beyond a bracket that does not hold the minimum
POINTS = 6  # learning rates that a width usually takes: the transferred one, a bracket of three, two between

Curves = Mapping[WidthKey, Curve]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Runs to do next: these learning rates with the first ``seeds`` seeds, those that are there left out."""

    key: WidthKey
    points: tuple[float, ...]
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Nothing more is to be run, and why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A judge's word on the curves so far."""

    verdict: str | None = None  # in words; None while it is open
    edges: Mapping[WidthKey, str] = field(default_factory=dict)  # width -> border ("low", "high") of its optimum


@dataclass(frozen=True, kw_only=True)
class Procedure:
    """Settings of one sequential verification.

    Args:
        keys: widths, the base first, whose curve is complete, and the largest last.
        octaves: log2 of each width over the base's, which orders them.
        transferred: log2 learning rate.
        spacing: of the bracket, octaves.
        first: seeds at the largest width to begin with.
        most: seeds at the other widths, and at the largest in the end.
        ceilings: loss before training, by width; what a diverged run counts as.
    """

    keys: Sequence[WidthKey]
    octaves: Sequence[float]
    transferred: float
    spacing: float
    first: int
    most: int
    ceilings: Mapping[WidthKey, float]

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.most:
            raise ConfigError(f"need 2 <= first <= most seeds, found {self.first} and {self.most}")

    def next_runs(self, curves: Curves, judge: Callable[[Curves], Judgement]) -> Request | Stop:
        """The runs to do after ``curves``, {width: {log2 lr: losses of the first seeds}}; infinite: a run diverged.

        Args:
            judge: asked only when every width has a full bracket, or where a run at the transferred learning rate
                diverged.
        """
        x0, largest = self.transferred, self.keys[-1]
        at_once = curves.get(largest, {}).get(x0)
        if at_once is None:
            return Request(key=largest, points=(x0,), seeds=self.first)
        diverged = any(not np.isfinite(curve[x0]).all() for curve in curves.values() if x0 in curve)
        if diverged and (verdict := judge(curves).verdict):
            return Stop(reason=verdict)
        for key in self.keys[1:]:
            if missing := self._missing(curves, key):
                return Request(key=key, points=missing, seeds=self._seeds(curves, key))
        judgement = judge(curves)
        if judgement.verdict:
            return Stop(reason=judgement.verdict)
        for key, side in judgement.edges.items():
            if key != self.keys[0] and (beyond := self._beyond(curves[key], side)):
                return Request(key=key, points=beyond, seeds=self._seeds(curves, key))
        if len(curves[largest][x0]) < self.most:
            return Request(key=largest, points=tuple(sorted(curves[largest])), seeds=len(curves[largest][x0]) + 1)
        return Stop(reason=f"all {self.most} seeds are used")

    def _seeds(self, curves: Curves, key: WidthKey) -> int:
        if key != self.keys[-1]:
            return self.most
        return len(curves[key][self.transferred])

    def _missing(self, curves: Curves, key: WidthKey) -> tuple[float, ...]:
        """Learning rates that a width still needs for its minimum to be bracketed at half the spacing."""
        curve, h = dict(curves.get(key, {})), self.spacing
        centre = self._expected(curves, key)
        wanted = (self.transferred, centre - h, centre, centre + h)
        if missing := _absent(wanted, curve):
            return missing
        means = self._means(curve, key)
        points = np.array(sorted(curve))
        best = int(means.argmin())
        beyond = max(centre - h - points[0], points[-1] - centre - h) / h
        if best in (0, len(points) - 1) and beyond < MAX_EXTENSIONS:
            return (float(points[best] + (h if best else -h)),)
        halves = (points[best] - h / 2, points[best] + h / 2)
        return _absent([x for x in halves if points[0] <= x <= points[-1]], curve)

    def _beyond(self, curve: Curve, side: str) -> tuple[float, ...]:
        """One step further to a side, where that is not too far from the transferred learning rate."""
        x = min(curve) - self.spacing if side == "low" else max(curve) + self.spacing
        reach = self.spacing * (MAX_EXTENSIONS + max(self.octaves))
        return (float(x),) if abs(x - self.transferred) <= reach else ()

    def _expected(self, curves: Curves, key: WidthKey) -> float:
        """The expected optimum of a width, on a line through those of smaller widths.

        It is a whole number of steps from the transferred learning rate, so that brackets share points.
        """
        at = self.keys.index(key)
        optima = [(self.octaves[i], self._lowest(curves[k], k)) for i, k in enumerate(self.keys[:at])]
        if len(optima) < 2:
            return self.transferred
        x, y = (np.array(v) for v in zip(*optima, strict=True))
        slope = float((x - x.mean()) @ y / ((x - x.mean()) @ (x - x.mean())))
        shift = y.mean() + slope * (self.octaves[at] - x.mean()) - self.transferred
        return self.transferred + self.spacing * round(shift / self.spacing)

    def _lowest(self, curve: Curve, key: WidthKey) -> float:
        return sorted(curve)[int(self._means(curve, key).argmin())]

    def _means(self, curve: Curve, key: WidthKey) -> np.ndarray:
        return log_losses(curve, self.ceilings[key]).mean(axis=1)


def _absent(wanted: Sequence[float], curve: Curve) -> tuple[float, ...]:
    """Learning rates of ``wanted`` that no run is near, at a resolution below which they are one."""
    return tuple(x for x in map(float, sorted(set(wanted))) if all(abs(x - there) > 1e-3 for there in curve))


def usual_seeds(first: int, most: int) -> float:
    """Average number of seeds at the largest width: half of all studies need one more than they begin with."""
    return (first + min(first + 1, most)) / 2


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Cost of a verification in units of ``costs``, what one run at each width costs."""

    least: float  # where training diverges at once
    usual: float
    most: float  # every extension and seed
    full: float  # the full grid

    def __str__(self) -> str:
        return (
            f"usually {self.usual / self.full:.0%} of the full grid's cost, {self.least / self.full:.0%} where "
            f"training diverges at once, at most {self.most / self.full:.0%}"
        )


def estimate_cost(costs: Sequence[float], *, grid: int, first: int, most: int) -> CostEstimate:
    """The cost expected before anything is run, from that of one run at each width beyond the base.

    >>> print(estimate_cost([1, 4, 16], grid=10, first=2, most=4))
    usually 33% of the full grid's cost, 3% where training diverges at once, at most 92%
    """
    smaller, largest = sum(costs[:-1]), costs[-1]
    full = (smaller + largest) * (grid + 3) * most
    return CostEstimate(
        least=largest * first,
        usual=smaller * POINTS * most + largest * POINTS * usual_seeds(first, most),
        most=(smaller + largest) * (POINTS + MAX_EXTENSIONS) * most,
        full=full,
    )


def affordable(costs: Sequence[float], budget: float, *, first: int, most: int) -> int:
    """The number of widths beyond the base, smallest first, that a budget usually pays for; 0: none."""
    for n in range(len(costs), 0, -1):
        if estimate_cost(costs[:n], grid=1, first=first, most=most).usual <= budget:
            return n
    return 0
