"""E[f(u) f(v)] and E[f'(u) f'(v)] for an elementwise function that has no closed form: integrated, and tabulated.

Piecewise linear functions are done exactly. For many pairs, and kinks nowhere but at 0, the averages are tabulated:
they are smooth in the two standard deviations and in the angle arccos(E u v / (s1 s2)), at angle 0 too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.gaussian.elementwise import Chain
from mutransfer.kernels.infinite.gaussian.kinks import find_kinks
from mutransfer.kernels.infinite.gaussian.piecewise_linear import PiecewiseLinear, piecewise_linear
from mutransfer.kernels.infinite.gaussian.quadrature import LEVELS, line_averages, plane_averages

ACCURACY = 1e-11  # of sqrt(E f(u)^2 E f(v)^2), and alike for f'


@dataclass(frozen=True, kw_only=True)
class Integrated:
    """A piecewise smooth function, ``ready`` for variances up to those that it was made ready for."""

    chain: Chain
    kinks: tuple[float, ...] = ()
    level: int = 0
    table: ChebyshevTable | None = None
    lines: PiecewiseLinear | None = None

    def mean(self, q: Tensor) -> Tensor | None:
        return self.moments(q)[0]

    def moments(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """E f, E f^2, E f', E f'^2 of a Gaussian of variance q; each of q's shape."""
        flat, where = torch.unique(q.flatten().cpu(), return_inverse=True)
        parts = [line_averages(self.chain, self.kinks, s) for s in flat.sqrt().split(2**12)]
        return tuple(torch.cat(p)[where].reshape(q.shape).to(q.device) for p in zip(*parts, strict=True))  # type: ignore

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        angle = torch.atan2((size - k).mul_(size + k).sqrt_(), k)
        if self.lines is not None:
            value, slope = self.lines.dual(k, q1, q2, size)
            value, slope = self._where_constant(value, slope, q1, q2)
        elif self.table is not None:
            value, slope = self.table(self, q1, q2, angle)
            value, slope = self._where_constant(value, slope, q1, q2)
        else:
            s1, s2, flat = (x.expand(k.shape).flatten().cpu() for x in (q1.sqrt(), q2.sqrt(), angle))
            value, slope = (
                x.reshape(k.shape).to(k.device)
                for x in plane_averages(self.chain, self.kinks, self.level, s1, s2, flat)
            )
        # A variable with itself, where one dimension is enough
        own = (k == size) & (q1 == q2)
        if own.any():
            _, square, _, slope_square = self.moments(q1.expand(k.shape)[own])
            value[own], slope[own] = square, slope_square
        return value, slope

    def _where_constant(self, value: Tensor, slope: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
        """Where u = 0 exactly, f(0) and torch's own derivative there, whatever v is."""
        constant = (q1 == 0) | (q2 == 0)
        if not constant.any():
            return value, slope
        at_zero, slope_at_zero = (float(x) for x in self.chain.value_and_slope(torch.zeros(1, dtype=torch.float64)))
        first, second = self.moments(q1), self.moments(q2)
        slopes = [torch.where(q == 0, slope_at_zero, m[2]) for q, m in ((q1, first), (q2, second))]
        values = [torch.where(q == 0, at_zero, m[0]) for q, m in ((q1, first), (q2, second))]
        return torch.where(constant, values[0] * values[1], value), torch.where(constant, slopes[0] * slopes[1], slope)

    def ready(self, q1: Tensor, q2: Tensor, count: int) -> Integrated:
        """Finds kinks and the number of nodes that these variances want, and tabulates where it saves time."""
        stds = torch.cat([q1.flatten(), q2.flatten()]).cpu().sqrt()
        low, high = float(stds.min()), float(stds.max())
        if high == 0:
            return self
        if not math.isfinite(high):
            raise KernelError("a variance before a nonlinearity overflows: lower weight_std, or normalise")
        if self.table is not None and self.table.low <= low and high <= self.table.high:
            return self
        kinks = find_kinks(self.chain, high)
        ready = replace(self, kinks=kinks, table=None, lines=piecewise_linear(self.chain, kinks, 10 * high))
        if ready.lines is not None:
            return ready
        ready = replace(ready, level=_enough(ready, low, high))
        if any(kink != 0 for kink in ready.kinks):
            return ready
        return replace(ready, table=tabulate(ready, low, high, limit=count // 2))


def _enough(function: Integrated, low: float, high: float) -> int:
    """The first level that agrees with the next on pairs at the ends and in the middle of what can occur."""
    stds = torch.tensor([low, high], dtype=torch.float64)
    angles = torch.tensor([1e-6, 1e-3, 0.05, 0.4, 1.3, 2.5, math.pi - 1e-3], dtype=torch.float64)
    s1, s2, angle = (x.flatten() for x in torch.meshgrid(stds, stds, angles, indexing="ij"))
    _, square, _, slope_square = function.moments(stds**2)
    scales = [torch.sqrt(m[:, None] * m).flatten().repeat_interleave(len(angles)) for m in (square, slope_square)]
    before, error = plane_averages(function.chain, function.kinks, 0, s1, s2, angle), math.inf
    for level in range(LEVELS - 1):
        after = plane_averages(function.chain, function.kinks, level + 1, s1, s2, angle)
        error = max(
            float(((a - b).abs() / scale.clamp(min=1e-300)).max())
            for a, b, scale in zip(after, before, scales, strict=True)
        )
        if error < ACCURACY / 10:
            return level
        before = after
    raise KernelError(
        f"{function.chain} could not be integrated to {ACCURACY:g} against a Gaussian of standard deviation {high:.3g} "
        f"(reached {error:.1g}): too sharp or oscillating"
    )


@dataclass(frozen=True, kw_only=True)
class ChebyshevTable:
    """Chebyshev coefficients of E (f(u) - f(0))(f(v) - f(0)) / (s1 s2) and E f'(u) f'(v) in s1, s2 and the angle."""

    low: float
    high: float
    value: Tensor  # (degrees of the angle, of s1, of s2)
    slope: Tensor

    def __call__(self, function: Integrated, q1: Tensor, q2: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        s1, s2 = q1.sqrt(), q2.sqrt()
        span = max(self.high - self.low, 1e-300)
        basis1, basis2 = (_chebyshev((2 * s - self.high - self.low) / span, self.value.shape[1]) for s in (s1, s2))
        x = angle * (2 / math.pi) - 1
        value, slope = self._sum(basis1, basis2, x)
        zero = float(function.chain.value(torch.zeros(1, dtype=torch.float64)))
        value = value * s1 * s2
        if zero != 0:
            value = value + zero * (function.moments(q1)[0] + function.moments(q2)[0] - zero)
        return value, slope

    def _sum(self, basis1: Tensor, basis2: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """By the recurrence T_k+1 = 2 x T_k - T_k-1; each T_k meets a product of thin matrices."""
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
    """Which degrees of the angle count: the others add up to less than a twentieth of the accuracy.

    Half of them do not where the function is odd or even.
    """
    size = table.abs().sum((1, 2))
    smallest = size.sort()
    dropped = smallest.indices[smallest.values.cumsum(0) < ACCURACY / 20 * table.abs().max()]
    kept = torch.ones(len(table), dtype=torch.bool)
    kept[dropped.cpu()] = False
    return kept.tolist()


def _outer(left: Tensor, right: Tensor, shape: torch.Size) -> Tensor:
    """Sums the last axis of two arrays that broadcast to ``shape`` otherwise, by matrix products."""
    letters = "abcdef"[: len(shape)]
    kept = ["".join(a for a, n in zip(letters, x.shape, strict=False) if n > 1) for x in (left, right)]
    out = "".join(a for a in letters if a in kept[0] or a in kept[1])
    squeezed = [x.reshape([n for n in x.shape[:-1] if n > 1] + [x.shape[-1]]) for x in (left, right)]
    return torch.einsum(f"{kept[0]}z,{kept[1]}z->{out}", *squeezed).reshape(shape)


def _chebyshev(x: Tensor, count: int) -> Tensor:
    """T_0 .. T_count-1 at x, along a new last axis."""
    rows = [torch.ones_like(x), x]
    while len(rows) < count:
        rows.append(2 * x * rows[-1] - rows[-2])
    return torch.stack(rows[:count], -1)


def tabulate(function: Integrated, low: float, high: float, *, limit: int) -> ChebyshevTable | None:
    """The table for standard deviations from low to high; None where it takes more than ``limit`` evaluations."""
    zero = float(function.chain.value(torch.zeros(1, dtype=torch.float64)))

    def averages(s1: Tensor, s2: Tensor, angle: Tensor) -> Tensor:
        """(2, *shape) of the two averages, at standard deviations and angles of one shape."""
        shape = torch.broadcast_shapes(s1.shape, s2.shape, angle.shape)
        flat = [x.expand(shape).flatten() for x in (s1, s2, angle)]
        value, slope = plane_averages(function.chain, function.kinks, function.level, flat[0], flat[1], flat[2], zero)
        return torch.stack([value / (flat[0] * flat[1]), slope]).reshape(2, *shape)

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
    for found in (value, slope):
        tails = [found[-2:]] + ([found[:, -2:]] if stds > 1 else [])
        if max(float(tail.abs().max()) for tail in tails) > ACCURACY * float(found.abs().max()):
            return None
    return ChebyshevTable(low=low, high=high, value=value, slope=slope)


def _degree(averages: Callable[[Tensor], Tensor], *, start: int) -> int | None:
    """How many Chebyshev points in [-1, 1] resolve functions of one variable, (..., points); None: more than 150."""
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
    """The same along all three axes."""
    for axis in range(3):
        values = torch.tensordot(_transform(values.shape[axis]), values, dims=([1], [axis])).movedim(0, axis)
    return values
