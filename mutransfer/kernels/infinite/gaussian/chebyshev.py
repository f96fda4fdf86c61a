"""Tables of two smooth functions of two standard deviations and an angle, by their Chebyshev coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer.kernels.infinite.gaussian.quadrature import ACCURACY

# Standard deviations s1, s2 and angles of one shape -> (2, *shape), the two functions
Averages = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ChebyshevTable:
    """Coefficients of two functions of s1 and s2, from ``low`` to ``high``, and of the angle, from 0 to pi."""

    low: float
    high: float
    value: Tensor  # (degrees of the angle, of s1, of s2)
    slope: Tensor

    def __call__(self, s1: Tensor, s2: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        span = max(self.high - self.low, 1e-300)
        basis1, basis2 = (_chebyshev((2 * s - self.high - self.low) / span, self.value.shape[1]) for s in (s1, s2))
        return self._sum(basis1, basis2, angle * (2 / math.pi) - 1)

    def _sum(self, basis1: Tensor, basis2: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sums by the recurrence T_k+1 = 2 x T_k - T_k-1; each T_k meets a product of thin matrices."""
        before, now = x, torch.ones_like(x)  # T_-1 = T_1
        value, slope = torch.zeros_like(x), torch.zeros_like(x)
        values, slopes = _wanted(self.value), _wanted(self.slope)
        for k in range(len(self.value)):
            for total, table, wanted in ((value, self.value, values), (slope, self.slope, slopes)):
                if wanted[k]:
                    total.addcmul_(_outer(basis1 @ table[k].to(x.device), basis2, x.shape), now)
            before, now = now, (2 * x).mul_(now).sub_(before)
        return value, slope


def _wanted(table: Tensor) -> list[bool]:
    """Degrees of the angle that count: the others add up to less than a twentieth of the accuracy.

    Half of them do not where the function is odd or even.
    """
    size = table.abs().sum((1, 2))
    smallest = size.sort()
    dropped = smallest.indices[smallest.values.cumsum(0) < ACCURACY / 20 * table.abs().max()]
    counts = torch.ones(len(table), dtype=torch.bool)
    counts[dropped.cpu()] = False
    return counts.tolist()


def _outer(left: Tensor, right: Tensor, shape: torch.Size) -> Tensor:
    """Sums the last axis of two arrays that broadcast to ``shape`` otherwise, by matrix products."""
    letters = "abcdef"[: len(shape)]
    axes = ["".join(a for a, n in zip(letters, x.shape, strict=False) if n > 1) for x in (left, right)]
    out = "".join(a for a in letters if a in axes[0] or a in axes[1])
    squeezed = [x.reshape([n for n in x.shape[:-1] if n > 1] + [x.shape[-1]]) for x in (left, right)]
    return torch.einsum(f"{axes[0]}z,{axes[1]}z->{out}", *squeezed).reshape(shape)


def _chebyshev(x: Tensor, count: int) -> Tensor:
    """T_0 .. T_count-1 at x, along a new last axis."""
    rows = [torch.ones_like(x), x]
    while len(rows) < count:
        rows.append(2 * x * rows[-1] - rows[-2])
    return torch.stack(rows[:count], -1)


def tabulate(averages: Averages, low: float, high: float, *, limit: int) -> ChebyshevTable | None:
    """The table for standard deviations from low to high; None where it takes more than ``limit`` evaluations."""
    middle, half = (low + high) / 2, (high - low) / 2
    some = middle + half * _points(3)[:, None]
    angles = _degree(lambda a: averages(some, some.flip(0), (a + 1) * math.pi / 2), start=16)
    stds = 1
    if half > 1e-14 * high:
        turned = torch.tensor([0.2, 1.5, 2.9], dtype=torch.float64)[:, None]
        stds = _degree(lambda s: averages(middle + half * s, some, turned), start=6)
    if not (angles and stds) or angles * stds * (stds + 1) // 2 > limit:
        return None
    s = middle + half * _points(stds)
    i, j = torch.triu_indices(stds, stds)
    filled = torch.zeros(2, angles, stds, stds, dtype=torch.float64)
    filled[:, :, i, j] = averages(s[i], s[j], (_points(angles)[:, None] + 1) * math.pi / 2)
    filled[:, :, j, i] = filled[:, :, i, j]
    value, slope = (_coefficients(whole) for whole in filled)
    for table in (value, slope):
        tails = [table[-2:]] + ([table[:, -2:]] if stds > 1 else [])
        if max(float(tail.abs().max()) for tail in tails) > ACCURACY * float(table.abs().max()):
            return None
    return ChebyshevTable(low=low, high=high, value=value, slope=slope)


def _degree(averages: Callable[[Tensor], Tensor], *, start: int) -> int | None:
    """The number of Chebyshev points in [-1, 1] that resolve functions of one variable, (..., points).

    None: more than 150.
    """
    count = start
    while count <= 150:
        coefficients = averages(_points(count)) @ _transform(count).T
        size = coefficients.abs().amax((1, 2)).clamp(min=1e-300)
        tail = coefficients[..., -2:].abs().amax((1, 2))
        if float((tail / size).max()) < ACCURACY / 20:
            return count
        count = count * 5 // 4
    return None


def _points(count: int) -> Tensor:
    return torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count)


def _transform(count: int) -> Tensor:
    """Chebyshev coefficients from values at the Chebyshev points."""
    transform = _chebyshev(_points(count), count).T * (2 / count)
    transform[0] /= 2
    return transform


def _coefficients(values: Tensor) -> Tensor:
    """Chebyshev coefficients along all three axes."""
    for axis in range(3):
        values = torch.tensordot(_transform(values.shape[axis]), values, dims=([1], [axis])).movedim(0, axis)
    return values
