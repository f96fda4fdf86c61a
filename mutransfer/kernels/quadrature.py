"""E[f(u) f(v)] and E[f'(u) f'(v)] of a Gaussian pair for any piecewise smooth f, by integration in polar coordinates.

With u = s1 r cos(a) and v = s2 r cos(a - angle), cos(angle) = E u v / (s1 s2), the kinks of f are straight lines: each
ray is cut where it crosses one, and the rays are cut where two of them meet, so that every piece is smooth. For many
pairs, and kinks nowhere but at 0, the averages are tabulated: they are smooth in s1, s2 and the angle, at angle 0 too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.elementwise import Chain
from mutransfer.kernels.kinks import find_kinks

ACCURACY = 1e-11  # of sqrt(E f(u)^2 E f(v)^2), and alike for f'
_RADIUS = 9.5  # exp(-R^2 / 2) is 3e-20
_LEVELS = ((24, 40), (36, 60), (54, 90), (80, 135), (120, 200))  # nodes along the angle of a sector, along a ray
_NODES_AT_ONCE = 2**21


@dataclass(frozen=True, kw_only=True)
class Integrated:
    """A piecewise smooth function, ``ready`` for variances up to those that it was made ready for."""

    chain: Chain
    kinks: tuple[float, ...] = ()
    level: int = 0
    table: Table | None = None

    def mean(self, q: Tensor) -> Tensor | None:
        return self.moments(q)[0]

    def moments(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """E f, E f^2, E f', E f'^2 of a Gaussian of variance q; each of q's shape."""
        flat, where = torch.unique(q.flatten().cpu(), return_inverse=True)
        parts = [_line(self.chain, self.kinks, s) for s in flat.sqrt().split(2**12)]
        return tuple(torch.cat(p)[where].reshape(q.shape).to(q.device) for p in zip(*parts, strict=True))  # type: ignore

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
        size = torch.sqrt(q1 * q2)
        angle = torch.atan2(torch.sqrt(((size - k) * (size + k)).clamp_(min=0)), k)
        if self.table is not None:
            value, slope = self.table(self, q1, q2, angle)
        else:
            s1, s2, flat = (x.expand(k.shape).flatten().cpu() for x in (q1.sqrt(), q2.sqrt(), angle))
            value, slope = (x.reshape(k.shape).to(k.device) for x in _plane(self, s1, s2, flat))
        # A variable with itself, where one dimension is enough
        own = (k == q1) & (q1 == q2)
        if own.any():
            _, square, _, slope_square = self.moments(q1.expand(k.shape)[own])
            value[own], slope[own] = square, slope_square
        return value, slope

    def ready(self, q1: Tensor, q2: Tensor, count: int) -> Integrated:
        """Finds kinks and the number of nodes that these variances want, and tabulates where it saves time."""
        stds = torch.cat([q1.flatten(), q2.flatten()]).cpu().sqrt()
        low, high = float(stds.min()), float(stds.max())
        if high == 0:
            return self
        if not math.isfinite(high):
            raise KernelError("a variance before a nonlinearity overflows: lower weight_std, or normalise")
        ready = replace(self, kinks=find_kinks(self.chain, high), table=None)
        ready = replace(ready, level=_enough(ready, low, high))
        if any(kink != 0 for kink in ready.kinks):
            return ready
        return replace(ready, table=tabulate(ready, low, high, limit=count // 2))


def _enough(function: Integrated, low: float, high: float) -> int:
    """The first level that agrees with the next on pairs at the ends and in the middle of what can occur."""
    stds = torch.tensor([low, (low + high) / 2, high], dtype=torch.float64)
    angles = torch.tensor([1e-6, 1e-3, 0.05, 0.4, 1.3, 2.5, math.pi - 1e-3], dtype=torch.float64)
    s1, s2, angle = (x.flatten() for x in torch.meshgrid(stds, stds, angles, indexing="ij"))
    _, square, _, slope_square = function.moments(stds**2)
    scales = [torch.sqrt(m[:, None] * m).flatten().repeat_interleave(len(angles)) for m in (square, slope_square)]
    before = _plane(function, s1, s2, angle)
    for level in range(len(_LEVELS) - 1):
        after = _plane(replace(function, level=level + 1), s1, s2, angle)
        error = max(
            float(((a - b).abs() / scale.clamp(min=1e-300)).max())
            for a, b, scale in zip(after, before, scales, strict=True)
        )
        if error < ACCURACY / 10:
            return level
        before = after
    raise KernelError(
        f"{' after '.join(type(m).__name__ for m in reversed(function.chain.modules))} could not be integrated to "
        f"{ACCURACY:g} against a Gaussian of standard deviation {high:.3g} (reached {error:.1g}): too sharp or oscillating"
    )


@lru_cache
def _gauss(count: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@lru_cache
def _double_exponential(count: int) -> tuple[Tensor, Tensor]:
    """tanh-sinh nodes and weights on [0, 1] (Takahasi & Mori 1974), for pieces with layers at their ends."""
    t = np.linspace(-3.1, 3.1, count)
    nodes = 1 / (1 + np.exp(-np.pi * np.sinh(t)))
    weights = np.pi * np.cosh(t) * nodes * (1 - nodes) * (t[1] - t[0])
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def _line(chain: Chain, kinks: tuple[float, ...], s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """E f, E f^2, E f', E f'^2 at standard deviations s (M,)."""
    ends = s.new_tensor([-_RADIUS, -4.0, -1.5, 0.0, 1.5, 4.0, _RADIUS]).expand(len(s), -1)
    cuts = [torch.where(s > 0, k / s, _RADIUS).clamp(-_RADIUS, _RADIUS) for k in kinks if k != 0]
    ends = torch.cat([ends, *(c[:, None] for c in cuts)], 1).sort(1).values
    nodes, weights = _gauss(64)
    length = ends.diff(dim=1)[..., None]
    z = ends[:, :-1, None] + length * nodes
    density = length * weights * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    value, slope = chain.value_and_slope(s[:, None, None] * z)
    return tuple((density * x).sum((1, 2)) for x in (value, value**2, slope, slope**2))  # type: ignore


def _plane(function: Integrated, s1: Tensor, s2: Tensor, angle: Tensor, subtract: float = 0.0) -> tuple[Tensor, Tensor]:
    """E (f(u) - c)(f(v) - c) and E f'(u) f'(v) for standard deviations s1, s2 and the angle between u and v, all (M,)."""
    kinks = [k for k in function.kinks if k != 0]
    around, along = _LEVELS[function.level]
    sectors = 4 + len(kinks) ** 2
    per_pair = sectors * around * along * (2 * len(kinks) + 1)
    parts = [
        _plane_part(function.chain, kinks, around, along, *part, subtract)
        for part in zip(*(x.split(max(1, _NODES_AT_ONCE // per_pair)) for x in (s1, s2, angle)), strict=True)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _plane_part(
    chain: Chain, kinks: list[float], around: int, along: int, s1: Tensor, s2: Tensor, angle: Tensor, subtract: float
) -> tuple[Tensor, Tensor]:
    right = torch.full_like(angle, math.pi / 2)
    ends = [-right, angle - right, right, angle + right, 3 * right]
    for first in kinks:
        for second in kinks:  # where the lines u = first and v = second meet
            meet = torch.atan2(second * s1 - torch.cos(angle) * first * s2, torch.sin(angle) * first * s2)
            ends.append(torch.remainder(meet + math.pi / 2, 2 * math.pi) - math.pi / 2)
    ends = torch.stack(ends, 1).sort(1).values  # (M, sectors + 1)
    # Beside a sector's ends a ray runs along a kink's line, and meets it far out, or not at all: a layer
    nodes, weights = _double_exponential(2 * around) if kinks else _gauss(around)
    width = ends.diff(dim=1)[..., None]
    ray = ends[:, :-1, None] + width * nodes  # (M, sectors, around)
    c1 = s1[:, None, None] * torch.cos(ray)
    c2 = s2[:, None, None] * torch.cos(ray - angle[:, None, None])
    cuts = [torch.zeros_like(ray), torch.full_like(ray, _RADIUS)]
    for kink in kinks:
        for c in (c1, c2):
            crossing = kink / torch.where(c == 0, 1e-300, c)
            cuts.append(torch.where((crossing > 0) & (crossing < _RADIUS), crossing, _RADIUS))
    cuts = torch.stack(cuts, -1).sort(-1).values
    r_nodes, r_weights = _gauss(along)
    length = cuts.diff(dim=-1)[..., None]
    r = cuts[..., :-1, None] + length * r_nodes  # (M, sectors, around, pieces, along)
    density = width[..., None, None] * weights[:, None, None] * length * r_weights * r * torch.exp(-r * r / 2)
    f1, d1 = chain.value_and_slope(c1[..., None, None] * r)
    f2, d2 = chain.value_and_slope(c2[..., None, None] * r)
    over = (1, 2, 3, 4)
    value = (density * (f1 - subtract) * (f2 - subtract)).sum(over)
    return value / (2 * math.pi), (density * d1 * d2).sum(over) / (2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Table:
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
        if self.low == 0:  # u = 0 exactly: torch's own derivative there, whatever v is
            at_zero = float(function.chain.value_and_slope(torch.zeros(1, dtype=torch.float64))[1])
            slopes = [torch.where(q == 0, at_zero, function.moments(q)[2]) for q in (q1, q2)]
            slope = torch.where((q1 == 0) | (q2 == 0), slopes[0] * slopes[1], slope)
        return value, slope

    def _sum(self, basis1: Tensor, basis2: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """By the recurrence T_k+1 = 2 x T_k - T_k-1; each T_k meets a product of thin matrices."""
        before, now = x, torch.ones_like(x)  # T_-1 = T_1
        value, slope = torch.zeros_like(x), torch.zeros_like(x)
        for k in range(len(self.value)):
            value.addcmul_(_outer(basis1 @ self.value[k].to(x.device), basis2, x.shape), now)
            slope.addcmul_(_outer(basis1 @ self.slope[k].to(x.device), basis2, x.shape), now)
            before, now = now, (2 * x).mul_(now).sub_(before)
        return value, slope


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


def tabulate(function: Integrated, low: float, high: float, *, limit: int) -> Table | None:
    """The table for standard deviations from low to high; None where it takes more than ``limit`` evaluations."""
    zero = float(function.chain.value(torch.zeros(1, dtype=torch.float64)))

    def averages(s1: Tensor, s2: Tensor, angle: Tensor) -> Tensor:
        """(2, *shape) of the two averages, at standard deviations and angles of one shape."""
        shape = torch.broadcast_shapes(s1.shape, s2.shape, angle.shape)
        flat = [x.expand(shape).flatten() for x in (s1, s2, angle)]
        value, slope = _plane(function, *flat, subtract=zero)
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
    return Table(low=low, high=high, value=value, slope=slope)


def _degree(averages: Callable[[Tensor], Tensor], *, start: int) -> int | None:
    """How many Chebyshev points in [-1, 1] resolve functions of one variable, (..., points); None: more than 150."""
    count = start
    while count <= 150:
        coefficients = averages(_points(count)) @ _transform(count).T
        size = coefficients.abs().amax((1, 2))
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
