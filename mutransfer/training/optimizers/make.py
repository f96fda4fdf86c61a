"""The optimizer of one run, from the plan's parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.training.extra_hyperparameters import weight_decay
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.spec import RunSpec


def make_optimizer(model: nn.Module, plan: Plan, spec: RunSpec) -> torch.optim.Optimizer:
    """The spec's optimizer over the plan's groups, with torch's fused implementation where that is safe."""
    h, rule = spec.hyperparameters, optimizer_rule(spec.optimizer)
    groups = param_groups(model, plan, lr=h["lr"], weight_decay=weight_decay(h), eps=h.get("eps"))
    # Where GradScaler skips the first step, torch's fused SGD keeps a momentum buffer that was never written.
    fused = None if spec.precision == "float16" else True
    return rule.make(groups, {**rule.defaults, **h}, fused)
