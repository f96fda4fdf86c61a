"""Compiling a population's step, where the time that it saves is predicted to be more than the time that it takes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import torch

from mutransfer.training.stacked.costs import MARGIN, Costs
from mutransfer.training.stacked.population import Population, TraceableStep
from mutransfer.training.stacked.timing import synchronize

log = logging.getLogger("mutransfer")


@dataclass
class CompiledSteps:
    """Compiled steps by what they were compiled for; None where that failed or was slower."""

    _known: dict[tuple[object, ...], TraceableStep | None] = field(default_factory=dict)

    def equip(self, population: Population, costs: Costs, *, steps: int) -> None:
        """Give the population a compiled step where it pays over ``steps`` steps of its size.

        Compiling and timing use copies of the state. A compiler that is missing or fails is logged, and training goes
        on without.
        """
        members = len(population.specs)
        key = (
            population.common.key,
            members,
            len({s.seed for s in population.specs}),
            population.optimizer.factors.varying,
        )
        if key not in self._known:
            if steps < costs.break_even(members):
                return
            self._known[key] = compiled(population, costs.of(members))
        population.compiled = self._known[key]


def compiled(population: Population, eager_seconds: float) -> TraceableStep | None:
    """The compiled step of such populations, None where compiling fails or gains nothing over ``eager_seconds``."""
    started = time.perf_counter()
    try:
        step = torch.compile(population.traceable_step(), fullgraph=True, dynamic=False)
        arguments = population.step_arguments()
        with population.stack.attention():
            step(*arguments)
            took = time.perf_counter() - started
            seconds = []
            for _ in range(3):
                synchronize(population.device)
                started = time.perf_counter()
                step(*arguments)
                synchronize(population.device)
                seconds.append(time.perf_counter() - started)
    except Exception as error:  # whatever a compiler may fail with
        log.warning("the population is not compiled: %s", str(error).strip().splitlines()[0][:200])
        return None
    gain = eager_seconds / min(seconds)
    log.info("compiled in %.1f s; a step takes %.2g ms, %.2fx faster", took, 1e3 * min(seconds), gain)
    return step if gain > 1 / MARGIN else None
