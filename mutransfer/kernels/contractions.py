"""Inner products of gradients that are known as sums of outer products, without forming more than is cheapest.

With inputs A (N, T, D) and backward signals B (N, T, O, C) of a matrix, sum over t of b_t a_t^T is its gradient, and
the inner product of two gradients is the sum over t, s of (a_t . a_s)(b_t . b_s). Which of the two forms costs less
depends on the number of positions T. Layerwise kernels in this form: Novak, Sohl-Dickstein & Schoenholz 2022
("structured derivatives"), and George's NNGeometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Literal

import torch
from torch import Tensor

from mutransfer.kernels.batches import blocks
from mutransfer.kernels.factors import Factors, Gradients

Form = Literal["gram", "rows"]

# What an elementwise pass over a matrix costs per entry, in floating-point operations of a matrix product.
PASS = 16.0


def cheaper(left: Sequence[Factors], right: Sequence[Factors], *, full: bool, same: bool) -> Form:
    """The form that costs less for the kernel between two blocks (``same``: of one block with itself)."""
    if any(f.groups > 1 for f in left) or not _rows_agree([*left, *right]):
        return "rows"
    gram = sum(_gram_cost(a, b, full) for a, b in product(left, right))
    rows = sum(_rows_cost(f) for f in (left if same else [*left, *right]))
    n, m, outputs = left[0].signal.shape[0], right[0].signal.shape[0], left[0].signal.shape[2]
    rows += 2 * n * m * outputs * (outputs if full else 1) * _width(left, right)
    return "gram" if gram <= rows else "rows"


def contract(
    left: Gradients, right: Gradients, *, full: bool, form: Form | None, limit_bytes: int, known: dict[int, Tensor]
) -> Tensor:
    """The kernel of one parameter between two blocks: (N, M) summed over outputs, or (N, M, O, O) if ``full``.

    ``known`` keeps products of data that are small, for other outputs of the same blocks.
    """
    if left.rows is None and right.rows is None and left.factors and right.factors:
        if form == "gram":
            found = [
                kernel
                for place, (a, b) in enumerate(product(left.factors, right.factors))
                if (kernel := _gram(a, b, full, limit_bytes, known, place)) is not None
            ]
            if not found:
                return _nothing(left.factors[0], right.factors[0], full)
            return sum(found[1:], start=found[0])
        return _by_rows(left.factors, right.factors, full, limit_bytes)
    return _inner(_all_rows(left), _all_rows(right), full)


def outer(factors: Factors, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of the gradients of a matrix: (N, O, stop - start, columns)."""
    n, t, outputs, _ = factors.signal.shape
    low, high = max(start, factors.rows[0]), min(stop, factors.rows[1])
    if low >= high:
        return factors.signal.new_zeros(n, outputs, stop - start, factors.shape[1])
    inside = slice(low - factors.rows[0], high - factors.rows[0])
    if factors.groups > 1:
        signal = factors.signal.unflatten(-1, (factors.groups, -1))
        data = factors.data.unflatten(-1, (factors.groups, -1))
        found = torch.einsum("ntogc,ntgd->nogcd", signal, data).flatten(2, 3)[:, :, inside]
    elif factors.signal_first:
        signal = factors.signal[..., inside].reshape(n, t, -1)
        found = torch.bmm(signal.mT, factors.data).unflatten(1, (outputs, -1))
    elif factors.one_hot:
        found = _scattered(factors, low, high)
    else:
        signal = factors.signal.reshape(n, t, -1)
        found = torch.bmm(factors.data[..., inside].mT, signal).unflatten(2, (outputs, -1)).transpose(1, 2)
    if (low, high) == (start, stop):
        return found
    whole = found.new_zeros(n, outputs, stop - start, found.shape[-1])
    whole[:, :, low - start : high - start] = found
    return whole


