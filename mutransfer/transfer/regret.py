"""Regret: what the transferred learning rate costs at a width, against the width's own best."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.interpolate import PchipInterpolator

from mutransfer.measure.slopes import CONFIDENCE
from mutransfer.transfer.estimate import Interval, find_optimum, log_losses
from mutransfer.transfer.sweep import Sweep


def cross_fitted_regrets(
    sweeps: Mapping[str | int, Sweep], transferred: float
) -> tuple[dict[str | int, Interval], float]:
    """Regret per width, cross-fitted over seeds, and the seed noise of the log loss.

    The best of several noisy points is biased low when judged on the seeds that chose it, so for every seed the
    best point is chosen by the other seeds. The variance of the differences is pooled over widths.
    """
    differences, noise = {}, []
    for key, s in sweeps.items():
        points = sorted(s.results)
        logs = log_losses(s.curve, s.ceiling)
        n_seeds = logs.shape[1]
        at = points.index(transferred)
        if n_seeds < 2 or len(points) < 2:
            continue
        own = []
        for seed in range(n_seeds):
            others = {x: [losses[i] for i in range(n_seeds) if i != seed] for x, losses in s.curve.items()}
            chosen = find_optimum(others, ceiling=s.ceiling).log2_lr
            # Through the points, but curved between them: a chord would lie above a convex curve.
            floor = float(PchipInterpolator(points, logs[:, seed])(chosen))
            own.append(logs[at, seed] - floor)
        differences[key] = np.array(own)
        near = int(np.argmin(logs.mean(axis=1)))
        noise.append(logs[near].var(ddof=1))
    if not differences:
        return {}, 0.0
    others_than_base = list(differences.values())[1:] or list(differences.values())
    pooled = float(np.mean([d.var(ddof=1) for d in others_than_base]))
    degrees = sum(len(d) - 1 for d in others_than_base)
    regrets = {}
    for key, d in differences.items():
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(pooled / len(d))
        regrets[key] = Interval(value=float(d.mean()), low=float(d.mean()) - half, high=float(d.mean()) + half)
    return regrets, math.sqrt(float(np.mean(noise)))
