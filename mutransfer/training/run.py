"""The one training loop: RunSpec -> RunResult. Divergence and lack of memory are outcomes, not crashes."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mutransfer.errors import BuildError, PlanError
from mutransfer.parameterization.groups.clipping import clip_grad_norm_
from mutransfer.parameterization.groups.param_groups import set_lr
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.factory import build_at
from mutransfer.parameterization.multipliers.unscaled_sites import with_attention, with_readouts
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.theory.rules import Parameterization, Role
from mutransfer.training.batches import batch_of, batch_size, split, to_device
from mutransfer.training.events import Sink, silent
from mutransfer.training.extra_hyperparameters import multiplied
from mutransfer.training.history import Course, autocast, learning_rate
from mutransfer.training.optimizers.make import make_optimizer
from mutransfer.training.out_of_memory import free_memory, is_out_of_memory
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.training.task_plan import infer_for_task, task_example
from mutransfer.widths import show_width


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
        accumulate, limit = spec.accumulate, batch_size(batch_of(task, spec.seed, 0, spec.batch_size))
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
    plan = infer_for_task(
        task,
        width=spec.width,
        base_width=spec.base_width,
        parameterization=table or spec.parameterization,
        optimizer=spec.optimizer,
        form=spec.form,
        wd_policy=spec.wd_policy,
        scale_eps=spec.scale_eps,
    )
    if spec.width != spec.base_width and all(scaling.role is Role.SCALAR for scaling in plan.values()):
        raise BuildError(
            f"no parameter of {label_of(task)} changes its shape between width {show_width(spec.base_width)} and "
            f"{show_width(spec.width)}: its build ignores the width, so there is nothing to transfer"
        )
    builds = Builds(task.build, base=spec.base_width, target=spec.width)
    if spec.hyperparameters.get("output_mult", 1.0) != 1.0:
        plan = with_readouts(plan, builds)
    if spec.hyperparameters.get("attention_mult", 1.0) != 1.0:
        plan = with_attention(plan, builds, task_example(task))
    return plan


def _check_plan(plan: Plan, spec: RunSpec) -> None:
    for name in ("width", "base_width", "parameterization", "optimizer", "form", "wd_policy", "scale_eps"):
        if getattr(plan, name) != getattr(spec, name):
            raise PlanError(f"the plan is for {name} {getattr(plan, name)}, the run for {getattr(spec, name)}")


def _unless_out_of_memory(spec: RunSpec, accumulate: int, *rest: Any) -> RunResult | None:
    """The result of one attempt, or None where it exhausted the memory, which is then free again."""
    try:
        return Attempt(spec, accumulate, *rest).train()
    except (RuntimeError, MemoryError, BuildError) as error:
        if not is_out_of_memory(error):
            raise
    free_memory()
    return None


class Attempt:
    """One pass over the steps at one number of micro-batches."""

    def __init__(
        self, spec: RunSpec, accumulate: int, task: Task, plan: Plan, device: torch.device, sink: Sink
    ) -> None:
        self.spec, self.task, self.device = replace(spec, accumulate=accumulate), task, device
        self.plan = plan = multiplied(plan, spec.hyperparameters)
        seed_everything(spec.seed)
        self.model: nn.Module = apply(build_at(task.build, spec.width), plan).to(device)
        self.optimizer = make_optimizer(self.model, plan, spec)
        self.scaler = torch.amp.GradScaler(device.type, enabled=spec.precision == "float16")
        self.course = Course(spec, task, plan, accumulate=accumulate, device=device, sink=sink)

    def train(self) -> RunResult:
        self.course.begin(self.model)
        recent: list[torch.Tensor] = []
        for step in range(self.spec.steps):
            recent.append(self.step(step))
            if self.course.looks(step):
                if not self.course.look(step, torch.stack(recent).tolist()):
                    return self.course.result(self.model, diverged=True)
                recent = []
            if self.course.watches(step):
                self.course.watch(step, self.model)
            if self.course.evaluates(step):
                self.course.evaluate(step, self.model)
        return self.course.result(self.model, diverged=False)

    def step(self, step: int) -> torch.Tensor:
        """One update; returns the loss before it, without waiting for the device."""
        set_lr(self.optimizer, learning_rate(self.spec, step))
        batch = to_device(batch_of(self.task, self.spec.seed, step, self.spec.batch_size), self.device)
        pieces = [batch] if self.spec.accumulate == 1 else split(batch, self.spec.accumulate)
        total = batch_size(batch)
        loss = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for piece in pieces:
            with autocast(self.spec, self.device):
                part = self.task.loss(self.model, piece) * (batch_size(piece) / total)
            self.scaler.scale(part).backward()
            loss += part.detach()
        if self.spec.clip_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model, self.plan, self.spec.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss
