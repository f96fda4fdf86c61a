"""Averages over a Gaussian, and over a Gaussian pair, of any piecewise smooth function.

With u = s1 r cos(a) and v = s2 r cos(a - angle), cos(angle) = E u v / (s1 s2), the kinks of f are straight lines: each
ray is cut where it crosses one, and the rays are cut where two of them meet, so that every piece is smooth.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mutransfer.kernels.infinite.gaussian.elementwise import Chain
from mutransfer.kernels.parallel import parallel_map

ACCURACY = 1e-11  # what users of these averages ask of sqrt(E f(u)^2 E f(v)^2), and alike for f'
_RADIUS = 9.5  # exp(-R^2 / 2) is 3e-20
# Nodes along the angle of a sector and along a piece of a ray, by level: without and with kinks elsewhere than at 0
_SMOOTH = ((24, 40), (36, 60), (54, 90), (80, 135), (120, 200))
_KINKED = ((120, 40), (180, 40), (260, 60), (400, 90), (600, 135))
LEVELS = len(_SMOOTH)
_NODES_AT_ONCE = 2**17


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


def line_averages(chain: Chain, kinks: tuple[float, ...], s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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


def plane_averages(
    chain: Chain, kinks: tuple[float, ...], level: int, s1: Tensor, s2: Tensor, angle: Tensor, subtract: float = 0.0
) -> tuple[Tensor, Tensor]:
    """E (f(u) - c)(f(v) - c), c = subtract, and E f'(u) f'(v) for standard deviations s1, s2 and angles, all (M,)."""
    lines = [k for k in kinks if k != 0]
    around, along = (_KINKED if lines else _SMOOTH)[level]
    half = not lines and _has_parity(chain, subtract)
    sectors = 4 + len(lines) ** 2
    per_pair = sectors * around * along * (2 * len(lines) + 1)
    chunk = max(1, _NODES_AT_ONCE // per_pair)
    value, derivative = torch.empty_like(angle), torch.empty_like(angle)

    def fill(start: int) -> None:
        # Into arrays that are there already: small ones, kept from between large ones that are freed, would leave
        # holes in memory that nothing large fits in again
        rows = slice(start, start + chunk)
        part = _plane_part(chain, lines, around, along, s1[rows], s2[rows], angle[rows], subtract, half)
        value[rows], derivative[rows] = part

    parallel_map(fill, range(0, len(angle), chunk))
    return value, derivative


def _plane_part(
    chain: Chain,
    kinks: list[float],
    around: int,
    along: int,
    s1: Tensor,
    s2: Tensor,
    angle: Tensor,
    subtract: float,
    half: bool,
) -> tuple[Tensor, Tensor]:
    """The averages for some pairs; ``half``: f(u) f(v) is the same at (-u, -v), for f less ``subtract``."""
    right = torch.full_like(angle, math.pi / 2)
    ends, copies = [-right, angle - right, right, angle + right, 3 * right], 1
    if half:  # (-u, -v) has the same product: half a turn is enough
        ends, copies = ends[:3], 2
    for first in kinks:
        for second in kinks:  # where the lines u = first and v = second meet
            meet = torch.atan2(second * s1 - torch.cos(angle) * first * s2, torch.sin(angle) * first * s2)
            ends.append(torch.remainder(meet + math.pi / 2, 2 * math.pi) - math.pi / 2)
    ends = torch.stack(ends, 1).sort(1).values  # (M, sectors + 1)
    # Beside a sector's ends a ray runs along a kink's line, and meets it far out, or not at all: a layer
    nodes, weights = _double_exponential(around) if kinks else _gauss(around)
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
    return copies * value / (2 * math.pi), copies * (density * d1 * d2).sum(over) / (2 * math.pi)


def _has_parity(chain: Chain, subtract: float) -> bool:
    """Whether f - c is odd or even, to the last bits, and its slope the opposite."""
    x = torch.cat([torch.logspace(-6, 3, 1000, dtype=torch.float64), torch.linspace(0.01, 40.0, 4000).double()])
    (y, slope), (z, other) = chain.value_and_slope(x), chain.value_and_slope(-x)
    y, z = y - subtract, z - subtract
    return any(
        torch.allclose(y, sign * z, rtol=1e-14, atol=1e-15)
        and torch.allclose(slope, -sign * other, rtol=1e-14, atol=1e-15)
        for sign in (1, -1)
    )
