"""Operations and seconds of a training step by width: measured where that is cheap, else extrapolated, with bounds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.utils.flop_counter import FlopCounterMode

from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state
from mutransfer.training.events import silent
from mutransfer.training.out_of_memory import free_memory, is_out_of_memory
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.timing import synchronize
from mutransfer.training.task import Task
from mutransfer.training.training_loop import TrainingLoop
from mutransfer.widths import Width, show_width, width_size

BUDGET = 4.0  # seconds for timing steps, but for those at base width
STEPS = 6  # that are timed at most, 2 at least
ENOUGH = 0.25  # seconds of timed steps
SLOWER = 1.5  # a model that has outgrown the cache, over one that has not
PEAK = 768  # size of the product by which the most operations per second are told


@dataclass(frozen=True)
class Estimate:
    """A number that is expected, with the least and the most that it may be."""

    usual: float
    least: float
    most: float

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.usual + other.usual, self.least + other.least, self.most + other.most)

    def times(self, factor: float) -> Estimate:
        return Estimate(self.usual * factor, self.least * factor, self.most * factor)


def exactly(number: float) -> Estimate:
    """A number that is known."""
    return Estimate(number, number, number)


@dataclass(frozen=True)
class TimedStep:
    """One width that was tried: its operations, and seconds of making the model, of a step and of an evaluation."""

    flops: float
    building: float
    step: Estimate
    evaluating: float


class StepTimes:
    """Steps of one study's runs at any of its widths."""

    def __init__(self, template: RunSpec, task: Task, plans: Mapping[str, Plan], device: torch.device) -> None:
        """
        Args:
            template: a run at base width.
            plans: by width; of the parameterization under study, the others cost the same.
        """
        self.template, self.task, self.device = template, task, device
        self.plans = dict(sorted(plans.items(), key=lambda item: width_size(item[1].width)))

    @cached_property
    def timed(self) -> dict[str, TimedStep]:
        """Widths that were tried, the smallest first: as many as the budget allows."""
        found: dict[str, TimedStep] = {}
        started = time.perf_counter()
        for name, plan in self.plans.items():
            if found:
                last = next(reversed(found))
                growth = _n_parameters(plan) / _n_parameters(self.plans[last])
                expected = found[last].building + 4 * found[last].step.usual  # the first takes twice as long
                if time.perf_counter() - started + growth * expected > BUDGET:
                    break
            try:
                found[name] = self._try(plan, next(iter(found.values()), None))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not found:
                    raise
                break
        free_memory()
        return found

    def flops(self, width: Width) -> float:
        """Operations of a step. They are a sum of a multiple of the parameters and one of the width, nearly always."""
        name = show_width(width)
        if name in self.timed:
            return self.timed[name].flops
        *_, last = self.timed
        p, w = _n_parameters(self.plans[name]), width_size(width)
        p1, w1, f1 = _n_parameters(self.plans[last]), width_size(self.plans[last].width), self.timed[last].flops
        if len(self.timed) > 1:
            other = list(self.timed)[-2]
            p0, w0, f0 = _n_parameters(self.plans[other]), width_size(self.plans[other].width), self.timed[other].flops
            if abs(area := p1 * w0 - p0 * w1) > 1e-9 * p1 * w0:
                per_parameter, per_width = (f1 * w0 - f0 * w1) / area, (p1 * f0 - p0 * f1) / area
                return max(per_parameter * p + per_width * w, f1 * w / w1)
        return f1 * p / p1

    def seconds(self, width: Width) -> Estimate:
        """Seconds of a step.

        Where it was not timed, at least what this device needs for the operations beyond the largest that was, and at
        most as many a second as that one did.
        """
        name = show_width(width)
        if name in self.timed:
            return self.timed[name].step
        *_, last = self.timed.values()
        flops = self.flops(width)
        rate = last.flops / last.step.usual
        peak = max(self._peak, rate)
        further = rate
        if len(self.timed) > 1:
            other = list(self.timed.values())[-2]
            longer = last.step.usual - other.step.usual
            further = (last.flops - other.flops) / longer if longer > 0 else peak
        usual = last.step.usual + (flops - last.flops) / min(max(further, rate), peak)
        least = last.step.least + (flops - last.flops) / peak
        return Estimate(usual, min(least, usual), max(usual, SLOWER * last.step.most * flops / last.flops))

    def ends(self, width: Width) -> float:
        """Seconds of making a run's model and of its evaluations."""
        every = self.template.eval_every
        evaluations = 2 + (self.template.steps // every if every else 0)
        *_, last = self.timed.values()
        its = self.timed.get(show_width(width), last)
        return (its.building + evaluations * its.evaluating) * self.seconds(width).usual / its.step.usual

    @cached_property
    def _peak(self) -> float:
        """Operations per second of a square product on this device, in the precision of the runs."""
        kind = torch.float32 if self.template.precision == "float32" else getattr(torch, self.template.precision)
        a = torch.ones(PEAK, PEAK, device=self.device, dtype=kind)
        fastest = math.inf
        for _ in range(4):
            synchronize(self.device)
            started = time.perf_counter()
            _ = a @ a
            synchronize(self.device)
            fastest = min(fastest, time.perf_counter() - started)
        return 2 * PEAK**3 / fastest

    def _try(self, plan: Plan, first: TimedStep | None) -> TimedStep:
        spec = replace(self.template, width=plan.width)
        with preserved_random_state():
            started = time.perf_counter()
            loop = TrainingLoop(spec, spec.accumulate, self.task, plan, self.device, silent)
            synchronize(self.device)
            built = time.perf_counter() - started
            if first is None:  # of wider ones it is in proportion
                loop.course.begin(loop.model)
                synchronize(self.device)
            evaluated = time.perf_counter() - started - built
            with FlopCounterMode(display=False) as counter:
                loop.step(0)
            seconds: list[float] = []
            while len(seconds) < 2 or (len(seconds) < STEPS and sum(seconds) < ENOUGH):
                synchronize(self.device)
                started = time.perf_counter()
                loop.step(min(len(seconds) + 1, spec.steps - 1))
                synchronize(self.device)
                seconds.append(time.perf_counter() - started)
        usual = sorted(seconds)[(len(seconds) - 1) // 2]
        return TimedStep(
            flops=float(counter.get_total_flops()),
            building=built,
            step=Estimate(usual, min(seconds), max(seconds)),
            evaluating=evaluated if first is None else first.evaluating * usual / first.step.usual,
        )


def _n_parameters(plan: Plan) -> int:
    return sum(math.prod(shape) for shape in plan.shapes.values())
