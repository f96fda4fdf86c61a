"""The cheaper form of the inner products of gradients, by floating-point operations of a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Literal

from mutransfer.kernels.empirical.gradients import OuterFactors

ProductForm = Literal["gram", "rows"]

# What an elementwise pass over a matrix costs per entry: half a nanosecond, against 60 operations of a product in one.
PASS = 32.0


def cheaper(left: Sequence[OuterFactors], right: Sequence[OuterFactors], *, full: bool, same: bool) -> ProductForm:
    """The form that costs less for the kernel between two blocks (``same``: of one block with itself)."""
    if any(f.groups > 1 for f in left) or not _rows_agree([*left, *right]):
        return "rows"
    gram = sum(_gram_cost(a, b, full) for a, b in product(left, right))
    rows = sum(_rows_cost(f) for f in (left if same else [*left, *right]))
    n, m, outputs = left[0].signal.shape[0], right[0].signal.shape[0], left[0].signal.shape[2]
    rows += 2 * n * m * outputs * (outputs if full else 1) * _width(left, right)
    return "gram" if gram <= rows else "rows"


def _rows_agree(factors: Sequence[OuterFactors]) -> bool:
    """Whether any two touch the same rows of the parameter or none in common."""
    ranges = sorted({f.rows for f in factors})
    return all(a[1] <= b[0] for a, b in pairwise(ranges))


def _gram_cost(a: OuterFactors, b: OuterFactors, full: bool) -> float:
    (n, t, outputs, features), (m, s, _, _) = a.signal.shape, b.signal.shape
    data = PASS if a.one_hot or b.one_hot else 2 * a.data.shape[-1]
    if a.signal_first != b.signal_first:
        return n * m * t * s * outputs * (outputs if full else 1) * (2 * features + data + PASS)
    if full and t * s > 1:
        spread = n * m * t * outputs * features * (2 * s + 2 * outputs + PASS)
        return spread + n * m * t * s * (data + outputs * PASS)
    return n * m * t * s * (data + (outputs**2 if full else outputs) * 2 * features + PASS)


def _rows_cost(factors: OuterFactors) -> float:
    n, t, outputs, features = factors.signal.shape
    if factors.one_hot:
        return PASS * n * t * outputs * features
    return (
        2 * n * t * outputs * features * factors.data.shape[-1]
        + PASS * n * outputs * features * (factors.data.shape[-1])
    )


def _width(left: Sequence[OuterFactors], right: Sequence[OuterFactors]) -> int:
    """Entries of the parameter that gradients are formed for."""
    every = [*left, *right]
    height, width = left[0].shape
    if all(f.one_hot for f in every):
        height = min(height, sum(f.data.numel() for f in every))
    return height * width
