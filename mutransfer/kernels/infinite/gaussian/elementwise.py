"""Whether a module acts on each number by itself, and what it does: told by trying it, for modules nobody listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Chain:
    """Elementwise modules, one after the other, as one function of float64 numbers."""

    modules: tuple[nn.Module, ...]

    def __str__(self) -> str:
        return " after ".join(type(m).__name__ for m in reversed(self.modules))

    def value(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = x
            for module in self.modules:
                y = module(y)
            return y

    def value_and_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and torch's own derivative of it: what a finite network is trained with."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = x
            for module in self.modules:
                y = module(y)
            if not y.requires_grad:  # a constant
                return y.detach(), torch.zeros_like(x)
            (slope,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
        return y.detach(), torch.zeros_like(x) if slope is None else slope


class TimesSlope(Chain):
    """x f'(x) of a chain f, as a function of which only the value is wanted."""

    def value(self, x: Tensor) -> Tensor:
        return x * super().value_and_slope(x)[1]

    def value_and_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(x), torch.zeros_like(x)


def is_elementwise(module: nn.Module) -> bool:
    """Whether the module has no parameters and gives every number the same value wherever it stands.

    >>> is_elementwise(nn.Tanh()), is_elementwise(nn.Softmax(-1)), is_elementwise(nn.PReLU())
    (True, False, False)
    """
    if any(True for _ in module.parameters()):
        return False
    x = torch.linspace(-3.0, 3.0, 60, dtype=torch.float64)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            # clones: an in-place module must not change x
            y = module(x.clone())
            views = [module(x[order].reshape(shape)) for shape in ((60,), (3, 20), (5, 2, 6), (1, 3, 4, 5))]
            alone = module(x[:1].clone())
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError, AssertionError):
        return False
    if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        return False
    same = [v.numel() == 60 and torch.allclose(v.flatten(), y[order], rtol=1e-14, atol=1e-14) for v in views]
    return all(same) and torch.allclose(alone, y[:1], rtol=1e-14, atol=1e-14)


def linear_factor(module: nn.Module) -> float | None:
    """c where the elementwise module is x -> c x, else None.

    >>> linear_factor(nn.Identity()), linear_factor(nn.ReLU())
    (1.0, None)
    """
    x = torch.cat([torch.tensor([0.0, 1.0, -1.0]), torch.linspace(-30.0, 30.0, 997)]).double()
    with torch.no_grad():
        y = module(x.clone())
    return float(y[1]) if torch.allclose(y, y[1] * x, rtol=1e-14, atol=0) else None


def split_linear(modules: Sequence[nn.Module]) -> tuple[float, list[nn.Module], float]:
    """The constant factors before and behind what is not linear in a chain of elementwise modules."""
    modules = list(modules)
    before = after = 1.0
    while modules and (factor := linear_factor(modules[0])) is not None:
        before *= factor
        modules.pop(0)
    while modules and (factor := linear_factor(modules[-1])) is not None:
        after *= factor
        modules.pop()
    return before, modules, after
