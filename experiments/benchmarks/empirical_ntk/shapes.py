"""Networks and numbers of examples whose kernels are timed, with how much faster ours must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Written out, since a fused kernel has no rule under vmap, which would slow the tutorial down."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q, k, v = self.inward(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        return self.outward((weights @ v).transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, max(1, width // 32))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Sequences of vectors (N, T, 16) to class logits from the mean over positions."""

    def __init__(self, width: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.inward = nn.Linear(16, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(layers)])
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.norm(self.blocks(self.inward(x))).mean(1))


def mlp(n_in: int, width: int, hidden: int, n_out: int) -> nn.Module:
    sizes = [n_in, *[width] * hidden, n_out]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small_cnn(outputs: int) -> nn.Module:
    convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1)]
    return nn.Sequential(*convolutions, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, outputs))


def mnist_cnn() -> nn.Module:
    """The network of PyTorch's MNIST example, without its dropout."""
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolutions, nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))


def tutorial_cnn() -> nn.Module:
    convolutions = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(21632, 10))


@dataclass(frozen=True)
class Shape:
    build: Callable[[], nn.Module]
    x1: tuple[int, ...]
    n2: int | None = None
    outputs: str = "trace"
    bar: float = 0.95  # times faster than the tutorial
    memory_bar: float = 0.0  # times less memory


SHAPES = {
    "mlp 784-1024x3-10, N=64": Shape(lambda: mlp(784, 1024, 3, 10), (64, 784), bar=100, memory_bar=50),
    "mlp 784-1024x3-10, N=64, full": Shape(lambda: mlp(784, 1024, 3, 10), (64, 784), outputs="full"),
    "mlp 784-1024x3-1, N=64": Shape(lambda: mlp(784, 1024, 3, 1), (64, 784)),
    "mlp 64-128x2-10, N=256": Shape(lambda: mlp(64, 128, 2, 10), (256, 64)),
    "mlp 64-128x2-10, 64 by 32": Shape(lambda: mlp(64, 128, 2, 10), (64, 64), n2=32),
    "mlp 64-32x2-10, N=16": Shape(lambda: mlp(64, 32, 2, 10), (16, 64)),
    "cnn of the MNIST example, N=16": Shape(mnist_cnn, (16, 1, 28, 28), bar=8),
    "cnn 16-32 on 28x28, N=32": Shape(lambda: small_cnn(10), (32, 1, 28, 28)),
    "cnn 16-32 on 28x28, N=8, full": Shape(lambda: small_cnn(10), (8, 1, 28, 28), outputs="full"),
    "cnn of the tutorial, 20 by 5": Shape(tutorial_cnn, (20, 3, 32, 32), n2=5),
    "transformer 4x64, T=128, N=8": Shape(lambda: Transformer(64, 4, 10), (8, 128, 16), bar=1.5),
    "transformer 4x128, T=128, N=8": Shape(lambda: Transformer(128, 4, 10), (8, 128, 16), bar=1.5),
    "transformer 4x128, T=128, N=64, one output": Shape(lambda: Transformer(128, 4, 1), (64, 128, 16), bar=1.5),
    "transformer 4x64, T=16, N=32": Shape(lambda: Transformer(64, 4, 10), (32, 16, 16)),
    "transformer 4x64, T=16, N=8, full": Shape(lambda: Transformer(64, 4, 10), (8, 16, 16), outputs="full"),
}


def example(shape: Shape) -> tuple[nn.Module, Tensor, Tensor | None, str]:
    torch.manual_seed(0)
    model = shape.build()
    second = None if shape.n2 is None else torch.randn(shape.n2, *shape.x1[1:])
    return model, torch.randn(shape.x1), second, shape.outputs
