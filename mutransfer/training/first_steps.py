"""A few steps of training, and what they did to every module: the measurements of a coordinate check."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.errors import MutransferError
from mutransfer.measure import updates
from mutransfer.measure.activations import evaluating, floats, root_mean_square
from mutransfer.measure.buffers import held_buffers
from mutransfer.measure.gradients import rounding_shares
from mutransfer.measure.quantities import Quantity
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.random_state import preserved_random_state
from mutransfer.training.batches import to_device
from mutransfer.training.events import silent
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.population import Population
from mutransfer.training.task import PROBE_SEED, Task
from mutransfer.training.training_loop import TrainingLoop

log = logging.getLogger("mutransfer")

SMALL = 2**22  # parameters of all members together: beyond, a stack gains nothing over a few steps

Numbers = dict[str, float]


@dataclass(frozen=True)
class FirstSteps:
    """One seed's first steps, by step and then by quantity.

    Modules have a size, change and its two parts at every look, and at step 0 a spread and the size of their input;
    parameters have the rounding in their gradient at step 0, an update and a gradient at the first look; attention has
    logits, by path.
    """

    outputs: dict[str, Tensor]  # before the first step
    looks: dict[int, dict[Quantity, Numbers]] = field(default_factory=dict)


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

    if len(specs) > 1 and len(specs) * sum(map(math.prod, plan.shapes.values())) <= SMALL:
        try:
            together = Population(specs, task, plan=plan, device=device)
            rows = range(len(specs))
            watchers = [_Watcher(task, probe, together.stack.member(row), specs[0].steps, attention) for row in rows]
            for step in range(specs[0].steps):
                together.step(step)
                if step + 1 in looks:
                    for row, watcher in zip(rows, watchers, strict=True):
                        watcher.look(together.stack.member(row), step + 1)
            yield from (watcher.steps_taken for watcher in watchers)
            return
        except Exception as error:  # a user's mistake too: the run alone says it in their words
            log.info("seeds are trained one by one: %s: %s", type(error).__name__, error)
    for spec in specs:
        alone = TrainingLoop(spec, 1, task, plan, device, silent)
        watcher = _Watcher(task, probe, alone.model, spec.steps, attention)
        for step in range(spec.steps):
            alone.step(step)
            if step + 1 in looks:
                watcher.look(alone.model, step + 1)
        yield watcher.steps_taken


def attention_logits(task: Task, model: nn.Module, probe: Any) -> dict[str, tuple[int, Tensor]]:
    """Head size and logits (after their scale) of every attention in the loss; empty where that cannot be followed."""
    with evaluating(model):
        try:
            attention = trace(model, lambda m: task.loss(m, probe)).attention
        except MutransferError:
            return {}
    return {path: (a.head_size, a.logits) for path, a in attention.items() if a.logits.shape[-1] > 1}


class _Watcher:
    """Compares one model, which is handed in every time, with what it was."""

    def __init__(self, task: Task, probe: Any, model: nn.Module, steps: int, attention: bool) -> None:
        self.task, self.probe, self.steps, self.attention = task, probe, steps, attention
        self.start = updates.start(model, lambda: task.loss(model, probe), inputs=True)
        self.steps_taken = FirstSteps(dict(self.start.outputs))
        sizes = {path: root_mean_square(x) for path, x in self.start.outputs.items()}
        spread = {path: root_mean_square(_centred(x)) for path, x in self.start.outputs.items() if x.ndim > 1}
        named = {Quantity.SIZE: sizes, Quantity.SPREAD: spread, Quantity.INPUT: dict(self.start.input_sizes)}
        with held_buffers(model, self.start.buffers):
            self._note(0, named | {Quantity.ROUNDING: self._rounding(model)} | self._logits(model))

    def look(self, model: nn.Module, step: int) -> None:
        """Measure with the buffers that there were before the first step: theory says how parameters move outputs."""
        with held_buffers(model, self.start.buffers):
            self._look(model, step)

    def _look(self, model: nn.Module, step: int) -> None:
        responses = updates.output_changes(model, self.start, lambda: self.task.loss(model, self.probe))
        quantities = {
            quantity: {path: getattr(r, quantity) for path, r in responses.items()}
            for quantity in (Quantity.SIZE, Quantity.CHANGE, Quantity.EFFECTIVE, Quantity.PROPAGATED)
        }
        if len(self.steps_taken.looks) == 1:  # the first: only now is each update the doing of its own parameter alone
            own_updates = updates.own_updates(model, self.start)
            quantities |= {Quantity.UPDATE: own_updates, Quantity.GRADIENT: self._gradients(model)}
        self._note(step, quantities | (self._logits(model) if step == self.steps else {}))

    def _gradients(self, model: nn.Module) -> dict[str, Tensor]:
        parameters = _trained(model)
        try:
            with evaluating(model):
                loss = self.task.loss(model, self.probe)
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        except RuntimeError as error:  # code that trains may have no gradient in eval mode: recurrent layers of cuDNN
            log.info("gradients, and so eps, are not measured: %s", error)
            return {}
        return {n: root_mean_square(g) for n, g in zip(parameters, gradients, strict=True) if g is not None}

    def _rounding(self, model: nn.Module) -> dict[str, Tensor]:
        """Shares in the mode in which the model is trained: a norm over the batch is one in train mode alone."""
        try:
            with preserved_random_state(), torch.enable_grad():
                return rounding_shares(self.task.loss(model, self.probe), _trained(model))
        except RuntimeError as error:  # code that frees its graph itself
            log.info("rounding in gradients is not measured: %s", error)
            return {}

    def _logits(self, model: nn.Module) -> dict[Quantity, dict[str, Tensor]]:
        if not self.attention:
            return {}
        heads = attention_logits(self.task, model, self.probe)
        return {Quantity.LOGITS: {path: root_mean_square(logits) for path, (_, logits) in heads.items()}}

    def _note(self, step: int, quantities: dict[Quantity, dict[str, Tensor]]) -> None:
        """Read all numbers of a look in one wait for the device."""
        values = iter(floats([x for named in quantities.values() for x in named.values()]))
        self.steps_taken.looks[step] = {q: {n: next(values) for n in named} for q, named in quantities.items()}


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def _centred(output: Tensor) -> Tensor:
    """The output less what is the same for all examples."""
    rows = output.float().flatten(0, -2)
    return rows - rows.mean(dim=0)
