"""The posterior of a noisy curve: a Gaussian process averaged over its length scale, height and noise.

Hyperparameters are averaged over and not fitted, since a dozen points do not tell them: an interval that takes the
likeliest length scale for the true one is too short. (Rasmussen & Williams 2006, chapter 5.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

N_DRAWS = 256
LENGTHS = np.geomspace(0.8, 10.0, 5)  # octaves; of points in a unit cube a fifth of that
HEIGHTS = np.geomspace(0.5, 12.0, 4)  # standard deviations of the curve's points
NOISES = np.array([-1.2, 0.0, 1.2])  # standard deviations of the log noise variance
LEVEL = 25.0  # variance of the curve's mean, in units of its height: as good as unknown


def rough(distance: np.ndarray) -> np.ndarray:
    """Matern covariance of smoothness 3/2: curves with angles."""
    d = np.sqrt(3.0) * distance
    return (1 + d) * np.exp(-d)


def smooth(distance: np.ndarray) -> np.ndarray:
    """Matern covariance of smoothness 5/2: not so smooth that a flank tells the bottom."""
    d = np.sqrt(5.0) * distance
    return (1 + d + d**2 / 3) * np.exp(-d)


COVARIANCES = (smooth, rough)
COVARIANCE_PRIOR = np.array([0.5, 0.5])


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Mean (n at,) and draws (n at, N_DRAWS) of the noise-free curve at ``at``."""

    at: np.ndarray
    mean: np.ndarray
    draws: np.ndarray


def posterior(
    x: np.ndarray,
    y: np.ndarray,
    noise: np.ndarray,
    at: np.ndarray,
    *,
    degrees: int,
    unit: float = 1.0,
) -> Posterior:
    """The posterior of the curve through the points ``y`` at ``x``.

    Args:
        x: (n,) or (n, dimensions).
        noise: covariance (n, n) of ``y``.
        degrees: of freedom with which the noise was estimated.
        unit: by which distances are divided.

    On one thread: the matrices have a dozen rows, and on a busy machine threads make a fit 10 to 30 times slower.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        return _posterior(x, y, noise, at, degrees, unit)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks through everything that is loaded: done once


def _posterior(x: np.ndarray, y: np.ndarray, noise: np.ndarray, at: np.ndarray, degrees: int, unit: float) -> Posterior:
    n = len(x)
    scale = max(float(y.std()), 3 * float(np.sqrt(np.diag(noise).min())), 1e-9)
    z, noise = (y - y.mean()) / scale, noise / scale**2
    spread = np.sqrt(2 / max(degrees, 2))
    shapes, lengths, heights, noises = (
        v.ravel()
        for v in np.meshgrid(
            np.arange(len(COVARIANCES)), LENGTHS * unit, HEIGHTS**2, np.exp(NOISES * spread), indexing="ij"
        )
    )
    prior = np.log(COVARIANCE_PRIOR)[shapes] - 0.5 * (np.log(noises) / spread) ** 2
    correlations = np.stack([shape(distances(x, x) / length) for shape in COVARIANCES for length in LENGTHS * unit])
    covariance = heights[:, None, None] * (np.repeat(correlations, len(HEIGHTS) * len(NOISES), axis=0) + LEVEL)
    covariance += noises[:, None, None] * noise + 1e-9 * heights[:, None, None] * np.eye(n)
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, np.broadcast_to(z[:, None], (len(factor), n, 1)))[..., 0]
    fit = prior - 0.5 * (white**2).sum(axis=1) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    weight = np.exp(fit - fit.max())
    weight /= weight.sum()

    rng = np.random.default_rng(0)
    places = (np.arange(N_DRAWS) + 0.5) / N_DRAWS
    drawn, counts = np.unique(np.searchsorted(np.cumsum(weight), places).clip(max=len(weight) - 1), return_counts=True)
    across, within = distances(x, at), distances(at, at)
    mean, draws = np.zeros(len(at)), []
    for shape in np.unique(shapes[drawn]):
        these, share = drawn[shapes[drawn] == shape], counts[shapes[drawn] == shape]
        length, height = lengths[these, None, None], heights[these, None, None]
        solved = np.linalg.solve(factor[these], height * (COVARIANCES[shape](across / length) + LEVEL))
        centres = np.einsum("hna,hn->ha", solved, white[these])
        left = height * (COVARIANCES[shape](within / length) + LEVEL + 1e-6 * np.eye(len(at)))
        roots = np.linalg.cholesky(left - solved.transpose(0, 2, 1) @ solved)
        mean += share @ centres / N_DRAWS
        for centre, root, count in zip(centres, roots, share, strict=True):
            draws.append(centre[:, None] + root @ rng.standard_normal((len(at), count)))
    shuffled = rng.permutation(N_DRAWS)  # draws of one length scale stand together no more
    return Posterior(at=at, mean=mean * scale + y.mean(), draws=np.hstack(draws)[:, shuffled] * scale + y.mean())


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances (len(a), len(b))."""
    a, b = (v[:, None] if v.ndim == 1 else v for v in (a, b))
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))
