"""A multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def mlp(width: int, *, n_inputs: int, n_outputs: int, hidden_layers: int) -> nn.Module:
    """``hidden_layers`` ReLU layers of ``width`` units between inputs and outputs.

    He initialisation (std sqrt(2 / fan_in), zero biases), under which activations keep their size over depth.
    """
    sizes = [n_inputs, *[width] * hidden_layers]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    layers.append(nn.Linear(sizes[-1], n_outputs))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(Flatten(), *layers)


class Flatten(nn.Module):
    """All dimensions but the first as one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)
