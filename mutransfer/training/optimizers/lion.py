"""Lion, which torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.training.optimizers.rule import Coefficients, Columns, Multipliers, OptimizerRule

BETAS = (0.9, 0.99)


class Lion(torch.optim.Optimizer):
    """The sign of an average of momentum and gradient, with decoupled weight decay.

    Chen et al., "Symbolic Discovery of Optimization Algorithms" (2302.06675), Program 1. Its step has no eps.

    >>> from mutransfer import param_groups, parameterize
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, 3))
    >>> model, plan = parameterize(build, width=256, base_width=64, optimizer="lion")
    >>> optimizer = Lion(param_groups(model, plan, lr=1e-4))
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = BETAS,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            now, later = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(state["exp_avg"].lerp(p.grad, 1 - now).sign_(), alpha=-group["lr"])
                state["exp_avg"].lerp_(p.grad, 1 - later)
        return loss


def _make(groups: list[dict[str, Any]], h: Mapping[str, float], fused: bool | None) -> torch.optim.Optimizer:
    return Lion(groups, betas=(h["beta1"], h["beta2"]))


def _coefficients(h: Columns, t: int) -> dict[str, np.ndarray]:
    return {
        "lr": h["lr"],
        "now": 1 - h["beta1"],
        "later": 1 - h["beta2"],
        "decay": h["lr"] * h["weight_decay"],
    }


def _step(p: Tensor, g: Tensor, s: Mapping[str, Tensor], c: Coefficients, m: Multipliers) -> None:
    p.mul_(1 - c["decay"] * (m.lr * m.weight_decay))
    p.addcmul_(s["mean"].lerp(g, c["now"]).sign_(), c["lr"] * -m.lr)
    s["mean"].lerp_(g, c["later"])


LION = OptimizerRule(
    name="lion",
    defaults={"beta1": BETAS[0], "beta2": BETAS[1]},
    make=_make,
    slots=("mean",),
    coefficients=_coefficients,
    step=_step,
    log2_lrs=(-15, -7),
    check_lr=2.0**-8,
)
