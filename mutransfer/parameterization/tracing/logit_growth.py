"""How the user's own scale of a product of activations grows from one width to another."""

from __future__ import annotations

import math

import torch

from mutransfer.parameterization.tracing.trace import Operand, Product

_SAME = 0.01  # of sizes that were measured: relative


def scale_growth(base: Product, target: Product) -> float:
    """The growth of all that multiplies the product: factors, initial values of parameters, norms of its two sides.

    What a norm makes of a side is measured, whatever factors are written beside it: a vector of length 1 has entries
    that shrink like the root of its size, and times that root, entries that do not.
    """
    grown = target.size / base.size
    sides = math.prod(_side(a, b, grown) for a, b in zip(base.sides, target.sides, strict=True))
    first = [sum(len(side.gains) for side in product.sides) for product in (base, target)]
    gains = _gains(base.gains[first[0] :], target.gains[first[1] :])
    return sides * gains * _ratio(base.scale, base.before, target.scale, target.before)


def is_bounded(base: Product, target: Product) -> bool:
    """Whether both sides are vectors of a length that does not depend on width: their product is a cosine."""
    pairs = [(a.length, b.length) for a, b in zip(base.sides, target.sides, strict=True)]
    return all(a is not None and b is not None and math.isclose(a, b, rel_tol=_SAME) for a, b in pairs)


def _side(base: Operand, target: Operand, grown: float) -> float:
    written = _ratio(base.factor, 1.0, target.factor, 1.0) * _gains(base.gains, target.gains)
    if base.length is None or target.length is None or grown == 1.0:
        return written
    entries = target.length / base.length / grown**0.5
    power = round(2 * math.log(entries, grown)) / 2
    if math.isclose(entries, written, rel_tol=_SAME) or not math.isclose(entries, grown**power, rel_tol=_SAME):
        return written
    return float(grown**power)


def _gains(base: tuple[torch.Tensor, ...], target: tuple[torch.Tensor, ...]) -> float:
    return math.prod(gain_growth(a, b) for a, b in zip(base, target, strict=False))


def gain_growth(base: torch.Tensor, target: torch.Tensor) -> float:
    """The one factor between initial values at two widths; 1 where there is none, as between random draws."""
    if base.shape != target.shape:
        base, target = base.unique(), target.unique()
        if base.shape != target.shape:
            return 1.0
    some = base.isfinite() & target.isfinite() & (base > 0) & (target > 0)
    ratios = target[some] / base[some]
    if not ratios.numel() or bool((ratios - ratios[0]).abs().max() > 1e-5 * ratios[0]):
        return 1.0
    return float(ratios.double().mean())


def _ratio(base: float, base_before: float, target: float, target_before: float) -> float:
    if not base or not base_before or not target_before:
        return 1.0
    return (target / target_before) / (base / base_before)
