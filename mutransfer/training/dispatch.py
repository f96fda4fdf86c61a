"""Doing many runs in the least time: one by one, or together as populations, compiled where that pays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from mutransfer.errors import StackError
from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state
from mutransfer.training.events import Note, RunStarted, Sink, silent
from mutransfer.training.extra_hyperparameters import forward_hyperparameters
from mutransfer.training.out_of_memory import free_memory, is_out_of_memory
from mutransfer.training.run import run
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.stacked.compiling import CompiledSteps
from mutransfer.training.stacked.costs import Costs, even_parts
from mutransfer.training.stacked.population import Population
from mutransfer.training.stacked.timing import measure_costs
from mutransfer.training.task import Task, label_of
from mutransfer.widths import show_width

log = logging.getLogger("mutransfer")


class Dispatcher:
    """Does runs of one task on one device."""

    # What was timed in this process, by task, device, threads and program: it serves tuner and verifier alike.
    _timed: ClassVar[dict[tuple[object, ...], Costs]] = {}

    def __init__(self, task: Task, *, device: torch.device, sink: Sink = silent, members: int | None = None) -> None:
        """``members``: the most runs to train as one program; None: what is fastest and fits; 1: one by one."""
        self.task, self.device, self.sink, self.most = task, device, sink, members
        self._steps = CompiledSteps()

    def perform(
        self, specs: Sequence[RunSpec], plan_of: Callable[[RunSpec], Plan]
    ) -> Iterator[tuple[RunSpec, RunResult]]:
        """Results as soon as they are known. What is asked for together is trained together where that is faster."""
        groups: dict[str, list[RunSpec]] = {}
        for spec in specs:
            groups.setdefault(_program(spec, plan_of(spec)).key, []).append(spec)
        for group in groups.values():
            yield from self._group(group, plan_of(group[0]))

    def costs(self, specs: Sequence[RunSpec], plan: Plan) -> Costs:
        """Costs of a step of these runs, alike but for hyperparameters, schedule and seed, alone and together."""
        # A parameterization's factors cost the same, whatever they are.
        program = replace(_program(specs[0], plan), base_width=specs[0].width, steps=1, eval_every=0).key
        key = label_of(self.task), self.device, torch.get_num_threads(), self.most, program
        if key not in self._timed:
            costs = measure_costs(specs, self.task, plan=plan, device=self.device, most=self.most)
            if not costs.known:
                return costs
            self._timed[key] = costs
            runs, steps = len(specs), specs[0].steps
            how = f"width {show_width(specs[0].width)}: {costs.describe(runs, steps)}"
            self.sink(Note(text=how, data={"members": costs.members(runs, steps)}))
        return self._timed[key]

    def _group(self, specs: Sequence[RunSpec], plan: Plan) -> Iterator[tuple[RunSpec, RunResult]]:
        costs = self.costs(specs, plan)
        members = costs.members(len(specs), specs[0].steps)
        left = list(specs)
        while left and members > 1:
            part = left[: even_parts(len(left), members)[0]]
            if len(part) < 2:
                break
            done: set[str] = set()
            too_large = False
            try:
                with preserved_random_state():
                    for spec, result in self._together(part, plan, costs, len(left)):
                        done.add(spec.key)
                        yield spec, result
            except StackError as error:
                log.warning("runs of width %s are trained one by one: %s", show_width(part[0].width), error)
                members = 1
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                too_large = True
            if too_large:
                free_memory()
                members = len(part) // 2
                log.info("%d runs do not fit into memory together; trying %d", len(part), members)
            left = [spec for spec in left if spec.key not in done]
        for spec in left:
            self.sink(RunStarted(spec=spec))
            yield spec, run(spec, self.task, plan=plan, device=self.device, sink=self.sink)

    def _together(
        self, specs: Sequence[RunSpec], plan: Plan, costs: Costs, runs: int
    ) -> Iterator[tuple[RunSpec, RunResult]]:
        population = Population(specs, self.task, plan=plan, device=self.device, sink=self.sink)
        steps = specs[0].steps * (runs // len(specs))
        self._steps.equip(population, costs, steps=steps)
        if population.compiled is None and not costs.eager_pays(len(specs), len(specs), specs[0].steps):
            raise StackError("a stack is slower than they are, and compiling it did not change that")
        for spec in specs:
            self.sink(RunStarted(spec=spec))
        yield from population.train()


def _program(spec: RunSpec, plan: Plan) -> RunSpec:
    """The spec less all in which members of one population may differ."""
    own = {name: x for name in forward_hyperparameters(plan) if (x := spec.hyperparameters.get(name)) is not None}
    return replace(spec, hyperparameters={"lr": 1.0, **own}, seed=0, schedule="constant", warmup_steps=0)
