"""The optimum of a noisy loss-versus-log2-LR curve, with an interval from posterior draws of the curve.

A parabola is biased, because learning-rate curves rise slowly on the left and fall off a cliff on the right, and
the best trial of a noisy sweep is a lottery; a Gaussian-process mean follows the curve's own shape.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from threadpoolctl import threadpool_limits

from mutransfer.errors import DataError
from mutransfer.measure.slopes import CONFIDENCE

N_DRAWS = 500
WINDOW = 2.5  # log loss above the best point at which a curve is cut off: a cliff must not bend the fit
RESOLUTION = 32  # points per octave at which draws are searched


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with a 90 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Where a curve of loss against log2 learning rate is lowest, with a 90 % interval."""

    log2_lr: float
    low: float
    high: float
    loss: float  # of the fitted curve there
    at_edge: str = ""  # "low" or "high" where the optimum lies on that border of the grid
    draws: tuple[float, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"2^{self.log2_lr:.2f} [2^{self.low:.2f}, 2^{self.high:.2f}]"


Curve = Mapping[float, Sequence[float]]  # log2 lr -> loss per seed, infinite where a run diverged


def find_optimum(curve: Curve, *, ceiling: float) -> Optimum:
    """The optimum of the mean log loss over seeds.

    Args:
        curve: {log2 lr: losses, one per seed in the same order}; an infinite loss is a diverged run.
        ceiling: the loss before training; what a diverged run counts as.
    """
    grid = np.array(sorted(curve))
    logs = log_losses(curve, ceiling)
    mean = logs.mean(axis=1)
    if len(grid) == 1:
        return Optimum(log2_lr=grid[0], low=grid[0], high=grid[0], loss=math.exp(mean[0]), draws=(grid[0],) * N_DRAWS)
    clipped = np.minimum(mean, mean.min() + WINDOW)
    keep = _near_best(clipped)
    x, y = grid[keep], clipped[keep]
    fine = np.linspace(x[0], x[-1], max(2, round((x[-1] - x[0]) * RESOLUTION) + 1))
    centre, draws = _posterior(x, y, _noise(logs[keep]), fine)
    places = fine[draws.argmin(axis=0)]
    tail = (1 - CONFIDENCE) / 2
    best = float(fine[centre.argmin()])
    low, high = np.quantile(places, [tail, 1 - tail])
    spacing = float(np.diff(grid).min())
    edge = "low" if best <= grid[0] + spacing / 4 else "high" if best >= grid[-1] - spacing / 4 else ""
    return Optimum(
        log2_lr=best,
        low=float(min(low, best)),
        high=float(max(high, best)),
        loss=float(np.exp(centre.min())),
        at_edge=edge,
        draws=tuple(map(float, places)),
    )


def log_losses(curve: Curve, ceiling: float) -> np.ndarray:
    """Array (n learning rates, n seeds) of log loss, diverged runs at the ceiling."""
    return log_of([[min(loss, ceiling) for loss in curve[x]] for x in sorted(curve)])


def log_of(losses: Sequence[Sequence[float]]) -> np.ndarray:
    """Logarithms of losses, by which runs are compared; a perfect fit counts as 1e-12."""
    values = np.array(losses)
    if (values < 0).any():
        raise DataError(f"runs are compared by log loss: evaluate() must not be negative, found {values.min():g}")
    return np.log(np.maximum(values, 1e-12))


def best_point(points: np.ndarray, logs: np.ndarray) -> tuple[int, np.ndarray]:
    """For several hyperparameters: index of the point with the lowest posterior mean, and draws of that index.

    Args:
        points: (n points, n hyperparameters), each column scaled to the unit interval.
        logs: (n points, n seeds) log losses.
    """
    mean = np.minimum(logs.mean(axis=1), logs.mean(axis=1).min() + WINDOW)
    centre, draws = _posterior(points, mean, _noise(logs), points)
    return int(centre.argmin()), draws.argmin(axis=0)


def _near_best(clipped: np.ndarray) -> np.ndarray:
    """The stretch around the best point up to where the curve is cut off, one cut-off point included each side."""
    best = int(clipped.argmin())
    cut = clipped >= clipped.min() + WINDOW
    left, right = best, best
    while left > 0 and not cut[left]:
        left -= 1
    while right < len(clipped) - 1 and not cut[right]:
        right += 1
    return np.arange(left, right + 1)


def _noise(logs: np.ndarray) -> float:
    """Variance of the mean over seeds, pooled over points near the best; seeds are paired, so their own mean goes."""
    n_seeds = logs.shape[1]
    if n_seeds < 2:
        return 1e-4
    near = logs[logs.mean(axis=1) <= logs.mean(axis=1).min() + 1.0]
    residual = near - near.mean(axis=1, keepdims=True)
    if len(near) > 1:
        residual = residual - residual.mean(axis=0, keepdims=True)
        degrees = (len(near) - 1) * (n_seeds - 1)
    else:
        degrees = n_seeds - 1
    return max(float((residual**2).sum() / degrees / n_seeds), 1e-6)


def _posterior(x: np.ndarray, y: np.ndarray, noise: float, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n at,) and draws (n at, N_DRAWS) of the noise-free curve.

    On one thread: the matrices have a dozen rows, and on a busy machine threads make a fit 10 to 30 times slower.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit_and_draw(x, y, noise, at)


def _fit_and_draw(x: np.ndarray, y: np.ndarray, noise: float, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, at = (v[:, None] if v.ndim == 1 else v for v in (x, at))
    scale = max(float(y.std()), 1e-6)
    z, alpha = (y - y.mean()) / scale, noise / scale**2
    reach = float(np.ptp(x, axis=0).max())
    smooth = ConstantKernel(1.0, (0.1, 100.0)) * RBF(reach / 3, (reach / 8, reach * 3))
    extra = WhiteKernel(1e-3, (1e-6, 0.3))  # what the curve departs from a smooth one, beyond seed noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is an answer too
        learned = GaussianProcessRegressor(smooth + extra, alpha=alpha, n_restarts_optimizer=2, random_state=0).fit(
            x, z
        )
    parts = learned.kernel_.get_params(deep=False)
    clean = GaussianProcessRegressor(parts["k1"], alpha=alpha + parts["k2"].noise_level, optimizer=None).fit(x, z)
    mean = np.asarray(clean.predict(at))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a posterior covariance is singular up to rounding
        draws = clean.sample_y(at, N_DRAWS, random_state=0)
    return mean * scale + y.mean(), draws * scale + y.mean()
