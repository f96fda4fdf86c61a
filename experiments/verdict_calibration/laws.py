"""Loss against log2 learning rate with a known optimum: height of the curve, seed noise and divergence.

A diverged run counts as the loss before training, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
CEILING = float(np.log(2.3))  # log loss before training
FINE = np.arange(-14, 14, 1 / 64)  # octaves from the optimum's nominal place, where truths are looked up
FLOOR = float(np.log(0.05))  # log loss at the base width's optimum


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study's law. ``height`` takes octaves from the optimum and doublings of width."""

    height: Callable[[Array, int], Array]
    noise: float  # standard deviation of the log loss over seeds near the optimum, paired luck apart
    growth: float = 0.0  # part by which it grows per octave to the right
    luck: float = 0.1  # standard deviation of what a seed adds at every learning rate
    tilt: float = 0.0  # standard deviation of a seed's own optimum, octaves
    tails: float = np.inf  # degrees of freedom of Student's t
    cliff: float = np.inf  # octaves right of the optimum where half of the seeds diverge
    cliff_width: float = 0.05
    gain: float = 0.2  # log loss that a doubling of width buys
    spacing: float = 1.0  # of the grid
    drift: float = 0.0  # octaves per doubling
    start: float = -6.5  # the base width's optimum

    def centre(self, doublings: int) -> float:
        return self.start + self.drift * doublings

    def expected(self, doublings: int) -> Array:
        """Expected log loss over FINE, which is relative to ``centre``."""
        return _expected(self, doublings)

    def log_losses(self, x: float, doublings: int, seeds: Seeds) -> Array:
        """Log losses of all seeds; infinite where a run diverged."""
        d = x - self.centre(doublings)
        z = seeds.rng.standard_normal(seeds.count)
        if np.isfinite(self.tails):  # scaled to unit variance
            chi = seeds.rng.chisquare(self.tails, seeds.count)
            z = z * np.sqrt((self.tails - 2) / chi)
        sd = self.noise * (1 + self.growth * np.clip(d, 0, 4))
        floor = FLOOR - self.gain * doublings
        height = self.height(d - self.tilt * seeds.tilt[doublings], doublings)
        y = floor + np.minimum(height, 20) + self.luck * seeds.luck + sd * z
        dead = seeds.rng.uniform(size=seeds.count) < _dying(self, d)
        return np.where(dead | (y > CEILING), np.inf, y)


class Seeds:
    """What the seeds of a study bring: luck that is the same at every learning rate and width, and their own tilt."""

    def __init__(self, rng: np.random.Generator, count: int, widths: int) -> None:
        self.rng, self.count = rng, count
        self.luck = rng.standard_normal(count)
        self.tilt = rng.standard_normal((widths, count))


def _dying(study: Study, d: Array | float) -> Array:
    if not np.isfinite(study.cliff):
        return np.zeros_like(d)
    return 1 / (1 + np.exp(np.clip(-(np.asarray(d) - study.cliff) / study.cliff_width, -50, 50)))


def _expected(study: Study, doublings: int) -> Array:
    floor = FLOOR - study.gain * doublings
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    heights = sum(w * study.height(FINE - study.tilt * t, doublings) for t, w in zip(nodes, weights, strict=True))
    alive = np.minimum(floor + np.minimum(heights, 20), CEILING)
    p = _dying(study, FINE)
    return (1 - p) * alive + p * CEILING
