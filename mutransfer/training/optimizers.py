"""Optimizers and schedules of the training loop, from the plan's parameter groups."""

from __future__ import annotations

import math

import torch
from torch import nn

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.training.constants import weight_decay
from mutransfer.training.lion import Lion
from mutransfer.training.spec import RunSpec


def make_optimizer(model: nn.Module, plan: Plan, spec: RunSpec) -> torch.optim.Optimizer:
    """The spec's optimizer over the plan's groups, with torch's fused implementation where that is safe."""
    h = spec.hyperparameters
    groups = param_groups(model, plan, lr=h["lr"], weight_decay=weight_decay(h), eps=h.get("eps"))
    # Where GradScaler skips the first step, torch's fused SGD keeps a momentum buffer that was never written.
    fused = None if spec.precision == "float16" else True
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=h.get("momentum", 0.0), fused=fused)
    if spec.optimizer == "lion":
        return Lion(groups, betas=(h.get("beta1", 0.9), h.get("beta2", 0.99)))
    kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, betas=(h.get("beta1", 0.9), h.get("beta2", 0.999)), fused=fused)


def lr_factor(step: int, *, steps: int, schedule: str, warmup_steps: int) -> float:
    """The learning rate of a step over its peak: linear warmup, then constant, or decay towards 0 at ``steps``.

    >>> [lr_factor(s, steps=4, schedule="linear", warmup_steps=0) for s in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / (steps - warmup_steps)
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0
