"""The optimum of a noisy loss-versus-log2-LR curve, its regrets, with intervals from posterior draws of the curve.

A parabola is biased, because learning-rate curves rise slowly on the left and fall off a cliff on the right, and
the best trial of a noisy sweep is a lottery; a Gaussian process follows the curve's own shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mutransfer.errors import DataError
from mutransfer.intervals import CONFIDENCE, Interval
from mutransfer.transfer.curves.gaussian_process import N_DRAWS, posterior
from mutransfer.transfer.curves.seed_noise import LEAST, LOCAL_DEGREES, SeedNoise, noise_of_mean, pool_noise

WINDOW = 2.5  # log loss above the best point at which a curve is cut off: a cliff must not bend the fit
BEND = 8.0  # deviations of a run's noise above which a curve is fitted on a log scale: a flank must not rule the bottom
BENDS = (0.2, 1.0)  # log loss between which that is kept
CUT_OFF_NOISE = 0.3  # standard deviation of a point that is cut off: it says "high", not how high
RESOLUTION = 12  # points per octave at which draws are searched
SEARCHED = 2.0  # octaves, or grid steps if more, to each side of the best point in which draws are searched
UNIT = 0.2  # of the unit cube: a length there that is alike to an octave
TAIL = (1 - CONFIDENCE) / 2
PERFECT = 1e-12  # a loss that none can be below, in what is compared
LOG_PERFECT = math.log(PERFECT) + 1e-9  # with room for rounding
FLAT = 2.0  # octaves over which a curve must be within a run's seed noise of its lowest to be called flat


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The place where a curve of loss against log2 learning rate is lowest, with a 90 % interval."""

    log2_lr: float
    low: float
    high: float
    loss: float  # of the fitted curve there
    at_edge: str = ""  # "low" or "high" where the optimum lies on that border of the grid
    flat: bool = False  # over two octaves and more the curve is within a run's seed noise of its lowest
    draws: tuple[float, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"2^{self.log2_lr:.2f} [2^{self.low:.2f}, 2^{self.high:.2f}]"


Curve = Mapping[float, Sequence[float]]  # log2 lr -> loss per seed, infinite where a run diverged


@dataclass(frozen=True, kw_only=True)
class FittedCurve:
    """The posterior of one width's mean log loss. Arrays run over ``at``, the log2 learning rates searched."""

    grid: np.ndarray  # of the runs
    logs: np.ndarray  # (n learning rates, n seeds)
    noise: SeedNoise
    at: np.ndarray
    mean: np.ndarray
    draws: np.ndarray  # (n at, N_DRAWS)

    @property
    def optimum(self) -> Optimum:
        places = self.at[self.draws.argmin(axis=0)]
        low, best, high = np.quantile(places, [TAIL, 0.5, 1 - TAIL])
        bottom = self.at[self.mean <= self.mean.min() + math.sqrt(self.noise.variance)]
        return Optimum(
            log2_lr=float(best),
            low=float(low),
            high=float(high),
            loss=math.exp(self.mean.min()),
            at_edge=self._edge(float(best)),
            flat=bool(np.ptp(bottom) >= FLAT),
            draws=tuple(map(float, places)),
        )

    def _edge(self, best: float) -> str:
        """The border of the grid, "low" or "high", that the optimum or the best run lies on; "" inside."""
        if len(self.grid) < 2 or self.logs.mean(axis=1).min() <= LOG_PERFECT:  # nothing beyond can be better
            return ""
        margin = float(np.diff(self.grid).min()) / 4
        lowest = int(self.logs.mean(axis=1).argmin())
        if lowest == 0 or best <= self.grid[0] + margin:
            return "low"
        if lowest == len(self.grid) - 1 or best >= self.grid[-1] - margin:
            return "high"
        return ""

    def regret(self, log2_lr: float) -> Interval:
        """Log loss at a learning rate that was run minus the curve's lowest, with a 90 % interval.

        The lowest of a noisy curve is too low where it is looked up on the draw that it was chosen by, and too high on
        another. So the value is cross-fitted, each draw choosing a learning rate of which the mean curve says what it
        costs: for a parabola that is unbiased. The interval takes its low end from the one and its high end from the
        other. (Choosing and judging on different seeds is biased: where few seeds choose badly, the rest find the best
        to be worse than it is, and the regret comes out too low.)
        """
        if self.logs[int(np.abs(self.grid - log2_lr).argmin())].max() <= LOG_PERFECT:
            return Interval(value=0.0, low=0.0, high=0.0)  # no run is better than a perfect fit by all seeds
        here, chosen = self._drawn_loss(log2_lr), self.draws.argmin(axis=0)
        value = float(here.mean() - self.mean[chosen].mean())
        looked_up = here - self.draws.min(axis=0)
        crossed = here - self.draws[np.roll(chosen, 1), np.arange(N_DRAWS)]
        low, high = np.quantile(crossed, TAIL), np.quantile(looked_up, 1 - TAIL)
        return Interval(value=value, low=float(min(low, value)), high=float(max(high, value)))

    def _drawn_loss(self, log2_lr: float) -> np.ndarray:
        i = int(np.abs(self.at - log2_lr).argmin())
        if abs(self.at[i] - log2_lr) < 1e-9:
            return self.draws[i]
        j = int(np.abs(self.grid - log2_lr).argmin())  # far from the optimum: the runs there speak for themselves
        error = math.sqrt(noise_of_mean(self.logs, self.grid, self.noise)[j, j])
        degrees = max(self.logs.shape[1] - 1, 1) + LOCAL_DEGREES
        return self.logs[j].mean() + error * np.random.default_rng(1).standard_t(degrees, N_DRAWS)


def fit_curve(
    curve: Curve, *, ceiling: float, noise: SeedNoise | None = None, also: Sequence[float] = ()
) -> FittedCurve:
    """The posterior of the mean log loss over seeds.

    Args:
        curve: {log2 lr: losses, one per seed in the same order}; an infinite loss is a diverged run.
        ceiling: the loss before training; what a diverged run counts as.
        noise: seed noise pooled over widths; None: that of this curve alone.
        also: learning rates to look at besides an even grid around the best.
    """
    grid, logs = np.array(sorted(curve), dtype=float), log_losses(curve, ceiling)
    if noise is None:
        noise = pool_noise([logs], [grid])
    mean = logs.mean(axis=1)
    if mean.min() >= math.log(max(ceiling, PERFECT)) - 1e-9 or len(grid) == 1:  # nothing was learned: smaller rates may
        level, rows = np.full(1, mean[0]), np.full((1, N_DRAWS), mean[0])
        return FittedCurve(grid=grid, logs=logs, noise=noise, at=grid[:1], mean=level, draws=rows)
    keep = _near_best(mean)
    x, y = grid[keep], np.minimum(mean[keep], mean.min() + WINDOW)
    covariance = noise_of_mean(logs, grid, noise)[np.ix_(keep, keep)]
    cut = mean[keep] >= mean.min() + WINDOW
    covariance[cut], covariance[:, cut] = 0.0, 0.0
    covariance[cut, cut] = CUT_OFF_NOISE**2
    reach = max(SEARCHED, 2 * float(np.median(np.diff(grid))))
    centre = x[int(y.argmin())]
    low, high = max(x[0], centre - reach), min(x[-1], centre + reach)
    even = np.linspace(low, high, max(2, round((high - low) * RESOLUTION) + 1))
    inside = [a for a in also if x[0] <= a <= x[-1] and y[int(np.abs(x - a).argmin())] < mean.min() + WINDOW]
    at = np.unique(np.concatenate([even, inside]))
    lowest = y.min()
    bend = float(np.clip(BEND * math.sqrt(noise.variance), *BENDS))
    slope = 1 / (1 + (y - lowest) / bend)
    bent = bend * np.log1p((y - lowest) / bend)
    fitted = posterior(x, bent, covariance * slope[:, None] * slope, at, degrees=noise.degrees)
    return FittedCurve(
        grid=grid,
        logs=logs,
        noise=noise,
        at=at,
        mean=lowest + bend * np.expm1(fitted.mean / bend),
        draws=lowest + bend * np.expm1(fitted.draws / bend),
    )


def find_optimum(curve: Curve, *, ceiling: float) -> Optimum:
    """The optimum of the mean log loss over seeds; see :func:`fit_curve`."""
    return fit_curve(curve, ceiling=ceiling).optimum


def log_losses(curve: Curve, ceiling: float) -> np.ndarray:
    """Array (n learning rates, n seeds) of log loss, diverged runs at the ceiling."""
    return log_of([[min(loss, ceiling) for loss in curve[x]] for x in sorted(curve)])


def log_of(losses: Sequence[Sequence[float]]) -> np.ndarray:
    """Logarithms of losses, by which runs are compared; a perfect fit counts as PERFECT."""
    values = np.array(losses)
    if (values < 0).any():
        raise DataError(f"runs are compared by log loss: evaluate() must not be negative, found {values.min():g}")
    return np.log(np.maximum(values, PERFECT))


def best_point(points: np.ndarray, logs: np.ndarray) -> tuple[int, np.ndarray]:
    """The point with the lowest posterior mean among several hyperparameters': its index, and draws of that index.

    Args:
        points: (n points, n hyperparameters), each column scaled to the unit interval.
        logs: (n points, n seeds) log losses.
    """
    mean = np.minimum(logs.mean(axis=1), logs.mean(axis=1).min() + WINDOW)
    n_seeds = logs.shape[1]
    residual = logs - logs.mean(axis=1, keepdims=True)
    near = logs.mean(axis=1) <= logs.mean(axis=1).min() + 1.0
    residual = residual[near] - residual[near].mean(axis=0)
    degrees = max((int(near.sum()) - 1) * (n_seeds - 1), 1)
    variance = max(float((residual**2).sum() / degrees / n_seeds), LEAST if n_seeds > 1 else 1e-4)
    fitted = posterior(points, mean, variance * np.eye(len(points)), points, degrees=degrees, unit=UNIT)
    return int(fitted.mean.argmin()), fitted.draws.argmin(axis=0)


def _near_best(mean: np.ndarray) -> np.ndarray:
    """The stretch around the best point up to where the curve is cut off, one cut-off point included each side."""
    left = right = int(mean.argmin())
    cut = mean >= mean.min() + WINDOW
    while left > 0 and not cut[left]:
        left -= 1
    while right < len(mean) - 1 and not cut[right]:
        right += 1
    return np.arange(left, right + 1)
