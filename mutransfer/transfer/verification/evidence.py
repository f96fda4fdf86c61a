"""Evidence for transfer from finished sweeps: optima, their drift, regrets, and which of these are small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.intervals import Interval, Slope
from mutransfer.transfer.curves.optimum import TAIL, Curve, FittedCurve, Optimum, fit_curve, log_losses
from mutransfer.transfer.curves.seed_noise import pool_noise
from mutransfer.widths import WidthKey

SMALL_PART = 0.1  # regret that is small: this part of what width itself buys
DRIFT_BOUNDS = (0.05, 0.25)  # octaves per doubling: no drift is too large that is less, nor small that is more
# Part of the variance of an optimum that all widths have in common and that moves no slope: their curves are alike, and
# so is what lies between the points of one grid. Chosen on the families that experiments/verdict_calibration tunes on,
# so that the drift over any two to five of their widths is covered as often as it says.
COMMON = 0.5
COMMON_COUNTS = 1.0  # degrees of freedom that this counts for, against one for each width beyond two
LEAST_SPREAD = 1e-3  # octaves squared


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Keys of mappings are widths, the base first and the largest last."""

    fits: Mapping[WidthKey, FittedCurve]
    optima: Mapping[WidthKey, Optimum]
    drift: Slope | None  # octaves per doubling
    regret: Mapping[WidthKey, Interval]  # log loss at the transferred learning rate less the lowest; {}: one seed
    tolerance: float  # regret that is called small, in log loss
    drift_tolerance: float  # drift that costs no more than that at the largest width, octaves per doubling


def weigh(
    curves: Mapping[WidthKey, Curve],
    ceilings: Mapping[WidthKey, float],
    sizes: Sequence[float],
    transferred: float,
    *,
    predicted_drift: float | None = None,
) -> Evidence:
    """Fit every width's curve with the seed noise of all of them, and read off what decides.

    A regret is small up to the larger of two numbers. One is a tenth of what width buys, from the base to the largest.
    The other is what a pair of runs cannot tell: the standard deviation over seeds of the difference between two
    learning rates. Luck that a seed has at every learning rate is no part of it, since it excuses no regret; nor does
    it fall with the number of seeds, so that more of them decide what few could not.

    Args:
        curves: {width: {log2 lr: losses, one per seed}}, base first, each with runs at ``transferred``.
        ceilings: losses before training.
        sizes: one number per width.
    """
    keys = list(curves)
    grids = [np.array(sorted(curves[key]), dtype=float) for key in keys]
    noise = pool_noise([log_losses(curves[key], ceilings[key]) for key in keys], grids)
    fits = {key: fit_curve(curves[key], ceiling=ceilings[key], noise=noise, also=[transferred]) for key in keys}
    optima = {key: fit.optimum for key, fit in fits.items()}
    regret = {key: fit.regret(transferred) for key, fit in fits.items()} if noise.degrees else {}
    bought = math.log(optima[keys[0]].loss) - math.log(optima[keys[-1]].loss)
    tolerance = max(math.sqrt(2 * noise.variance), SMALL_PART * bought)
    doublings = math.log2(sizes[-1] / sizes[0])
    return Evidence(
        fits=fits,
        optima=optima,
        drift=drift_slope(sizes, list(optima.values()), predicted_drift),
        regret=regret,
        tolerance=tolerance,
        drift_tolerance=tolerated_drift(fits[keys[-1]], tolerance, doublings),
    )


def tolerated_drift(fit: FittedCurve, tolerance: float, doublings: float) -> float:
    """Octaves per doubling at which the largest width's regret reaches the tolerance, on its steeper side."""
    bottom = int(fit.mean.argmin())
    high = np.flatnonzero(fit.mean > fit.mean[bottom] + tolerance)
    room = float(np.abs(fit.at[high] - fit.at[bottom]).min()) if len(high) else math.inf
    return float(np.clip(room / max(doublings, 1e-9), *DRIFT_BOUNDS))


def drift_slope(sizes: Sequence[float], optima: Sequence[Optimum], predicted: float | None) -> Slope | None:
    """Octaves of the optimum per doubling of width, with a 90 % interval from draws.

    Plain least squares: where optima do not lie on a line, weights by what is known would make it another slope every
    time. How far they lie from it, beside what their own intervals say, tells how much of that is common to all widths:
    curves that are less alike than usual make the interval wider.
    """
    if len(sizes) < 2:
        return None
    draws = np.array([np.random.default_rng(i).permutation(o.draws) for i, o in enumerate(optima)])
    x = np.log2(sizes)
    x = x - x.mean()
    weights = x / (x @ x)
    places = np.array([o.log2_lr for o in optima])
    value = float(weights @ places)
    scatter = weights @ draws
    low, high = np.quantile(draws, [0.16, 0.84], axis=1)
    residuals = places - places.mean() - value * x
    excess = float((residuals**2 / np.maximum(((high - low) / 2) ** 2, LEAST_SPREAD)).sum())
    share = (COMMON_COUNTS * (1 - COMMON) + excess) / (COMMON_COUNTS + len(sizes) - 2)
    scatter = np.median(scatter) + math.sqrt(share) * (scatter - np.median(scatter))
    low, high = np.quantile(scatter, [TAIL, 1 - TAIL])
    return Slope(value=value, low=float(min(low, value)), high=float(max(high, value)), predicted=predicted)
