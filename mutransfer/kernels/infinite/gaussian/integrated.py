"""E[f(u) f(v)] and E[f'(u) f'(v)] for an elementwise function that has no closed form: integrated, and tabulated.

Piecewise linear functions are done exactly. For many pairs, and kinks nowhere but at 0, the averages are tabulated:
they are smooth in the two standard deviations and in the angle arccos(E u v / (s1 s2)), at angle 0 too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.gaussian.chebyshev import ChebyshevTable, tabulate
from mutransfer.kernels.infinite.gaussian.elementwise import Chain
from mutransfer.kernels.infinite.gaussian.kinks import find_kinks
from mutransfer.kernels.infinite.gaussian.piecewise_linear import PiecewiseLinear, piecewise_linear
from mutransfer.kernels.infinite.gaussian.quadrature import ACCURACY, LEVELS, line_averages, plane_averages


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
            value, slope = self._tabulated(self.table, q1, q2, angle)
            value, slope = self._where_constant(value, slope, q1, q2)
        else:
            s1, s2, flat = (x.expand(k.shape).flatten().cpu() for x in (q1.sqrt(), q2.sqrt(), angle))
            value, slope = (
                x.reshape(k.shape).to(k.device)
                for x in plane_averages(self.chain, self.kinks, self.level, s1, s2, flat)
            )
        # A variable with itself, where one dimension is enough
        itself = (k == size) & (q1 == q2)
        if itself.any():
            _, square, _, slope_square = self.moments(q1.expand(k.shape)[itself])
            value[itself], slope[itself] = square, slope_square
        return value, slope

    def _tabulated(self, table: ChebyshevTable, q1: Tensor, q2: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        s1, s2 = q1.sqrt(), q2.sqrt()
        value, slope = table(s1, s2, angle)
        value = value * s1 * s2
        at_zero = self._at_zero()
        if at_zero != 0:
            value = value + at_zero * (self.moments(q1)[0] + self.moments(q2)[0] - at_zero)
        return value, slope

    def _at_zero(self) -> float:
        """f(0)."""
        return float(self.chain.value(torch.zeros(1, dtype=torch.float64)))

    def _averages(self, s1: Tensor, s2: Tensor, angle: Tensor) -> Tensor:
        """The tabulated functions, (2, *shape): E (f(u) - f(0))(f(v) - f(0)) / (s1 s2), and E f'(u) f'(v)."""
        shape = torch.broadcast_shapes(s1.shape, s2.shape, angle.shape)
        s1, s2, angle = (x.expand(shape).flatten() for x in (s1, s2, angle))
        value, slope = plane_averages(self.chain, self.kinks, self.level, s1, s2, angle, self._at_zero())
        return torch.stack([value / (s1 * s2), slope]).reshape(2, *shape)

    def _where_constant(self, value: Tensor, slope: Tensor, q1: Tensor, q2: Tensor) -> tuple[Tensor, Tensor]:
        """The averages, but f(0) and torch's own derivative there where u = 0 exactly, whatever v is."""
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
        return replace(ready, table=tabulate(ready._averages, low, high, limit=count // 2))


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
