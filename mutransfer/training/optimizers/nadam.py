"""NAdam, Adam with Nesterov's momentum, as torch has it.

Without weight decay: what a plan calls "nadam" is torch's default, which adds decay to the gradient, where no factor
makes it the same at every width. Decay apart from the gradient is AdamW's (torch's ``decoupled_weight_decay`` is not
offered: two optimizers of one name would have one plan).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.theory.rules import DEFAULT_EPS
from mutransfer.training.optimizers.adam import BETAS
from mutransfer.training.optimizers.rule import Coefficients, Columns, Multipliers, OptimizerRule

MOMENTUM_DECAY = 0.004  # torch's


def _make(groups: list[dict[str, Any]], h: Mapping[str, float], fused: bool | None) -> torch.optim.Optimizer:
    betas = h["beta1"], h["beta2"]
    return torch.optim.NAdam(groups, betas=betas, momentum_decay=h["momentum_decay"])


def _coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    """Dozat (2016), Algorithm 2, with the momenta mu_t of torch: parts of the step in the gradient and in its mean."""
    members = list(zip(h["beta1"], h["momentum_decay"], strict=True))
    now = np.array([_momenta(*m, _block(t))[t - 1] for m in members])
    after = np.array([_momenta(*m, _block(t + 1))[t] for m in members])
    product = np.array([_products(*m, _block(t))[t - 1] for m in members])
    return {
        "first": 1 - h["beta1"],
        "second": 1 - h["beta2"],
        "beta2": h["beta2"],
        "lr_gradient": h["lr"] * (1 - now) / (1 - product),
        "lr_mean": h["lr"] * after / (1 - product * after),
        "root": (1 - h["beta2"] ** t) ** -0.5,
        "eps": h["eps"],
    }


def _step(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    s["mean"].lerp_(g, c["first"])
    s["square"].mul_(c["beta2"]).addcmul_(g * g, c["second"])
    root = s["square"].sqrt().mul_(c["root"]).add_(c["eps"] * m.eps)
    p.addcdiv_(g * (c["lr_gradient"] * -m.lr), root)
    p.addcdiv_(s["mean"] * (c["lr_mean"] * -m.lr), root)


def _block(steps: int) -> int:
    """A power of two from ``steps`` on: what was computed for one step serves as many again."""
    return 1 << (steps - 1).bit_length()


@lru_cache(maxsize=1024)
def _momenta(beta1: float, decay: float, steps: int) -> np.ndarray:
    """mu_1, mu_2, ...: from half of beta1 towards beta1."""
    return beta1 * (1 - 0.5 * 0.96 ** (np.arange(1, steps + 1) * decay))


@lru_cache(maxsize=1024)
def _products(beta1: float, decay: float, steps: int) -> np.ndarray:
    """mu_1, mu_1 mu_2, ..."""
    return np.cumprod(_momenta(beta1, decay, steps))


NADAM = OptimizerRule(
    name="nadam",
    defaults={**BETAS, "momentum_decay": MOMENTUM_DECAY, "eps": DEFAULT_EPS["nadam"]},
    make=_make,
    slots=("mean", "square"),
    coefficients=_coefficients,
    step=_step,
    log2_lrs=(-12, -4),
    check_lr=2.0**-8,
)
