"""The course of one run: what is measured on the way, and the RunResult that it amounts to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.measure.movement import MovementLog
from mutransfer.parameterization.measuring.activations import MAX_EXAMPLES, activations, evaluating, relative_changes
from mutransfer.parameterization.plan import Plan
from mutransfer.training.batches import batch_size, split_batch, to_device
from mutransfer.training.events import Scalars, Sink
from mutransfer.training.loss_outputs import kernel_probe
from mutransfer.training.schedules import lr_factor
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.task import PROBE_SEED, Task

CHECK_EVERY = 10  # steps between looks at the loss, each of which waits for the device
WATCHED_AT = (1 / 8, 1 / 2, 1)  # parts of a watched run after which it is looked at what has moved


class Course:
    """Evaluations, losses and activations of one run. The model is handed in wherever one is needed."""

    def __init__(
        self, spec: RunSpec, task: Task, plan: Plan, *, accumulate: int, device: torch.device, sink: Sink
    ) -> None:
        """``accumulate``: micro-batches per step; no more examples are probed at a time than training takes."""
        self.spec, self.task, self.plan, self.sink = spec, task, plan, sink
        self._probe = split_batch(to_device(task.batch(PROBE_SEED, 0), device), accumulate)
        self._watched_at = {max(1, round(part * spec.steps)) for part in WATCHED_AT} if spec.watched else set()
        self.movement: MovementLog | None = None
        self.evaluations: list[tuple[int, float]] = []
        self.losses: list[float] = []

    def begin(self, model: nn.Module, like: Course | None = None) -> None:
        """Measure the model before its first step; ``like``: a run that starts from the same model and has done so."""
        if like is None:
            self.n_parameters = sum(p.numel() for p in model.parameters())
            self.before = self._activations(model)
            self._evaluate(model, 0)
        else:
            self.n_parameters, self.before = like.n_parameters, like.before
            self.evaluations = like.evaluations[:1]
        if self.spec.watched and like is not None and like.movement is not None:
            self.movement = like.movement.again()
        elif self.spec.watched:
            probe = kernel_probe(self.task, model, self.plan, self._probe[0])
            self.movement = MovementLog.begin(model, lambda: self._features(model), probe)

    def looks(self, step: int) -> bool:
        """Whether the losses up to this step are looked at: one wait for the device."""
        return step % CHECK_EVERY == 0 or self._is_last(step)

    def look(self, step: int, recent: Sequence[float]) -> bool:
        """Take in the losses since the last look; False where the run has diverged and is over."""
        self.losses += recent
        if not all(map(math.isfinite, recent)):
            return False
        lr = learning_rate(self.spec, step)
        self.sink(Scalars(spec=self.spec, step=step + 1, values={"train/loss": recent[-1], "lr": lr}))
        return True

    def evaluates(self, step: int) -> bool:
        every = self.spec.eval_every
        return self._is_last(step) or (every > 0 and (step + 1) % every == 0)

    def evaluate(self, step: int, model: nn.Module) -> None:
        loss = self._evaluate(model, step + 1)
        self.sink(Scalars(spec=self.spec, step=step + 1, values={"val/loss": loss}))

    def watches(self, step: int) -> bool:
        return step + 1 in self._watched_at

    def watch(self, step: int, model: nn.Module) -> None:
        """Look at what has moved; nothing is read from the device before the end."""
        if self.movement is not None:
            self.movement.look(step + 1, model, lambda: self._features(model))

    def result(self, model: nn.Module, *, diverged: bool) -> RunResult:
        """``diverged``: the run was stopped at a loss that is not finite."""
        (_, initial), (_, final) = self.evaluations[0], self.evaluations[-1]
        diverged = diverged or not math.isfinite(final) or final > initial
        moved = relative_changes(self.before, self._activations(model))
        return RunResult(
            outcome=Outcome.DIVERGED if diverged else Outcome.OK,
            initial_loss=initial,
            final_loss=math.inf if diverged else final,
            best_loss=min((loss for _, loss in self.evaluations if math.isfinite(loss)), default=math.inf),
            train_curve=tuple(self.losses),
            eval_curve=tuple(self.evaluations),
            movement={n: x for n, x in moved.items() if math.isfinite(x)},
            looks=() if self.movement is None else self.movement.looks(),
            n_parameters=self.n_parameters,
        )

    def _evaluate(self, model: nn.Module, steps_done: int) -> float:
        with evaluating(model):
            loss = float(self.task.evaluate(model))
        self.evaluations.append((steps_done, loss))
        return loss

    def _activations(self, model: nn.Module) -> dict[str, Tensor]:
        found = [activations(model, lambda piece=piece: self.task.loss(model, piece)) for piece in self._probe]
        return {name: torch.cat([torch.atleast_1d(f[name]) for f in found])[:MAX_EXAMPLES] for name in found[0]}

    def _features(self, model: nn.Module) -> Any:
        piece = self._probe[0]
        return self.task.loss(model, split_batch(piece, -(-batch_size(piece) // MAX_EXAMPLES))[0])

    def _is_last(self, step: int) -> bool:
        return step + 1 == self.spec.steps


def learning_rate(spec: RunSpec, step: int) -> float:
    """The learning rate at base width; the plan's groups have theirs in a fixed ratio to it."""
    return spec.lr * lr_factor(step, steps=spec.steps, schedule=spec.schedule, warmup_steps=spec.warmup_steps)


def autocast(spec: RunSpec, device: torch.device) -> AbstractContextManager[Any]:
    if spec.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, spec.precision))
