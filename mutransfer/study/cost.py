"""The cost of a study before it is run: runs, seconds and floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import torch

from mutransfer.parameterization.plan import Plan
from mutransfer.study.step_times import BUDGET, Estimate, StepTimes, exactly
from mutransfer.training.flops import flops_per_step
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.sweep import at_lr
from mutransfer.transfer.verification.budget import FIRST_SEEDS
from mutransfer.transfer.verification.procedure import POINTS, CostEstimate, estimate_cost, usual_seeds
from mutransfer.widths import Width, width_size

STACKED_STEPS = 500  # steps of a run alone in the time that it takes to find out what stacks of it save
STACKED = 0.5  # part of the time that stacks of longer steps need, at the least


def largest_step(template: RunSpec, task: Task, base: Plan, largest: Plan) -> float:
    """FLOPs of a step of the largest model, by its number of parameters from a step at base width.

    The model at base width fits into any memory.
    """
    growth = _n_parameters(largest) / _n_parameters(base)
    return growth * flops_per_step(template, task, base, torch.device("cpu"))


def _n_parameters(plan: Plan) -> int:
    return sum(math.prod(shape) for shape in plan.shapes.values())


@dataclass(frozen=True, kw_only=True)
class StudyCost:
    """What a study usually takes: a sweep at base width, and one per larger width and parameterization."""

    template: RunSpec  # at base width
    widths: Sequence[Width]  # larger ones
    tables: Sequence[str]  # names; the one under study first
    grid_points: int
    seeds: int
    sequential: bool
    plans: Mapping[str, Plan]  # by width, of the parameterization under study
    runner: Runner  # which trains as the study does

    def remaining(self, record: Record) -> tuple[int, float]:
        """Number of runs of the whole study that ``record`` does not hold yet, and their seconds."""
        runs, seconds = self.left(record)
        return runs, seconds.usual

    def left(self, record: Record) -> tuple[int, Estimate]:
        """Number of runs of the whole study that ``record`` does not hold yet, and bounds on their seconds.

        A sweep is counted with two points of refinement and the transferred learning rate, without extensions; where
        verification is sequential, with what it usually takes. Seconds come from a few timed steps of small widths.
        """
        runs, seconds = 0, Estimate(0.0, 0.0, 0.0)
        for width in [self.template.base_width, *self.widths]:
            tables = self.tables[:1] if width == self.template.base_width else self.tables
            sweeps = [replace(self.template, width=width, parameterization=name) for name in tables]
            missing = [self.runs_at(width) - record.count(sweep) for sweep in sweeps]
            # Where only the transferred learning rate's are missing, it may be one of the grid: nothing is left then.
            left = sum(n for n in missing if n > self.seeds)
            if left:
                seconds += self._seconds(replace(self.template, width=width), left)
            runs += left
        return runs, seconds

    def runs_at(self, width: Width) -> int:
        """Usual number of runs of one sweep."""
        if width == self.template.base_width or not self.sequential:
            return (self.grid_points + 3) * self.seeds
        if width != max(self.widths, key=width_size):
            return POINTS * self.seeds
        return round(POINTS * usual_seeds(self._first_seeds, self.seeds))

    def verification(self) -> CostEstimate:
        """FLOPs of verifying one parameterization beyond the base width, sequentially and by the full grid."""
        specs = [replace(self.template, width=width) for width in sorted(self.widths, key=width_size)]
        costs = [self._steps.flops(s.width) * s.steps for s in specs]
        return estimate_cost(costs, grid=self.grid_points, first=self._first_seeds, most=self.seeds)

    @property
    def _first_seeds(self) -> int:
        return min(FIRST_SEEDS, self.seeds)

    @cached_property
    def _steps(self) -> StepTimes:
        return StepTimes(self.template, self.runner.task, self.plans, self.runner.device)

    def _seconds(self, spec: RunSpec, runs: int) -> Estimate:
        """Seconds of ``runs`` runs of one width, less what stacks save, where finding that out costs little."""
        step, ends = self._steps.seconds(spec.width), self._steps.ends(spec.width)
        saving = Estimate(1.0, STACKED, 1.0)
        if step.usual * STACKED_STEPS < BUDGET:
            saving = exactly(self.runner.saving([at_lr(spec, math.log2(spec.lr), seed) for seed in range(runs)]))
        each = Estimate(*(ends + part * spec.steps * s for part, s in zip(astuple(saving), astuple(step), strict=True)))
        return each.times(runs)
