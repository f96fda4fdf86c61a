"""The one training loop, of a run alone; :mod:`~mutransfer.training.stacked.population` takes its steps for many."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mutransfer.parameterization.groups.clipping import clip_grad_norm_
from mutransfer.parameterization.groups.param_groups import set_lr
from mutransfer.parameterization.model.factory import build_at
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.random_state import seed_everything
from mutransfer.training.batches import batch_of, batch_size, split_batch, to_device
from mutransfer.training.events import Sink
from mutransfer.training.extra_hyperparameters import with_hyperparameters
from mutransfer.training.history import Course, autocast, learning_rate
from mutransfer.training.optimizers.make import make_optimizer
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.task import Task


class TrainingLoop:
    """One pass over the steps of a run at one number of micro-batches."""

    def __init__(
        self, spec: RunSpec, accumulate: int, task: Task, plan: Plan, device: torch.device, sink: Sink
    ) -> None:
        self.spec, self.task, self.device = replace(spec, accumulate=accumulate), task, device
        self.plan = plan = with_hyperparameters(plan, spec.hyperparameters)
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
        pieces = [batch] if self.spec.accumulate == 1 else split_batch(batch, self.spec.accumulate)
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
