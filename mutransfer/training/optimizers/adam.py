"""Adam, and AdamW, whose decay is apart from the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.theory.rules import DEFAULT_EPS
from mutransfer.training.optimizers.rule import Coefficients, Columns, Multipliers, OptimizerRule

BETAS = {"beta1": 0.9, "beta2": 0.999}  # torch's


def _make_adam(groups: list[dict[str, Any]], h: Mapping[str, float], fused: bool | None) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, betas=(h["beta1"], h["beta2"]), fused=fused)


def _make_adamw(groups: list[dict[str, Any]], h: Mapping[str, float], fused: bool | None) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, betas=(h["beta1"], h["beta2"]), fused=fused)


def _adam_coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    """Kingma and Ba (1412.6980) with torch's bias corrections."""
    return {
        "first": 1 - h["beta1"],
        "second": 1 - h["beta2"],
        "beta2": h["beta2"],
        "lr": h["lr"] / (1 - h["beta1"] ** t),
        "root": (1 - h["beta2"] ** t) ** -0.5,
        "eps": h["eps"],
    }


def _adam(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    s["mean"].lerp_(g, c["first"])
    s["square"].mul_(c["beta2"]).addcmul_(g * g, c["second"])
    p.addcdiv_(s["mean"] * (c["lr"] * -m.lr), s["square"].sqrt().mul_(c["root"]).add_(c["eps"] * m.eps))


def _adamw_coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    return {**_adam_coefficients(h, t), "decay": h["lr"] * h["weight_decay"]}


def _adamw(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    p.mul_(1 - c["decay"] * (m.lr * m.weight_decay))
    _adam(p, g, s, c, m)


ADAM = OptimizerRule(
    name="adam",
    defaults={**BETAS, "eps": DEFAULT_EPS["adam"]},
    make=_make_adam,
    slots=("mean", "square"),
    coefficients=_adam_coefficients,
    step=_adam,
    log2_lrs=(-12, -4),
    check_lr=2.0**-8,
)
ADAMW = replace(
    ADAM,
    name="adamw",
    defaults={**BETAS, "eps": DEFAULT_EPS["adamw"]},
    make=_make_adamw,
    coefficients=_adamw_coefficients,
    step=_adamw,
)
