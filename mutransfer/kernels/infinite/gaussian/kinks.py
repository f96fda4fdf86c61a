"""Kinks: the places where a function of one variable, or its derivative, is not smooth, found by interpolating it."""

from __future__ import annotations

import math

import numpy as np
import torch

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.gaussian.elementwise import Chain

_DEGREE = 16
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
# Chebyshev coefficients of degrees 14 to 16 from values at the nodes: what a smooth function has none of
_TAIL = np.array([2 / (_DEGREE + 1) * np.cos(k * np.arccos(_NODES)) for k in range(_DEGREE - 2, _DEGREE + 1)])
_RESOLVED = 1e-12
_NARROW = 1e-4  # smooth functions are resolved long before, unless they have features as narrow
_MOST = 8


def find_kinks(chain: Chain, std: float) -> tuple[float, ...]:
    """The points where f or f' is not smooth, as far as a Gaussian of standard deviation ``std`` can tell (1e-13).

    Panels are halved until f and f' are polynomials of degree 16 on them. A kink is where that takes panels narrower
    than 1e-4, or an edge across which it fails; edges lie on integers, where kinks mostly are. Raises KernelError where
    there are more than eight: such a function is not integrated to any accuracy here.

    >>> from torch import nn
    >>> find_kinks(Chain((nn.Hardtanh(),)), 1.0), find_kinks(Chain((nn.Tanh(),)), 1.0)
    ((-1.0, 1.0), ())
    """
    bound = 2.0 ** math.ceil(math.log2(10 * std))
    width = min(1.0, bound / 4) if bound <= 1024 else bound / 1024
    left = np.arange(-bound, bound, width)
    active = np.stack([left, left + width], axis=1)
    scale = np.maximum(_values(chain, active)[0].max((0, 2)), 1e-300)
    done, kinks = [], []
    while len(active):
        roughness = _roughness(chain, active, scale)
        smooth = roughness <= _RESOLVED
        narrow = ~smooth & (active[:, 1] - active[:, 0] <= 2e-8 * np.maximum(1, np.abs(active[:, 0])))
        kinks += [_locate(chain, a, b) for a, b in active[narrow]]
        done += list(active[smooth])
        rough = active[~smooth & ~narrow]
        middle = rough.mean(1)
        active = np.concatenate([np.stack([rough[:, 0], middle], 1), np.stack([middle, rough[:, 1]], 1)])
        if len(done) + len(active) > 20_000 or len(kinks) > 4 * _MOST:
            raise KernelError(f"{chain} has too many places where it is not smooth to be integrated exactly")
    panels = np.array(sorted(map(tuple, done)))
    sizes = panels[:, 1] - panels[:, 0]
    deep = (sizes <= _NARROW * np.minimum(1, width)) & (sizes <= np.roll(sizes, 1)) & (sizes <= np.roll(sizes, -1))
    kinks += list(panels[deep].mean(1))
    half = np.minimum(sizes[1:], sizes[:-1])
    edges = panels[1:, 0]
    if len(edges):
        across = _roughness(chain, np.stack([edges - half, edges + half], 1), scale)
        kinks += list(edges[across > 10 * _RESOLVED])
    return _distinct(chain, kinks, width, std, scale)


def _distinct(chain: Chain, kinks: list[float], width: float, std: float, scale: np.ndarray) -> tuple[float, ...]:
    """One of each cluster (a kink shows in panels side by side), without those too small or far to matter."""
    distinct: list[float] = []
    # the roundest number of a cluster is the one that the author of the function wrote
    for kink in sorted(kinks, key=lambda k: (len(repr(float(k))), abs(k))):
        if all(abs(kink - other) > 1e-3 * width for other in distinct):
            distinct.append(float(kink))
    if not distinct:
        return ()
    around = np.array([[k - width / 8, k + width / 8] for k in distinct])
    size = _roughness(chain, around, scale) * np.exp(-np.minimum((np.array(distinct) / std) ** 2 / 2, 700))
    relevant = tuple(sorted(k for k, s in zip(distinct, size, strict=True) if s > 1e-14))
    if len(relevant) > _MOST:
        raise KernelError(f"{chain} has {len(relevant)} kinks; at most {_MOST} are integrated over")
    return relevant


def _values(chain: Chain, panels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|f|, |f'| and f, f' at the nodes of every panel: (panels, 2, nodes)."""
    x = (panels[:, :1] + panels[:, 1:]) / 2 + (panels[:, 1:] - panels[:, :1]) / 2 * _NODES
    value, slope = chain.value_and_slope(torch.from_numpy(x))
    both = np.stack([value.numpy(), slope.numpy()], axis=1)
    if not np.isfinite(both).all():
        raise KernelError(f"{chain} or its derivative is not finite on [{panels.min():g}, {panels.max():g}]")
    return np.abs(both), both


def _roughness(chain: Chain, panels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    tail = np.abs(_values(chain, panels)[1] @ _TAIL.T).max(-1)
    return (tail / scale).max(1)


def _locate(chain: Chain, a: float, b: float) -> float:
    """The jump within [a, b], to the last bit; somewhere in it where it is too weak for its place to matter."""
    for _ in range(60):
        middle = (a + b) / 2
        if not a < middle < b:
            break
        value, slope = chain.value_and_slope(torch.tensor([a, middle, b], dtype=torch.float64))
        change = (value.diff().abs() + slope.diff().abs()).tolist()
        a, b = (a, middle) if change[0] > change[1] else (middle, b)
    return b if b == round(b, 6) else a
