"""A multilayer perceptron."""

from collections.abc import Callable

from torch import Tensor, nn


def mlp(
    width: int, *, n_inputs: int, n_outputs: int, hidden_layers: int, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Module:
    """``hidden_layers`` layers of ``width`` units between inputs and outputs, torch's default initialisation."""
    sizes = [n_inputs, *[width] * hidden_layers]
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(Flatten(), *layers, nn.Linear(sizes[-1], n_outputs))


class Flatten(nn.Module):
    """All dimensions but the first as one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)
