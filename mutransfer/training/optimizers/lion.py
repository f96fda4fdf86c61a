"""Lion, which torch does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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
        betas: tuple[float, float] = (0.9, 0.99),
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
