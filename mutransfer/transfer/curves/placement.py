"""The placement of the next runs: learning rates that tell most about the optimum, for what they cost."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mutransfer.transfer.curves.gaussian_process import N_DRAWS
from mutransfer.transfer.curves.optimum import FittedCurve

BINS = 8
CurveKey = TypeVar("CurveKey", bound=Hashable)  # the width of a curve, or whatever it is listed under


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One learning rate to run with every seed."""

    key: Hashable  # the width
    log2_lr: float
    shrinkage: float  # variance of the optimum, octaves squared, that it is expected to take away
    cost: float


def place_runs(
    fits: Mapping[CurveKey, FittedCurve],
    n: int,
    *,
    costs: Mapping[CurveKey, float] | None = None,
    weights: Mapping[CurveKey, float] | None = None,
) -> list[Placement]:
    """The ``n`` learning rates, half way between those that were run, that tell most about the optima per cost.

    What a run would tell is read off the posterior draws: how much of the scatter of their optima goes with their
    height at that learning rate, seed noise added. Each next choice is made for what the earlier ones leave.

    Args:
        fits: by width.
        costs: of one run at each width, in any unit; None: alike.
        weights: of each width's variance; None: alike. With the squared weights of a drift's least squares the drift's
            interval is what shrinks.

    Returns fewer than ``n`` where no place is left.
    """
    left = {key: fit.at[fit.draws.argmin(axis=0)] for key, fit in fits.items()}
    chosen: list[Placement] = []
    while len(chosen) < n:
        best: tuple[float, CurveKey, Placement, np.ndarray] | None = None
        for key, fit in fits.items():
            cost, weight = (1.0 if costs is None else costs[key]), (1.0 if weights is None else weights[key])
            for x in half_way(fit):
                if any(p.key == key and p.log2_lr == x for p in chosen):
                    continue
                places = _told_places(fit, x, left[key])
                gain = weight * max(float(places.var()) - float(left[key].var()) * (BINS - 1) / (N_DRAWS - 1), 0.0)
                if best is None or gain / cost > best[0]:
                    best = (gain / cost, key, Placement(key=key, log2_lr=x, shrinkage=gain, cost=cost), places)
        if best is None:
            break
        _, key, placement, explained = best
        chosen.append(placement)
        left[key] = left[key] - explained
    return chosen


def half_way(fit: FittedCurve) -> Sequence[float]:
    """Half way between neighbouring learning rates that were run, where the optimum is looked for."""
    middles = (fit.grid[1:] + fit.grid[:-1]) / 2
    return [round(float(x), 6) for x in middles if fit.at[0] <= x <= fit.at[-1]]


def _told_places(fit: FittedCurve, x: float, places: np.ndarray) -> np.ndarray:
    """The place that the mean loss at ``x`` tells of each draw: the mean of places with a loss like it."""
    i = int(np.abs(fit.at - x).argmin())
    error = math.sqrt(fit.noise.variance / fit.logs.shape[1])
    heights = fit.draws[i] + error * np.random.default_rng(0).standard_normal(N_DRAWS)
    bins = np.minimum(heights.argsort().argsort() * BINS // N_DRAWS, BINS - 1)
    means = np.bincount(bins, weights=places, minlength=BINS) / np.bincount(bins, minlength=BINS)
    return means[bins] - places.mean()