def _scattered(factors: Factors, low: int, high: int) -> Tensor:
    n, _, outputs, features = factors.signal.shape
    inside = (factors.data >= low) & (factors.data < high)
    example, position = inside.nonzero(as_tuple=True)
    places = example * (high - low) + factors.data[example, position] - low
    found = factors.signal.new_zeros(n * (high - low), outputs * features)
    found.index_add_(0, places, factors.signal[example, position].reshape(-1, outputs * features))
    return found.view(n, high - low, outputs, features).transpose(1, 2)


def _all_rows(gradients: Gradients) -> Tensor:
    rows = [outer(f, 0, f.shape[0]).flatten(2) for f in gradients.factors]
    if gradients.rows is not None:
        rows.append(gradients.rows)
    return sum(rows[1:], start=rows[0])


def _inner(left: Tensor, right: Tensor, full: bool) -> Tensor:
    """Inner products of (N, O, P) and (M, O, P)."""
    if not full:
        return left.flatten(1) @ right.flatten(1).mT
    found = left.flatten(0, 1) @ right.flatten(0, 1).mT
    return found.view(left.shape[0], left.shape[1], right.shape[0], right.shape[1]).transpose(1, 2)


def _by_rows(left: Sequence[Factors], right: Sequence[Factors], full: bool, limit_bytes: int) -> Tensor:
    """Gradients are formed for some rows of the parameter at a time, so that no block of examples is run twice."""
    same = left is right
    left, right = _compact(left, right)
    height, width = left[0].shape
    n, outputs = left[0].signal.shape[0], left[0].signal.shape[2]
    examples = n if same else n + right[0].signal.shape[0]
    per_row = examples * outputs * width * left[0].signal.element_size()
    found = None
    for start, stop in blocks(height, limit_bytes // max(1, per_row)):
        a = _sum_of_outer(left, start, stop)
        part = _inner(a, a if same else _sum_of_outer(right, start, stop), full)
        found = part if found is None else found.add_(part)
    assert found is not None
    return found


def _sum_of_outer(factors: Sequence[Factors], start: int, stop: int) -> Tensor:
    found = outer(factors[0], start, stop)
    for more in factors[1:]:
        found = found + outer(more, start, stop)
    return found.flatten(2)


def _compact(left: Sequence[Factors], right: Sequence[Factors]) -> tuple[Sequence[Factors], Sequence[Factors]]:
    """Of a matrix whose rows are only looked up, the rows that occur."""
    every = [*left, *right]
    if not all(f.one_hot for f in every):
        return left, right
    tokens = torch.unique(torch.cat([f.data.flatten() for f in every]))
    shape = (len(tokens), left[0].shape[1])

    def compacted(factors: Sequence[Factors]) -> list[Factors]:
        return [
            replace(f, data=torch.searchsorted(tokens, f.data.contiguous()), rows=(0, len(tokens)), shape=shape)
            for f in factors
        ]

    return compacted(left), compacted(right)


def _nothing(a: Factors, b: Factors, full: bool) -> Tensor:
    (n, _, outputs, _), (m, _, others, _) = a.signal.shape, b.signal.shape
    return a.signal.new_zeros((n, m, outputs, others) if full else (n, m))


def _gram(a: Factors, b: Factors, full: bool, limit_bytes: int, known: dict[int, Tensor], place: int) -> Tensor | None:
    """One pair of uses; None where they touch different rows of the parameter."""
    if a.rows != b.rows:
        return None
    (n, t, outputs, _), (m, s, _, _) = a.signal.shape, b.signal.shape
    per_example = t * m * s * a.signal.element_size() * (outputs**2 if full else 1)
    if t == s == 1 and a.signal_first == b.signal_first:
        if place not in known:
            known[place] = _data_product(a, b)
        return _pair(a, b, known[place], full)

    def pair(a: Factors, b: Factors, full: bool) -> Tensor:
        if a.signal_first == b.signal_first:
            return _pair(a, b, _data_product(a, b), full)
        return _mixed_pair(a, b, full)

    found = [pair(_some(a, i, j), b, full) for i, j in blocks(n, limit_bytes // max(1, 2 * per_example))]
    return torch.cat(found)


def _some(factors: Factors, start: int, stop: int) -> Factors:
    return replace(factors, signal=factors.signal[start:stop], data=factors.data[start:stop])


def _data_product(a: Factors, b: Factors) -> Tensor:
    if a.one_hot:
        return (a.data.reshape(-1, 1) == b.data.reshape(1, -1)).to(a.signal.dtype)
    return a.data.flatten(0, 1) @ b.data.flatten(0, 1).mT


def _pair(a: Factors, b: Factors, data: Tensor, full: bool) -> Tensor:
    (n, t, outputs, _), (m, s, _, _) = a.signal.shape, b.signal.shape
    if not full:
        signal = a.signal.flatten(0, 1).flatten(1) @ b.signal.flatten(0, 1).flatten(1).mT
        return signal.mul_(data).view(n, t, m, s).sum((1, 3))
    signal = a.signal.flatten(0, 2) @ b.signal.flatten(0, 2).mT
    signal = signal.view(n, t, outputs, m, s, outputs).mul_(data.view(n, t, 1, m, s, 1))
    return signal.sum((1, 4)).permute(0, 2, 1, 3)


def _mixed_pair(a: Factors, b: Factors, full: bool) -> Tensor:
    """A matrix that is read out with in one place and looked up, or transposed, in another."""
    if b.signal_first:
        return _mixed_pair(b, a, full).transpose(0, 1).transpose(-1, -2 if full else -1)
    (n, t, outputs, _), (m, s, _, _) = a.signal.shape, b.signal.shape
    kernel = a.signal.new_zeros(n, m, outputs, outputs) if full else a.signal.new_zeros(n, m)
    for o in range(outputs):
        if b.one_hot:  # rows of the matrix: signals of a, looked up
            rows = a.signal[:, :, o].flatten(0, 1)[:, b.data.flatten()]
        else:
            rows = a.signal[:, :, o].flatten(0, 1) @ b.data.flatten(0, 1).mT
        for p in range(outputs) if full else [o]:
            columns = a.data.flatten(0, 1) @ b.signal[:, :, p].flatten(0, 1).mT
            found = (rows * columns).view(n, t, m, s).sum((1, 3))
            if full:
                kernel[:, :, o, p] = found
            else:
                kernel += found
    return kernel


def _rows_agree(factors: Sequence[Factors]) -> bool:
    """Whether any two touch the same rows of the parameter or none in common."""
    ranges = sorted({f.rows for f in factors})
    return all(a[1] <= b[0] for a, b in pairwise(ranges))


def _gram_cost(a: Factors, b: Factors, full: bool) -> float:
    (n, t, outputs, features), (m, s, _, _) = a.signal.shape, b.signal.shape
    squares = outputs**2 if full else outputs
    data = PASS if a.one_hot or b.one_hot else 2 * a.data.shape[-1]
    if a.signal_first != b.signal_first:
        return n * m * t * s * squares * (2 * features + data + PASS)
    return n * m * t * s * (data + squares * 2 * features + (squares if full else 1) * PASS)


def _rows_cost(factors: Factors) -> float:
    n, t, outputs, features = factors.signal.shape
    if factors.one_hot:
        return PASS * n * t * outputs * features
    return (
        2 * n * t * outputs * features * factors.data.shape[-1]
        + PASS * n * outputs * features * (factors.data.shape[-1])
    )


def _width(left: Sequence[Factors], right: Sequence[Factors]) -> int:
    """Entries of the parameter that gradients are formed for."""
    every = [*left, *right]
    height, width = left[0].shape
    if all(f.one_hot for f in every):
        height = min(height, sum(f.data.numel() for f in every))
    return height * width
