"""The one training loop: RunSpec -> RunResult. Divergence and lack of memory are outcomes, not crashes."""

from __future__ import annotations

import gc
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from mutransfer.errors import BuildError, ExampleError, PlanError
from mutransfer.measure.probes import MAX_EXAMPLES, activations, evaluating, relative_changes
from mutransfer.parameterization.apply import apply
from mutransfer.parameterization.building import build_at, preserved_random_state, seed_everything, show_width
from mutransfer.parameterization.clipping import clip_grad_norm_
from mutransfer.parameterization.examples import NOT_SEEN
from mutransfer.parameterization.groups import set_lr
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.rules import Parameterization, Role
from mutransfer.training.events import Scalars, Sink, silent
from mutransfer.training.memory import is_out_of_memory
from mutransfer.training.optimizers import lr_factor, make_optimizer
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.task import PROBE_SEED, Task, batch_size, few, label_of, split, to_device

CHECK_EVERY = 10  # steps between looks at the loss, each of which waits for the device
LOG_EVERY = 10


def run(
    spec: RunSpec,
    task: Task,
    *,
    plan: Plan | None = None,
    device: torch.device | str = "cpu",
    sink: Sink = silent,
) -> RunResult:
    """Train ``task`` as ``spec`` says. The global random state is left untouched.

    Args:
        plan: the Plan of this width, where it is at hand; None infers it.
        device: where to train.
        sink: receives :class:`Scalars` while training.

    A run that exhausts the memory is repeated with twice as many micro-batches, down to one example each.
    """
    with preserved_random_state():
        if plan is None:
            plan = infer_plan(spec, task)
        _check_plan(plan, spec)
        started = time.perf_counter()
        accumulate, limit = spec.accumulate, batch_size(task.batch(spec.seed, 0))
        where = torch.device(device)
        while (result := _unless_out_of_memory(spec, accumulate, task, plan, where, sink)) is None:
            if accumulate >= limit:
                nothing = math.inf
                result = RunResult(
                    outcome=Outcome.OUT_OF_MEMORY, initial_loss=nothing, final_loss=nothing, best_loss=nothing
                )
                break
            accumulate = min(2 * accumulate, limit)
        seconds = time.perf_counter() - started
        return replace(result, seconds=seconds, accumulate=accumulate, device=str(device))


def infer_plan(spec: RunSpec, task: Task, *, table: Parameterization | None = None) -> Plan:
    """The plan that a spec names; ``table`` is the user's own parameterization of that name, if it is one."""
    infer = partial(
        Plan.infer,
        task.build,
        width=spec.width,
        base_width=spec.base_width,
        parameterization=table or spec.parameterization,
        optimizer=spec.optimizer,
        form=spec.form,
        wd_policy=spec.wd_policy,
        scale_eps=spec.scale_eps,
        overrides=getattr(task, "overrides", None),
    )
    try:
        plan = infer(example=lambda model: task.loss(model, few(task.batch(PROBE_SEED, 0))))
    except ExampleError as error:  # training will say what is wrong, or has another outcome for it
        logging.getLogger("mutransfer").warning("%s. %s", error, NOT_SEEN)
        plan = infer()
    if spec.width != spec.base_width and all(scaling.role is Role.SCALAR for scaling in plan.values()):
        raise BuildError(
            f"no parameter of {label_of(task)} changes its shape between width {show_width(spec.base_width)} and "
            f"{show_width(spec.width)}: its build ignores the width, so there is nothing to transfer"
        )
    return plan


def _check_plan(plan: Plan, spec: RunSpec) -> None:
    for name in ("width", "base_width", "parameterization", "optimizer", "form", "wd_policy", "scale_eps"):
        if getattr(plan, name) != getattr(spec, name):
            raise PlanError(f"the plan is for {name} {getattr(plan, name)}, the run for {getattr(spec, name)}")


