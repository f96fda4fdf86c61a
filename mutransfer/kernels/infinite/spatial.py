"""Convolution windows, padding and pooling, as they act on kernels between positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Padding of one axis by copies of its own entries (circular, reflect, replicate) or by zeros (-1 in source)."""

    size_in: int
    source: tuple[int, ...]

    @classmethod
    def of(cls, size: int, before: int, after: int, mode: str) -> Padding:
        axis = torch.arange(size, dtype=torch.float64).reshape(1, 1, size)
        mode = "constant" if mode == "zeros" else mode
        # torch's own padding of the indices themselves: what it does with an image it does here
        padded = F.pad(axis, (before, after), mode=mode, **({"value": -1} if mode == "constant" else {}))
        return cls(size_in=size, source=tuple(int(i) for i in padded.flatten()))

    @property
    def size_out(self) -> int:
        return len(self.source)

    def __call__(self, k: Tensor, dims: list[int]) -> Tensor:
        if self.source == tuple(range(self.size_in)):
            return k
        if -1 in self.source:
            before, after = self.source.index(0), self.source[::-1].index(self.size_in - 1)
            pads = [0] * (2 * k.ndim)
            for dim in dims:
                pads[2 * (k.ndim - 1 - dim)], pads[2 * (k.ndim - 1 - dim) + 1] = before, after
            return F.pad(k, pads)
        index = torch.tensor(self.source, device=k.device)
        for dim in dims:
            k = k.index_select(dim, index)
        return k


@dataclass(frozen=True, kw_only=True)
class PatchMean:
    """The mean over a convolution's window along one axis, taken along ``dims`` together."""

    kernel: int
    stride: int
    dilation: int

    def size_out(self, size: int) -> int:
        return (size - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def __call__(self, k: Tensor, dims: list[int]) -> Tensor:
        last = (self.size_out(k.shape[dims[0]]) - 1) * self.stride + 1
        total = None
        for offset in range(self.kernel):
            part = k
            for dim in dims:
                start = offset * self.dilation
                part = part[(slice(None),) * dim + (slice(start, start + last, self.stride),)]
            total = part.clone() if total is None else total.add_(part)
        assert total is not None
        return total.div_(self.kernel)


def position_matrix(module: nn.Module, positions: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """(P_out, P_in) of a module that maps positions linearly, feature by feature, and the shape of its output.

    Read off by sending each position's indicator through the module, so that every option of torch's counts.

    >>> position_matrix(nn.AvgPool1d(2), (4,))[0]
    tensor([[0.5000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    count = int(torch.tensor(positions).prod())
    images = module(torch.eye(count, dtype=torch.float64).reshape(count, 1, *positions))
    return images.reshape(count, -1).T.contiguous(), tuple(images.shape[2:])


def apply_matrix(matrix: Tensor, k: Tensor, *, full: bool, full_output: bool) -> Tensor:
    """A k A^T over the trailing positions, or its diagonal; from a diagonal only where A picks single positions."""
    if not full:
        return k @ (matrix * matrix).T
    half = matrix @ k
    return half @ matrix.T if full_output else (half * matrix).sum(-1)
