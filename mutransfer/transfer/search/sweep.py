"""One width's loss against log2 learning rate: an even grid, extended until the minimum is interior, then refined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mutransfer.training.events import SweepFinished
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.transfer.curves.optimum import FittedCurve, Optimum, fit_curve
from mutransfer.transfer.curves.placement import place_runs
from mutransfer.transfer.runs.runner import Runner

REFINED = 2  # learning rates between those of the grid
MAX_EXTENSIONS = 4  # grid steps beyond each border of the range that was asked for


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs of one width, by log2 learning rate and in the order of the seeds."""

    template: RunSpec
    seeds: tuple[int, ...]
    results: dict[float, list[RunResult]]

    @property
    def curve(self) -> dict[float, list[float]]:
        return {x: [r.final_loss for r in self.results[x]] for x in sorted(self.results)}

    @property
    def ceiling(self) -> float:
        """The mean loss before training: what a run that diverged or ran out of memory counts as."""
        starts = [r.initial_loss for runs in self.results.values() for r in runs]
        return float(np.mean([s for s in starts if math.isfinite(s)] or [1e12]))

    @property
    def fit(self) -> FittedCurve:
        return fit_curve(self.curve, ceiling=self.ceiling)

    @property
    def optimum(self) -> Optimum:
        return self.fit.optimum

    def diverged_at(self, log2_lr: float) -> int:
        """Number of seeds that diverged at a learning rate."""
        return sum(r.outcome is Outcome.DIVERGED for r in self.results[log2_lr])

    def out_of_memory_at(self, log2_lr: float) -> int:
        """Number of seeds that did not fit into memory, of which the learning rate is not to blame."""
        return sum(r.outcome is Outcome.OUT_OF_MEMORY for r in self.results[log2_lr])


def at_lr(template: RunSpec, log2_lr: float, seed: int) -> RunSpec:
    """The template with another learning rate and seed."""
    return replace(template, hyperparameters={**template.hyperparameters, "lr": 2.0**log2_lr}, seed=seed)


def sweep(
    runner: Runner,
    template: RunSpec,
    grid: Sequence[float],
    seeds: Sequence[int],
    *,
    title: str,
    also: Sequence[float] = (),
) -> Sweep:
    """Run the grid and the points in ``also``, which are watched on the way, then extend and refine around the minimum.

    Nothing is pruned: medians after a few steps favour fast starters and bias the optimum.
    """
    done = Sweep(template=template, seeds=tuple(seeds), results={})
    watched = {round(x, 6) for x in also}

    def run_at(points: Sequence[float]) -> FittedCurve:
        new = [round(x, 6) for x in points if round(x, 6) not in done.results]
        specs = [replace(at_lr(template, x, seed), watched=x in watched) for x in new for seed in seeds]
        results = runner.perform(specs, title)
        for i, x in enumerate(new):
            done.results[x] = results[i * len(seeds) : (i + 1) * len(seeds)]
        return done.fit

    spacing = (max(grid) - min(grid)) / (len(grid) - 1) if len(grid) > 1 else 1.0

    def extend(fit: FittedCurve, steps: int) -> tuple[FittedCurve, int]:
        """Go on beyond the border that the minimum lies on; returns the steps left."""
        while steps and (edge := fit.optimum.at_edge):
            fit = run_at([min(done.results) - spacing if edge == "low" else max(done.results) + spacing])
            steps -= 1
        return fit, steps

    fit, left = extend(run_at([*grid, *also]), MAX_EXTENSIONS)
    fit = run_at([p.log2_lr for p in place_runs({title: fit}, REFINED)])
    fit, _ = extend(fit, left)  # a refined point may be the lowest, and on the border
    best = fit.optimum
    runner.sink(SweepFinished(title=title, curve=done.curve, log2_lr=best.log2_lr, low=best.low, high=best.high))
    return done
