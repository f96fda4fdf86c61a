"""Gaussian averages of piecewise linear functions with kinks and jumps anywhere: truncated bivariate moments."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from scipy.special import owens_t
from torch import Tensor

from mutransfer.kernels.infinite.gaussian.elementwise import Chain, TimesSlope


@dataclass(frozen=True, kw_only=True)
class Kink:
    """A term (jump + turn * x) where side * x > place >= 0, side being 1 or -1."""

    side: int
    place: float
    jump: float
    turn: float


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear:
    """level + slope * x plus the terms of the kinks: told from 0 outwards, so that little cancels at any scale."""

    level: float
    slope: float
    kinks: tuple[Kink, ...]

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """E f(u) f(v) and E f'(u) f'(v), the derivative of jumps left out, for positive q1 and q2."""
        s1, s2 = q1.sqrt(), q2.sqrt()
        value, derivative = self.level**2 + self.slope**2 * k, self.slope**2 + torch.zeros_like(k)
        for kink in self.kinks:
            for std in (s1, s2):
                beyond, density = _upper(kink.place / std), _density(kink.place / std)
                # E 1, E x and E x^2 beyond the kink; the other variable is (k / std^2) x + what is independent of x
                first, second = kink.side * std * density, std**2 * beyond + kink.place * std * density
                value = value + self.level * (kink.jump * beyond + kink.turn * first)
                value = value + self.slope * k / std**2 * (kink.jump * first + kink.turn * second)
                derivative = derivative + self.slope * kink.turn * beyond
        for one in self.kinks:
            for two in self.kinks:
                sign = one.side * two.side
                mass, first, second, product = _quadrant(one.place / s1, two.place / s2, sign * k, size)
                value = value + one.jump * two.jump * mass + one.turn * two.turn * sign * size * product
                value = value + one.turn * two.jump * one.side * s1 * first
                value = value + one.jump * two.turn * two.side * s2 * second
                derivative = derivative + one.turn * two.turn * mass
        return value, derivative


def piecewise_linear(chain: Chain, kinks: tuple[float, ...], bound: float) -> PiecewiseLinear | None:
    """The chain as a piecewise linear function on [-bound, bound], if it is one between its kinks.

    >>> from torch import nn
    >>> piecewise_linear(Chain((nn.Hardtanh(0.0, 2.0),)), (0.0, 2.0), 10.0).kinks[1]
    Kink(side=1, place=2.0, jump=2.0, turn=-1.0)
    """
    bound = max([bound, *(abs(kink) + 1 for kink in kinks)])
    ends = [-bound, *kinks, bound]
    lines = [_line(chain, low, high) for low, high in itertools.pairwise(ends)]
    base = sum(kink <= 0 for kink in kinks)  # the piece that holds 0, or begins there
    terms = []
    for i, kink in enumerate(kinks):
        left, right = lines[i], lines[i + 1]
        if left is None or right is None:
            return None
        (inner, outer), side = ((left, right), 1) if i >= base else ((right, left), -1)
        terms.append(Kink(side=side, place=abs(kink), jump=outer[0] - inner[0], turn=outer[1] - inner[1]))
    middle = lines[base]
    return None if middle is None else PiecewiseLinear(level=middle[0], slope=middle[1], kinks=tuple(terms))


def _line(chain: Chain, low: float, high: float) -> tuple[float, float] | None:
    """(level, slope) of a chain that is linear on [low, high]."""
    x = low + (high - low) * torch.linspace(0.01, 0.99, 37, dtype=torch.float64)
    y, slopes = chain.value_and_slope(x)
    slope = float((y[-1] - y[0]) / (x[-1] - x[0]))
    if abs(float(slopes[0]) - slope) < 1e-13 * max(1.0, abs(slope)):
        slope = float(slopes[0])  # without the rounding of a difference
    level = float((y - slope * x).mean())
    level = 0.0 if abs(level) < 1e-14 * abs(slope) * (high - low) else level
    linear = torch.allclose(y, level + slope * x, rtol=1e-13, atol=1e-13 * (abs(level) + abs(slope) * (high - low)))
    # torch's derivative is what networks are trained with: it must be the line's, where it is wanted at all
    trained = isinstance(chain, TimesSlope) or torch.allclose(slopes, torch.full_like(x, slope), rtol=1e-13, atol=1e-13)
    return (level, slope) if linear and trained else None


def _density(x: Tensor) -> Tensor:
    return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _upper(x: Tensor) -> Tensor:
    """P(standard normal > x)."""
    return torch.special.erfc(x / math.sqrt(2)) / 2


def _quadrant(a: Tensor, b: Tensor, k: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """E 1, E x, E y and E x y over {x > a, y > b} of standard normals of correlation k / size.

    Rosenbaum 1961, eqs. 1, 3 and 5; the mass by Owen's T function (Owen 1956, eq. 2.1).
    """
    correlation = k / size
    away, towards = (size - k) / size, (size + k) / size  # 1 - correlation and 1 + correlation, without cancellation
    root = torch.sqrt(away * towards)
    near = correlation > 0
    # b - correlation * a, and a - correlation * b
    b_given = torch.where(near, (b - a) + a * away, (b + a) - a * towards)
    a_given = torch.where(near, (a - b) + b * away, (a + b) - b * towards)
    beyond_b, beyond_a = _upper(_ratio(b_given, root)), _upper(_ratio(a_given, root))
    at_a, at_b = _density(a), _density(b)
    if not bool(a.any() or b.any()):
        mass = 0.25 + torch.atan2(correlation, root) / (2 * math.pi)
    else:
        mass = (_upper(a) + _upper(b)) / 2 - _owen(a, b_given, root) - _owen(b, a_given, root)
        mass = mass - 0.5 * ((a * b < 0) | ((a * b == 0) & (a + b > 0)))
    first = at_a * beyond_b + correlation * at_b * beyond_a
    second = at_b * beyond_a + correlation * at_a * beyond_b
    # density of the pair at the corner, times 1 - correlation^2
    corner = root * at_a * _density(_ratio(b_given, root))
    product = correlation * (mass + a * at_a * beyond_b + b * at_b * beyond_a) + corner
    return mass, first, second, product


def _ratio(x: Tensor, root: Tensor) -> Tensor:
    """x / root, 0 for 0 / 0: a parallel pair whose corner lies on its line."""
    return torch.where(x == 0, 0.0, x / root)


def _owen(a: Tensor, given: Tensor, root: Tensor) -> Tensor:
    """T(-a, slope) of the corner's ray, with slope = given / (a root), infinite where a is 0."""
    if not bool(a.any()):
        return torch.sign(given) / -4
    slope = torch.where(given == 0, 0.0, given / (a * root))
    return torch.from_numpy(owens_t(a.abs().cpu().numpy(), slope.cpu().numpy())).to(a.device)