def _unless_out_of_memory(spec: RunSpec, accumulate: int, *rest: Any) -> RunResult | None:
    """The result of one attempt, or None where it exhausted the memory, which is then free again."""
    try:
        return _Attempt(spec, accumulate, *rest).train()
    except (RuntimeError, MemoryError, BuildError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


class _Attempt:
    """One pass over the steps at one number of micro-batches."""

    def __init__(
        self, spec: RunSpec, accumulate: int, task: Task, plan: Plan, device: torch.device, sink: Sink
    ) -> None:
        self.spec, self.accumulate, self.task, self.device, self.sink = spec, accumulate, task, device, sink
        self.plan = plan
        seed_everything(spec.seed)
        self.model: nn.Module = apply(build_at(task.build, spec.width), plan).to(device)
        self.optimizer = make_optimizer(self.model, plan, spec)
        self.scaler = torch.amp.GradScaler(device.type, enabled=spec.precision == "float16")

    def train(self) -> RunResult:
        probe = split(to_device(self.task.batch(PROBE_SEED, 0), self.device), self.accumulate)
        before = self._activations(probe)
        initial = self._evaluate()
        evaluations, losses = [(0, initial)], []
        n_parameters = sum(p.numel() for p in self.model.parameters())
        diverged = False
        for step in range(self.spec.steps):
            losses.append(self._step(step))
            last = step + 1 == self.spec.steps
            if step % CHECK_EVERY == 0 or last:
                recent = torch.stack(losses[-CHECK_EVERY:])
                if not bool(torch.isfinite(recent).all()):
                    diverged = True
                    break
            if step % LOG_EVERY == 0 or last:
                values = {"train/loss": float(losses[-1]), "lr": self._lr(step)}
                self.sink(Scalars(spec=self.spec, step=step + 1, values=values))
            if last or (self.spec.eval_every and (step + 1) % self.spec.eval_every == 0):
                evaluations.append((step + 1, self._evaluate()))
                self.sink(Scalars(spec=self.spec, step=step + 1, values={"val/loss": evaluations[-1][1]}))
        final = evaluations[-1][1]
        diverged = diverged or not math.isfinite(final) or final > initial
        after = self._activations(probe)
        return RunResult(
            outcome=Outcome.DIVERGED if diverged else Outcome.OK,
            initial_loss=initial,
            final_loss=math.inf if diverged else final,
            best_loss=min((loss for _, loss in evaluations if math.isfinite(loss)), default=math.inf),
            train_curve=tuple(torch.stack(losses).tolist()),
            eval_curve=tuple(evaluations),
            movement={n: x for n, x in relative_changes(before, after).items() if math.isfinite(x)},
            n_parameters=n_parameters,
        )

    def _step(self, step: int) -> torch.Tensor:
        set_lr(self.optimizer, self._lr(step))
        batch = to_device(self.task.batch(self.spec.seed, step), self.device)
        pieces = [batch] if self.accumulate == 1 else split(batch, self.accumulate)
        total = batch_size(batch)
        loss = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for piece in pieces:
            with self._autocast():
                part = self.task.loss(self.model, piece) * (batch_size(piece) / total)
            self.scaler.scale(part).backward()
            loss += part.detach()
        if self.spec.clip_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model, self.plan, self.spec.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _lr(self, step: int) -> float:
        """The learning rate at base width; the plan's groups have theirs in a fixed ratio to it."""
        spec = self.spec
        return spec.lr * lr_factor(step, steps=spec.steps, schedule=spec.schedule, warmup_steps=spec.warmup_steps)

    def _evaluate(self) -> float:
        with evaluating(self.model):
            return float(self.task.evaluate(self.model))

    def _activations(self, pieces: list[Any]) -> dict[str, torch.Tensor]:
        """Those of the whole batch, by as many examples at a time as training can hold."""
        found = [activations(self.model, lambda piece=piece: self.task.loss(self.model, piece)) for piece in pieces]
        return {name: torch.cat([torch.atleast_1d(f[name]) for f in found])[:MAX_EXAMPLES] for name in found[0]}

    def _autocast(self) -> Any:
        if self.spec.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.spec.precision))
