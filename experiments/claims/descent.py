"""Full-batch gradient descent on half the mean squared error, for which a tangent kernel predicts training.

The loss is ``||f - y||^2 / (2 y.size)``, the default of ``kernels.gradient_descent`` and ``gradient_flow`` too.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mutransfer.kernels import critical_learning_rate


def descend(model: nn.Module, x: Tensor, y: Tensor, *, lr: float, steps: int) -> Iterator[Tensor]:
    """Yields the predictions on ``x`` before each step, and after the last: steps + 1 in all, float64 on the CPU."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for _ in range(steps):
        f = model(x)
        yield f.detach().double().cpu()
        gradients = torch.autograd.grad((f - y).square().mean() / 2, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= lr * gradient
    with torch.no_grad():
        yield model(x).double().cpu()


def train(model: nn.Module, x: Tensor, y: Tensor, *, lr: float, steps: int) -> nn.Module:
    """The same, for its end alone."""
    for _ in descend(model, x, y, lr=lr, steps=steps):
        pass
    return model


def part_of_critical(kernel: Tensor, y: Tensor, part: float) -> float:
    """A learning rate: ``part`` of the largest that is stable under this kernel."""
    return part * critical_learning_rate(kernel, loss_scale=1 / y.numel())


@torch.no_grad()
def movement(model: nn.Module, start: dict[str, Tensor]) -> float:
    """||theta - theta_0|| over all parameters; ``start`` is a copy of them by name."""
    moved = [(p - start[name]).flatten() for name, p in model.named_parameters()]
    return float(torch.cat(moved).norm())


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
