"""What is done today: the optimum is the best trial, or a parabola's; the verdict is whether it moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Curves = Mapping[int, Mapping[float, Sequence[float]]]
MOVED = 0.25  # octaves per doubling from which these call a drift: half of the smallest that must be found


def best_trials(curves: Curves) -> str:
    """Of every width, the learning rate with the lowest mean loss over seeds."""
    return _verdict(curves, _best_trial)


def parabolas(curves: Curves) -> str:
    """Of every width, the vertex of a parabola through the five means around the lowest."""
    return _verdict(curves, _vertex)


def _verdict(curves: Curves, find: Callable[[Mapping[float, Sequence[float]]], float]) -> str:
    optima = [find(curve) for curve in curves.values()]
    drift = np.polyfit(np.log2(list(curves)), optima, 1)[0]
    return "DRIFTS" if abs(drift) > MOVED else "TRANSFERS"


def _means(curve: Mapping[float, Sequence[float]]) -> dict[float, float]:
    return {x: float(np.mean(losses)) for x, losses in sorted(curve.items()) if all(map(math.isfinite, losses))}


def _best_trial(curve: Mapping[float, Sequence[float]]) -> float:
    means = _means(curve) or {min(curve): 0.0}
    return min(means, key=lambda x: means[x])


def _vertex(curve: Mapping[float, Sequence[float]]) -> float:
    means = _means(curve)
    best = _best_trial(curve)
    if len(means) < 3:
        return best
    xs = np.array(list(means))
    i = int(np.flatnonzero(xs == best)[0])
    near = xs[max(0, i - 2) : i + 3]
    if len(near) < 3:
        return best
    a, b, _ = np.polyfit(near, np.log([means[x] for x in near]), 2)
    return float(np.clip(-b / (2 * a), near[0], near[-1])) if a > 0 else best
