"""Optimizers and schedules of the training loop, from the plan's parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.training.extra_hyperparameters import weight_decay
from mutransfer.training.optimizers.lion import Lion
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
