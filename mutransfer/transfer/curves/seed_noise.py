"""Seed noise of the log loss, as far as it matters for comparing learning rates: what seeds share cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAR = 1.0  # log loss above the best point within which noise is pooled
REACH = 2.0  # octaves over which a seed's departure from the mean curve is alike, so far as it is
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
LEAST = 1e-6  # variance that rounding alone may have
ONE_SEED = 1e-3  # variance where it cannot be seen
LOCAL_DEGREES = 4.0  # weight of the pooled variance against that of one learning rate's own seeds


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Noise of one run's log loss with what its seed adds at every learning rate taken off.

    Seeds are paired: the luck of a seed that is the same at every learning rate moves no optimum and no regret.
    """

    variance: float
    share: float  # part of it that neighbouring learning rates of a seed have in common
    degrees: int  # of freedom of the estimate; 0: one seed, nothing was seen


def pool_noise(curves: Sequence[np.ndarray], grids: Sequence[np.ndarray]) -> SeedNoise:
    """The seed noise pooled over learning rates and widths.

    Args:
        curves: for each width log losses (n learning rates, n seeds).
        grids: for each width its log2 learning rates.
    """
    parts = []  # per width: seeds' scatter in contrasts between learning rates, grid, degrees per contrast
    for logs, x in zip(curves, grids, strict=True):
        height = logs.mean(axis=1) - logs.mean(axis=1).min()
        near = height <= NEAR
        if logs.shape[1] < 2 or near.sum() < 2:
            continue
        n = int(near.sum())
        contrasts = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:].T
        residual = contrasts @ (logs[near] - logs[near].mean(axis=1, keepdims=True))
        parts.append((residual @ residual.T, contrasts, x[near], logs.shape[1] - 1))
    if not parts:
        spread = [logs.var(axis=1, ddof=1).min() for logs in curves if logs.shape[1] > 1]
        variance = float(np.mean(spread)) if spread else ONE_SEED
        return SeedNoise(variance=max(variance, LEAST), share=0.0, degrees=curves[0].shape[1] - 1)
    degrees = sum(seeds * len(contrasts) for _, contrasts, _, seeds in parts)
    best, likeliest = SeedNoise(variance=LEAST, share=0.0, degrees=degrees), -np.inf
    for share in SHARES:
        squares, volume = 0.0, 0.0
        for scatter, contrasts, x, seeds in parts:
            shape = contrasts @ alike(x, share) @ contrasts.T
            squares += float(np.trace(np.linalg.solve(shape, scatter)))
            volume += seeds * float(np.linalg.slogdet(shape)[1])
        variance = max(squares / degrees, LEAST)
        likelihood = -0.5 * (degrees * np.log(variance) + volume)
        if likelihood > likeliest:
            best, likeliest = SeedNoise(variance=variance, share=share, degrees=degrees), likelihood
    return best


def noise_of_mean(logs: np.ndarray, x: np.ndarray, noise: SeedNoise) -> np.ndarray:
    """Covariance (n learning rates, n learning rates) of the means over seeds.

    The variance of each learning rate is between the pooled one and its own seeds', since noise grows towards a
    cliff and now and then a seed is far off.
    """
    n_seeds = logs.shape[1]
    variance = np.full(len(x), noise.variance)
    if n_seeds > 1:
        mean = logs.mean(axis=1)
        near = mean <= mean.min() + NEAR
        residual = logs - mean[:, None]
        residual = residual - residual[near].mean(axis=0)
        squares = (residual**2).sum(axis=1)
        variance = (LOCAL_DEGREES * variance + squares) / (LOCAL_DEGREES + n_seeds - 1)
    deviation = np.sqrt(np.maximum(variance, LEAST) / n_seeds)
    return alike(x, noise.share) * deviation[:, None] * deviation


def alike(x: np.ndarray, share: float) -> np.ndarray:
    """Correlation of a seed's departures at learning rates ``x``."""
    near = np.exp(-0.5 * ((x[:, None] - x) / REACH) ** 2)
    return (1 - share) * np.eye(len(x)) + share * near
