"""Networks in the NTK parameterization, written out: h = weight_std / sqrt(fan_in) W x, W standard normal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.claims.data import DEVICE
from mutransfer.kernels import Scale
from mutransfer.random_state import seed_everything


class NtkLinear(nn.Module):
    """weight_std / sqrt(fan_in) W x, with W standard normal and no bias."""

    def __init__(self, fan_in: int, fan_out: int, weight_std: float = 2**0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in))
        self.factor = weight_std / fan_in**0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * nn.functional.linear(x, self.weight)  # so: a scaled weight has no layerwise kernel


def ntk_mlp(
    width: int,
    depth: int,
    activation: Callable[[], nn.Module],
    *,
    seed: int,
    inputs: int = 64,
    outputs: int = 1,
    weight_std: float = 2**0.5,
    readout: float = 1.0,
) -> nn.Sequential:
    """``depth`` hidden layers; ``readout`` multiplies the output: width**-0.5 makes a mean-field network of depth 1."""
    seed_everything(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [NtkLinear(inputs if i == 0 else width, width, weight_std), activation()]
    network = nn.Sequential(*layers, NtkLinear(width, outputs, weight_std)).to(DEVICE)
    return network if readout == 1.0 else network.append(Scale(readout))


def architecture(
    depth: int, activation: Callable[[], nn.Module], *, inputs: int = 64, outputs: int = 1
) -> nn.Sequential:
    """The same network for ``infinite_width``, which reads the architecture alone."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else 8, 8, bias=False), activation()]
    return nn.Sequential(*layers, nn.Linear(8, outputs, bias=False))


class NtkConv2d(nn.Module):
    """3 x 3 convolution, zeros around: weight_std / sqrt(9 channels) times a kernel of standard normals, no bias."""

    def __init__(self, channels_in: int, channels_out: int, weight_std: float = 2**0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, 3, 3))
        self.factor = weight_std / (9 * channels_in) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * nn.functional.conv2d(x, self.weight, padding=1)
