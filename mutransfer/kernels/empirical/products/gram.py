"""Inner products of gradients from products between positions, of their signals and of their data."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mutransfer.kernels.empirical.as_function import blocks
from mutransfer.kernels.empirical.gradients import OuterFactors


def gram(
    a: OuterFactors, b: OuterFactors, full: bool, limit_bytes: int, data_products: dict[int, Tensor], place: int
) -> Tensor | None:
    """One pair of uses; None where they touch different rows of the parameter."""
    if a.rows != b.rows:
        return None
    (n, t, outputs, features), (m, s, _, _) = a.signal.shape, b.signal.shape
    numbers = t * m * (s * (1 + outputs) + outputs * features) if full else 2 * t * m * s
    if t == s == 1 and a.signal_first == b.signal_first:
        if place not in data_products:
            data_products[place] = _data_product(a, b)
        return _pair(a, b, data_products[place], full)

    def pair(a: OuterFactors, b: OuterFactors, full: bool) -> Tensor:
        if a.signal_first == b.signal_first:
            return _pair(a, b, _data_product(a, b), full)
        return _mixed_pair(a, b, full)

    kernels = [
        pair(_some(a, i, j), b, full) for i, j in blocks(n, limit_bytes // max(1, numbers * a.signal.element_size()))
    ]
    return torch.cat(kernels)


def _some(factors: OuterFactors, start: int, stop: int) -> OuterFactors:
    return replace(factors, signal=factors.signal[start:stop], data=factors.data[start:stop])


def _data_product(a: OuterFactors, b: OuterFactors) -> Tensor:
    if a.one_hot:
        return (a.data.reshape(-1, 1) == b.data.reshape(1, -1)).to(a.signal.dtype)
    return a.data.flatten(0, 1) @ b.data.flatten(0, 1).mT


def _pair(a: OuterFactors, b: OuterFactors, data: Tensor, full: bool) -> Tensor:
    (n, t, outputs, _), (m, s, _, _) = a.signal.shape, b.signal.shape
    if not full:
        signal = a.signal.flatten(0, 1).flatten(1) @ b.signal.flatten(0, 1).flatten(1).mT
        return signal.mul_(data).view(n, t, m, s).sum((1, 3))
    if t == s == 1:
        signal = a.signal.flatten(0, 2) @ b.signal.flatten(0, 2).mT
        return signal.view(n, outputs, m, outputs).mul_(data.view(n, 1, m, 1)).transpose(1, 2)
    # First sum over s of (a_t . a_s) b_s, so that pairs of positions and pairs of outputs do not multiply
    data = data.view(n * t, m, s).transpose(0, 1).unsqueeze(1)
    spread = data @ b.signal.transpose(1, 2)  # (M, O, N * T, features)
    spread = spread.reshape(m * outputs, n, -1).permute(1, 2, 0)
    return torch.bmm(a.signal.transpose(1, 2).reshape(n, outputs, -1), spread).view(n, outputs, m, -1).transpose(1, 2)


def _mixed_pair(a: OuterFactors, b: OuterFactors, full: bool) -> Tensor:
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
            product = (rows * columns).view(n, t, m, s).sum((1, 3))
            if full:
                kernel[:, :, o, p] = product
            else:
                kernel += product
    return kernel
