"""The one training loop: RunSpec -> RunResult. Divergence and lack of memory are outcomes, not crashes."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.measure.probes import activations, relative_changes
from mutransfer.parameterization.apply import apply
from mutransfer.parameterization.building import build_at, preserved_random_state, seed_everything
from mutransfer.parameterization.groups import set_lr
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.rules import Parameterization
from mutransfer.training.events import Scalars, Sink, silent
from mutransfer.training.optimizers import lr_factor, make_optimizer
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.task import PROBE_SEED, Task, batch_size, split, to_device

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
        elif (plan.width, plan.base_width) != (spec.width, spec.base_width):
            raise PlanError(f"the plan is for width {plan.width}, the run for {spec.width}")
        started = time.perf_counter()
        accumulate, limit = spec.accumulate, batch_size(task.batch(spec.seed, 0))
        while True:
            attempt = _Attempt(replace(spec, accumulate=accumulate), task, plan, torch.device(device), sink)
            try:
                result = attempt.train()
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
            else:
                break
            del attempt
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
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
    return Plan.infer(
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


class _Attempt:
    """One pass over the steps at one number of micro-batches."""

    def __init__(self, spec: RunSpec, task: Task, plan: Plan, device: torch.device, sink: Sink) -> None:
        self.spec, self.task, self.device, self.sink = spec, task, device, sink
        seed_everything(spec.seed)
        self.model: nn.Module = apply(build_at(task.build, spec.width), plan).to(device)
        self.optimizer = make_optimizer(self.model, plan, spec)
        self.scaler = torch.amp.GradScaler(device.type, enabled=spec.precision == "float16")

    def train(self) -> RunResult:
        probe = to_device(self.task.batch(PROBE_SEED, 0), self.device)
        before = activations(self.model, lambda: self.task.loss(self.model, probe))
        initial = self.task.evaluate(self.model)
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
                values = {"train/loss": float(losses[-1]), "lr": self.optimizer.param_groups[0]["lr"]}
                self.sink(Scalars(spec=self.spec, step=step + 1, values=values))
            if last or (self.spec.eval_every and (step + 1) % self.spec.eval_every == 0):
                evaluations.append((step + 1, self.task.evaluate(self.model)))
                self.sink(Scalars(spec=self.spec, step=step + 1, values={"val/loss": evaluations[-1][1]}))
        final = evaluations[-1][1]
        diverged = diverged or not math.isfinite(final) or final > initial
        after = activations(self.model, lambda: self.task.loss(self.model, probe))
        return RunResult(
            outcome=Outcome.DIVERGED if diverged else Outcome.OK,
            initial_loss=initial,
            final_loss=math.inf if diverged else final,
            best_loss=min(loss for _, loss in evaluations if math.isfinite(loss)),
            train_curve=tuple(torch.stack(losses).tolist()),
            eval_curve=tuple(evaluations),
            movement={n: x for n, x in relative_changes(before, after).items() if math.isfinite(x)},
            n_parameters=n_parameters,
        )

    def _step(self, step: int) -> torch.Tensor:
        spec = self.spec
        factor = lr_factor(step, steps=spec.steps, schedule=spec.schedule, warmup_steps=spec.warmup_steps)
        set_lr(self.optimizer, spec.lr * factor)
        batch = to_device(self.task.batch(spec.seed, step), self.device)
        pieces = [batch] if spec.accumulate == 1 else split(batch, spec.accumulate)
        total = batch_size(batch)
        loss = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for piece in pieces:
            with self._autocast():
                part = self.task.loss(self.model, piece) * (batch_size(piece) / total)
            self.scaler.scale(part).backward()
            loss += part.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _autocast(self) -> Any:
        if self.spec.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.spec.precision))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator and cuBLAS say so in a plain RuntimeError.
    return any(sign in str(error) for sign in ("can't allocate memory", "ALLOC_FAILED"))
