"""The first step of every family of optimizers, from the gradients alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mutransfer.parameterization.plan import Plan
from mutransfer.theory import rules
from mutransfer.theory.rules import Family

# Small enough for what a step does to be linear in it, large enough not to drown in single precision.
RATES: Mapping[Family, float] = {Family.SGD: 0.1, Family.ADAM: 2**-8}


def measurable(plan: Plan) -> bool:
    """Whether the first step of the plan's optimizer is known here."""
    return rules.family(plan.optimizer) in RATES


@torch.no_grad()
def take_step(parameters: Mapping[str, nn.Parameter], gradients: Mapping[str, Tensor], plan: Plan) -> None:
    """Move ``parameters`` as the first step of the plan's optimizer does: SGD's by the gradient, Adam's by its sign.

    All optimizers of the Adam family start so, but for eps, which goes with the size of the loss and not with a plan.
    """
    family = rules.family(plan.optimizer)
    for name, gradient in gradients.items():
        step = gradient.sign() if family is Family.ADAM else gradient
        parameters[name].sub_(step, alpha=RATES[family] * plan[name].lr_mult)
