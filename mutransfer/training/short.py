"""A few steps of training, and the activations before and after them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mutransfer.errors import StackError
from mutransfer.measure.probes import activations
from mutransfer.parameterization.plan import Plan
from mutransfer.training.events import silent
from mutransfer.training.population import Population
from mutransfer.training.run import Attempt
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import PROBE_SEED, Task, to_device

SMALL = 2**22  # parameters of all members together: beyond, a stack gains nothing over a few steps

Activations = dict[str, Tensor]


def activations_around(
    specs: Sequence[RunSpec], task: Task, plan: Plan, device: torch.device
) -> Iterator[tuple[Activations, Activations]]:
    """(before, after) for each of ``specs``, which differ in their seed. Changes the global random state.

    Small models are trained together where they can be stacked, others one by one.
    """
    probe = to_device(task.batch(PROBE_SEED, 0), device)

    def look(model: nn.Module) -> Activations:
        return activations(model, lambda: task.loss(model, probe))

    if len(specs) > 1 and len(specs) * sum(map(math.prod, plan.shapes.values())) <= SMALL:
        try:
            together = Population(specs, task, plan=plan, device=device)
            rows = range(len(specs))
            before = [look(together.stack.member(row)) for row in rows]
            for step in range(specs[0].steps):
                together.step(step)
            yield from ((before[row], look(together.stack.member(row))) for row in rows)
            return
        except StackError as error:
            logging.getLogger("mutransfer").info("seeds are trained one by one: %s", error)
    for spec in specs:
        alone = Attempt(spec, 1, task, plan, device, silent)
        start = look(alone.model)
        for step in range(spec.steps):
            alone.step(step)
        yield start, look(alone.model)
