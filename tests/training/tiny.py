"""A classification task of a few hundred parameters, a spec for it, and the loops that a person would write by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.training.batches import mean_loss
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import EVAL_SEED

BATCH, INPUTS, CLASSES, BASE = 12, 6, 3, 8


@dataclass(frozen=True)
class Tiny:
    """Gaussian inputs, labels from a fixed linear rule, two tanh layers."""

    def build(self, width: int, /) -> nn.Module:
        return nn.Sequential(
            nn.Linear(INPUTS, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, CLASSES)
        )

    def batch(self, seed: int, step: int, /) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1009 + step)
        x = torch.randn(BATCH, INPUTS, generator=generator)
        return x, x[:, :CLASSES].argmax(1)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], /) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model: nn.Module, /) -> float:
        return mean_loss(self.loss, model, [self.batch(EVAL_SEED, i) for i in range(3)])


def tiny_spec(**changes) -> RunSpec:
    defaults = {
        "task": "tiny",
        "width": BASE,
        "base_width": BASE,
        "hyperparameters": {"lr": 0.05},
        "optimizer": "sgd",
        "seed": 3,
        "steps": 25,
    }
    return RunSpec(**{**defaults, **changes})


def factor_by_hand(spec: RunSpec, step: int) -> float:
    """The schedule written out: a ramp lr/(w+1), 2lr/(w+1), ..., then the named decay over the steps that are left."""
    if step < spec.warmup_steps:
        return (step + 1) / (spec.warmup_steps + 1)
    left = spec.steps - spec.warmup_steps
    position = (step - spec.warmup_steps) / left
    return {
        "constant": 1.0,
        "linear": 1.0 - position,
        "cosine": 0.5 * (1 + math.cos(math.pi * position)),
    }[spec.schedule]


def train_by_hand(task, spec: RunSpec, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[list[float], float]:
    """(training losses, evaluation at the end) of the plainest loop; a group's ``lr_mult`` is its ratio to the rest."""
    losses = []
    for step in range(spec.steps):
        for group in optimizer.param_groups:
            group["lr"] = spec.lr * factor_by_hand(spec, step) * group.get("lr_mult", 1.0)
        loss = task.loss(model, task.batch(spec.seed, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, task.evaluate(model)
