"""Stochastic gradient descent with momentum, as torch has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.training.optimizers.rule import Coefficients, Columns, Multipliers, OptimizerRule


def _make(groups: list[dict[str, Any]], h: Mapping[str, float], fused: bool | None) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, momentum=h["momentum"], fused=fused)


def _coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    return {"lr": h["lr"], "momentum": h["momentum"], "decay": h["weight_decay"]}


def _step(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    buffer = s["momentum"].mul_(c["momentum"]).add_(g).addcmul_(p, c["decay"] * m.weight_decay)
    p.addcmul_(buffer, c["lr"] * -m.lr)


SGD = OptimizerRule(
    name="sgd",
    defaults={"momentum": 0.0},
    make=_make,
    slots=("momentum",),
    coefficients=_coefficients,
    step=_step,
    log2_lrs=(-6, 2),
    check_lr=0.1,
)
