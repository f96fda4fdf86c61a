"""Blocks that torch has no module for: residual sums, constant factors, and three elementwise functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """``shortcut(h) + scale * layers(h)``; the shortcut is the identity unless a module is given.

    Raises torch's own error where the two summands have different shapes.

    >>> block = Residual(nn.ReLU(), nn.Linear(8, 8), scale=0.5)
    >>> block(torch.zeros(2, 8)).shape
    torch.Size([2, 8])
    """

    def __init__(self, *layers: nn.Module, scale: float = 1.0, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.scale = float(scale)

    def forward(self, h: Tensor) -> Tensor:
        return self.shortcut(h) + self.scale * self.layers(h)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class Scale(nn.Module):
    """A constant factor that is not trained: ``factor * x``.

    >>> Scale(0.5)(torch.ones(2))
    tensor([0.5000, 0.5000])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = float(factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return f"{self.factor}"


class Abs(nn.Module):
    """|x|, elementwise.

    >>> Abs()(torch.tensor([-2.0, 1.0]))
    tensor([2., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)


class Erf(nn.Module):
    """The error function, elementwise.

    >>> Erf()(torch.tensor([0.0]))
    tensor([0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class Sin(nn.Module):
    """sin(x), elementwise.

    >>> Sin()(torch.tensor([0.0]))
    tensor([0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)
