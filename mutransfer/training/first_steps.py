"""A few steps of training, and what they did to every module: the measurements of a coordinate check."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mutransfer.parameterization.measuring.watcher import FirstSteps, Watcher
from mutransfer.parameterization.plan import Plan
from mutransfer.training.batches import to_device
from mutransfer.training.events import silent
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.population import Population
from mutransfer.training.task import PROBE_SEED, Task
from mutransfer.training.training_loop import TrainingLoop

SMALL = 2**22  # parameters of all members together: beyond, a stack gains nothing over a few steps


def first_steps(
    specs: Sequence[RunSpec], task: Task, plan: Plan, device: torch.device, looks: Sequence[int], *, attention: bool
) -> Iterator[FirstSteps]:
    """Train each of ``specs``, which differ in their seed, and measure what that does. Changes the global random state.

    Args:
        looks: after which steps to measure, besides before the first.
        attention: whether to measure the logits of attention too, before the first and after the last step.

    Small models are trained together where they can be stacked, others one by one.
    """
    probe = to_device(task.batch(PROBE_SEED, 0), device)
    steps = specs[0].steps

    def loss(model: nn.Module) -> Tensor:
        return task.loss(model, probe)

    def stacked() -> list[FirstSteps]:
        together = Population(specs, task, plan=plan, device=device)
        rows = range(len(specs))
        watchers = [Watcher(together.stack.member(row), loss, attention=attention) for row in rows]
        for row, watcher in zip(rows, watchers, strict=True):
            watcher.begin(together.stack.member(row))
        for step in range(steps):
            together.step(step)
            if step + 1 in looks:
                for row, watcher in zip(rows, watchers, strict=True):
                    watcher.look(together.stack.member(row), step + 1, last=step + 1 == steps)
        return [watcher.steps_taken for watcher in watchers]

    if len(specs) > 1 and len(specs) * sum(map(math.prod, plan.shapes.values())) <= SMALL:
        try:
            yield from stacked()
            return
        except Exception as error:  # a user's mistake too: the run alone says it in their words
            logging.getLogger("mutransfer").info("seeds are trained one by one: %s: %s", type(error).__name__, error)
    for spec in specs:
        alone = TrainingLoop(spec, 1, task, plan, device, silent)
        watcher = Watcher(alone.model, loss, attention=attention)
        watcher.begin(alone.model)
        for step in range(steps):
            alone.step(step)
            if step + 1 in looks:
                watcher.look(alone.model, step + 1, last=step + 1 == steps)
        yield watcher.steps_taken
