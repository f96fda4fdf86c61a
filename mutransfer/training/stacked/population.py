"""Many runs of one width as one program: the steps of :mod:`~mutransfer.training.run` with a leading member axis."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from mutransfer.errors import StackError
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.parameterization.model.factory import build_at
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.random_state import seed_everything
from mutransfer.training.batches import batch_of, batch_size, split_batch, to_device
from mutransfer.training.events import Sink, silent
from mutransfer.training.extra_hyperparameters import forward_hyperparameters, weight_decay, with_hyperparameters
from mutransfer.training.history import Course, autocast
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.out_of_memory import is_out_of_memory
from mutransfer.training.schedules import lr_factor
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.stacked.dropout import MemberDropout, rng_state
from mutransfer.training.stacked.member_batch import MemberBatch, member_batch
from mutransfer.training.stacked.member_factors import MemberFactors
from mutransfer.training.stacked.optimizer import StackedOptimizer, StepCoefficients
from mutransfer.training.stacked.stack import Stack
from mutransfer.training.task import Task

AGREEMENT = {"float32": 1e-3, "bfloat16": 5e-2}  # relative; far above rounding and far below another loss
# Fields in which members of a population may differ.
OWN = ("hyperparameters", "seed", "schedule", "warmup_steps", "watched")
TraceableStep = Callable[..., Tensor]


class Population:
    """Members that differ in hyperparameters, schedule and seed, trained in step.

    Each has the numbers of its own :func:`~mutransfer.training.run.run` to rounding: it is built from its seed, sees
    the batches of its seed, draws its own dropout masks and has its own learning rate at every step. A member that
    diverges leaves with its result, and the others go on.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        task: Task,
        *,
        plan: Plan,
        device: torch.device | str = "cpu",
        sink: Sink = silent,
    ) -> None:
        """Build the members. Changes the global random state.

        Raises :class:`~mutransfer.errors.StackError` where the model cannot be stacked, or is not the same then.
        """
        self.specs, self.task, self.device = tuple(specs), task, torch.device(device)
        self.common = _common(self.specs, plan)  # what all members agree on
        in_forward = {
            n: x for n in forward_hyperparameters(plan) if (x := self.common.hyperparameters.get(n)) is not None
        }
        plans = [with_hyperparameters(plan, spec.hyperparameters) for spec in specs]
        self.plan = plan = with_hyperparameters(plan, in_forward)
        self._started = time.perf_counter()
        self._seeds = list(dict.fromkeys(spec.seed for spec in specs))
        models, states = [], []
        for seed in self._seeds:
            seed_everything(seed)
            models.append(apply(build_at(task.build, self.common.width), plan).to(self.device))
            states.append(rng_state(self.device))
        self._streams = [self._seeds.index(spec.seed) for spec in specs]
        self.stack = Stack(models, self._streams, task, MemberDropout(states, self._streams, self.device))
        self._check_agreement(models)
        own = MemberFactors.from_specs(self.specs, plan)
        inits = own.inits()
        self.stack.multiply({n: inits[s.role] for n, s in plan.items() if s.role in inits})
        self.optimizer = StackedOptimizer(
            optimizer_rule(self.common.optimizer),
            plan,
            self.stack.parameters,
            [{**spec.hyperparameters, "weight_decay": weight_decay(spec.hyperparameters)} for spec in specs],
            own.of_steps(),
        )
        self.alive = list(range(len(specs)))  # the member in each row
        self.compiled: TraceableStep | None = None  # of traceable_step(), used while nobody has left
        self.courses = [
            Course(spec, task, plan_, accumulate=spec.accumulate, device=self.device, sink=sink)
            for spec, plan_ in zip(specs, plans, strict=True)
        ]
        # What a member starts from: its seed's model, and its own scales on that.
        self._starts = [(s, *(float(column[i]) for column in inits.values())) for i, s in enumerate(self._streams)]

    @property
    def n_starts(self) -> int:
        """Number of different models that the members start from."""
        return len(set(self._starts))

    def train(self) -> Iterator[tuple[RunSpec, RunResult]]:
        """Train to the end; yields every member's result as soon as it is known."""
        first: dict[tuple[float, ...], Course] = {}  # of those that start from the same model
        for row, (start, course) in enumerate(zip(self._starts, self.courses, strict=True)):
            known = first.get(start)
            if known is None or (course.spec.watched and known.movement is None):
                first[start] = course
            course.begin(self.stack.member(row), like=known)
        recent: list[Tensor] = []
        for step in range(self.common.steps):
            recent.append(self.step(step))
            if self.courses[0].looks(step):
                losses = torch.stack(recent, dim=1).tolist()  # the one wait for the device
                recent = []
                on = [self.courses[i].look(step, values) for i, values in zip(self.alive, losses, strict=True)]
                yield from self._leave([row for row, goes in enumerate(on) if not goes], diverged=True)
            for row, member in enumerate(self.alive):
                if self.courses[member].watches(step):
                    self.courses[member].watch(step, self.stack.member(row))
            if self.courses[0].evaluates(step):
                for row, member in enumerate(self.alive):
                    self.courses[member].evaluate(step, self.stack.member(row))
            if not self.alive:
                return
        yield from self._leave(range(len(self.alive)), diverged=False)

    def step(self, step: int) -> Tensor:
        """One update of all members; returns their losses before it (members,), without waiting for the device."""
        pieces = self._pieces(step)
        if self.compiled is not None and len(self.alive) == len(self.specs):
            ((_, batch),) = pieces
            with self.stack.attention():
                return self.compiled(*self._state(), batch.leaves, self._coefficients(step))
        losses, gradients = self._gradients(pieces)
        with torch.no_grad():
            coefficients = self._coefficients(step)
            gradients = clip_gradients(gradients, self.plan, self.common.clip_norm, coefficients)
            self.optimizer.step(self.stack.parameters, gradients, self.optimizer.slots, coefficients)
        return losses

    def traceable_step(self) -> TraceableStep:
        """(parameters, others, slots, leaves of a batch, coefficients) -> losses, changing state in place.

        A function for a compiler, the same for every population of this architecture with as many members and seeds.

        Raises StackError where it would not be the same: micro-batches, dropout, autocast.
        """
        if self.common.accumulate > 1 or self.common.precision != "float32":
            raise StackError("steps of several micro-batches or in mixed precision are not compiled")
        ((_, like),) = self._pieces(0)
        drawn = self.stack.dropout.drawn
        with self.stack.unchanged():
            _, gradients = self.stack.gradients(like, autocast(self.common, self.device))
        if self.stack.dropout.drawn > drawn:
            raise StackError("members draw their own dropout masks, which a compiler does not follow")
        trained = list(gradients)  # a parameter without a gradient is left alone
        gradients_of, optimizer = self.stack.traceable_gradients(like), self.optimizer
        plan, clip_norm = self.plan, self.common.clip_norm

        def step(parameters: Any, others: Any, slots: Any, leaves: Any, coefficients: Any) -> Tensor:
            losses, found = gradients_of(parameters, others, leaves)
            gradients = clip_gradients({n: found[n] for n in trained}, plan, clip_norm, coefficients)
            optimizer.step(parameters, gradients, slots, coefficients)
            return losses

        return step

    def step_arguments(self) -> tuple[Any, ...]:
        """Copies of what the traceable step is called with at first."""
        ((_, batch),) = self._pieces(0)
        return tree_map_only(Tensor, torch.clone, (*self._state(), batch.leaves, self._coefficients(0)))

    def _state(self) -> tuple[Any, ...]:
        return self.stack.parameters, self.stack.others, self.optimizer.slots

    def _coefficients(self, step: int) -> StepCoefficients:
        like = next(iter(self.stack.parameters.values()))
        return self.optimizer.coefficients(self._lr_factors(step), step, like)

    def _gradients(self, pieces: Sequence[tuple[float, MemberBatch]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses, and gradients of the mean loss over micro-batches."""
        losses, gradients = torch.zeros(len(self.alive), device=self.device), {}
        for weight, batch in pieces:
            part, found = self.stack.gradients(batch, autocast(self.common, self.device))
            losses = losses + part * weight
            for name, gradient in found.items():
                scaled = gradient if weight == 1 else gradient * weight
                gradients[name] = gradients[name] + scaled if name in gradients else scaled
        return losses, gradients

    def _pieces(self, step: int) -> list[tuple[float, MemberBatch]]:
        """The step's micro-batches, each with its share of the examples."""
        streams = [self._streams[member] for member in self.alive]
        size = self.common.batch_size
        batches = {
            s: to_device(batch_of(self.task, self._seeds[s], step, size), self.device) for s in sorted(set(streams))
        }
        order = list(batches)
        pieces = [
            split_batch(b, self.common.accumulate) if self.common.accumulate > 1 else [b] for b in batches.values()
        ]
        if len({tuple(map(batch_size, p)) for p in pieces}) > 1:
            raise StackError("the batches of the seeds differ in size")
        total = sum(map(batch_size, pieces[0]))
        rows = [order.index(s) for s in streams]
        return [(batch_size(p[0]) / total, member_batch(p, rows)) for p in zip(*pieces, strict=True)]

    def _lr_factors(self, step: int) -> np.ndarray:
        steps = self.common.steps
        known: dict[tuple[str, int], float] = {}
        for member in self.alive:
            key = self.specs[member].schedule, self.specs[member].warmup_steps
            if key not in known:
                known[key] = lr_factor(step, steps=steps, schedule=key[0], warmup_steps=key[1])
        return np.array([known[self.specs[m].schedule, self.specs[m].warmup_steps] for m in self.alive])

    def _leave(self, rows: Sequence[int], *, diverged: bool) -> Iterator[tuple[RunSpec, RunResult]]:
        for row in rows:
            spec = self.specs[self.alive[row]]
            result = self.courses[self.alive[row]].result(self.stack.member(row), diverged=diverged)
            seconds = (time.perf_counter() - self._started) / len(self.specs)  # a member's share of the time
            yield spec, replace(result, seconds=seconds, accumulate=spec.accumulate, device=str(self.device))
        if rows:
            left = [row for row in range(len(self.alive)) if row not in rows]
            self.alive = [self.alive[row] for row in left]
            if left:
                self.stack.keep(torch.tensor(left))
                self.optimizer.keep(torch.tensor(left))

    def _check_agreement(self, models: Sequence[nn.Module]) -> None:
        """Refuse a model whose members have another loss than it has: one that keeps state out of torch's sight."""
        batches = [to_device(self.task.batch(seed, 0), self.device) for seed in self._seeds]
        stacked = self.stack.losses(member_batch(batches, self._streams)).tolist()
        for i, model in enumerate(models):
            try:
                with torch.no_grad(), evaluating(model):
                    alone = float(self.task.loss(model, batches[i]))
            except RuntimeError as error:  # tensors of all members that the model kept as attributes
                if is_out_of_memory(error):
                    raise
                raise StackError(f"the model does not run alone after the stack: {error}") from error
            found = stacked[self._streams.index(i)]
            if math.isfinite(alone) and not abs(found - alone) <= AGREEMENT["float32"] * abs(alone):
                raise StackError(f"the loss of seed {self._seeds[i]} is {found:.6g} in the stack and {alone:.6g} alone")


def clip_gradients(
    gradients: dict[str, Tensor], plan: Plan, max_norm: float, coefficients: StepCoefficients
) -> dict[str, Tensor]:
    """Clip every member's gradients by its own norm, as
    :func:`~mutransfer.parameterization.groups.clipping.clip_grad_norm_` does for a run alone.
    """
    if not max_norm:
        return gradients
    squares = [
        g.flatten(1).pow(2).sum(1, keepdim=True)
        * (plan[n].norm_mult or 1.0)
        * coefficients.factors.get(plan[n].role, {}).get("norm", 1.0)
        for n, g in gradients.items()
    ]
    scale = (max_norm / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1.0)
    return {n: g * scale.view(-1, *[1] * (g.ndim - 1)) for n, g in gradients.items()}


def _common(specs: Sequence[RunSpec], plan: Plan) -> RunSpec:
    """The first spec, or StackError where the others differ in more than what members may differ in."""
    first = specs[0]
    for spec in specs[1:]:
        if replace(spec, **{name: getattr(first, name) for name in OWN}) != first:
            raise StackError("members may differ in hyperparameters, seed, schedule and warmup alone")
        for name in forward_hyperparameters(plan):
            if spec.hyperparameters.get(name) != first.hyperparameters.get(name):
                raise StackError(f"members that differ in {name} have different forward passes")
    if first.precision == "float16":
        raise StackError("float16 scales each run's loss by its own history")
    return first
