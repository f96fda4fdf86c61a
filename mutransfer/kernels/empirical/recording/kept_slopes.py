"""Elementwise functions whose slope is worked out once, where several backward passes will ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Those whose backward pass evaluates exponentials or error functions anew each time
_COSTLY = frozenset({"gelu", "silu", "mish", "elu", "selu", "celu", "softplus"})


def has_costly_slope(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether :class:`WithSlope` can stand in for ``function`` of these arguments and saves time."""
    if getattr(function, "__name__", "") not in _COSTLY or kwargs.get("inplace") or len(args) != 1:
        return False
    x = args[0]
    return type(x) is Tensor and x.requires_grad and x.is_floating_point() and torch.is_grad_enabled()


class WithSlope(torch.autograd.Function):
    """f(x) of an elementwise f, with f'(x) kept for the backward passes.

    >>> x = torch.tensor([0.0], requires_grad=True)
    >>> torch.autograd.grad(WithSlope.apply(x, torch.nn.functional.gelu, {}), x)
    (tensor([0.5000]),)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[..., Tensor], kwargs: dict[str, Any]) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = function(x, **kwargs)
            (slope,) = torch.autograd.grad(y, x, torch.ones_like(y))
        ctx.save_for_backward(slope)
        return y.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None
