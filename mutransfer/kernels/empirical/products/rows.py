"""Inner products of gradients that are formed example by example: rows of a Jacobian, some of the parameter at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mutransfer.kernels.empirical.as_function import blocks
from mutransfer.kernels.empirical.gradients import Gradients, OuterFactors


def outer(factors: OuterFactors, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of the gradients of a matrix: (N, O, stop - start, columns)."""
    n, t, outputs, _ = factors.signal.shape
    low, high = max(start, factors.rows[0]), min(stop, factors.rows[1])
    if low >= high:
        return factors.signal.new_zeros(n, outputs, stop - start, factors.shape[1])
    inside = slice(low - factors.rows[0], high - factors.rows[0])
    if factors.groups > 1:
        signal = factors.signal.unflatten(-1, (factors.groups, -1))
        data = factors.data.unflatten(-1, (factors.groups, -1))
        gradients = torch.einsum("ntogc,ntgd->nogcd", signal, data).flatten(2, 3)[:, :, inside]
    elif factors.signal_first:
        signal = factors.signal[..., inside]
        positions_last = signal.stride(1) == 1  # as convolutions have it
        signal = signal.permute(0, 2, 3, 1).reshape(n, -1, t) if positions_last else signal.reshape(n, t, -1).mT
        gradients = torch.bmm(signal, factors.data).unflatten(1, (outputs, -1))
    elif factors.one_hot:
        gradients = _scattered(factors, low, high)
    else:
        signal = factors.signal.reshape(n, t, -1)
        gradients = torch.bmm(factors.data[..., inside].mT, signal).unflatten(2, (outputs, -1)).transpose(1, 2)
    if (low, high) == (start, stop):
        return gradients
    whole = gradients.new_zeros(n, outputs, stop - start, gradients.shape[-1])
    whole[:, :, low - start : high - start] = gradients
    return whole


def _scattered(factors: OuterFactors, low: int, high: int) -> Tensor:
    n, _, outputs, features = factors.signal.shape
    inside = (factors.data >= low) & (factors.data < high)
    example, position = inside.nonzero(as_tuple=True)
    places = example * (high - low) + factors.data[example, position] - low
    gradients = factors.signal.new_zeros(n * (high - low), outputs * features)
    gradients.index_add_(0, places, factors.signal[example, position].reshape(-1, outputs * features))
    return gradients.view(n, high - low, outputs, features).transpose(1, 2)


def all_rows(gradients: Gradients) -> Tensor:
    """(N, O, size) of a parameter."""
    rows = [outer(f, 0, f.shape[0]).flatten(2) for f in gradients.factors]
    if gradients.rows is not None:
        rows.append(gradients.rows)
    return sum(rows[1:], start=rows[0])


def inner(left: Tensor, right: Tensor, full: bool) -> Tensor:
    """Inner products of (N, O, P) and (M, O, P)."""
    if not full:
        return left.flatten(1) @ right.flatten(1).mT
    products = left.flatten(0, 1) @ right.flatten(0, 1).mT
    return products.view(left.shape[0], left.shape[1], right.shape[0], right.shape[1]).transpose(1, 2)


def by_rows(left: Sequence[OuterFactors], right: Sequence[OuterFactors], full: bool, limit_bytes: int) -> Tensor:
    """Gradients are formed for some rows of the parameter at a time, so that no block of examples is run twice."""
    same = left is right
    left, right = _compact(left, right)
    height, width = left[0].shape
    n, outputs = left[0].signal.shape[0], left[0].signal.shape[2]
    examples = n if same else n + right[0].signal.shape[0]
    per_row = examples * outputs * width * left[0].signal.element_size()
    kernel = None
    for start, stop in blocks(height, limit_bytes // max(1, per_row)):
        a = _sum_of_outer(left, start, stop)
        part = inner(a, a if same else _sum_of_outer(right, start, stop), full)
        kernel = part if kernel is None else kernel.add_(part)
    assert kernel is not None
    return kernel


def _sum_of_outer(factors: Sequence[OuterFactors], start: int, stop: int) -> Tensor:
    gradients = outer(factors[0], start, stop)
    for more in factors[1:]:
        gradients = gradients + outer(more, start, stop)
    return gradients.flatten(2)


def _compact(
    left: Sequence[OuterFactors], right: Sequence[OuterFactors]
) -> tuple[Sequence[OuterFactors], Sequence[OuterFactors]]:
    """The same products for the rows that occur, of a matrix whose rows are only looked up."""
    every = [*left, *right]
    if not all(f.one_hot for f in every):
        return left, right
    tokens = torch.unique(torch.cat([f.data.flatten() for f in every]))
    shape = (len(tokens), left[0].shape[1])

    def compacted(factors: Sequence[OuterFactors]) -> list[OuterFactors]:
        return [
            replace(f, data=torch.searchsorted(tokens, f.data.contiguous()), rows=(0, len(tokens)), shape=shape)
            for f in factors
        ]

    return compacted(left), compacted(right)
