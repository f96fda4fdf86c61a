"""The windows of a convolution's input, one row per place of its output."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def windows(
    x: Tensor,
    kernel: Sequence[int],
    stride: int | Sequence[int],
    padding: str | int | Sequence[int],
    dilation: int | Sequence[int],
    groups: int,
) -> Tensor:
    """(N, C, *size) -> (N, *places, groups * (C / groups * kernel size)): what each output is a product with.

    >>> import torch
    >>> windows(torch.arange(4.0)[None, None], (2,), 1, 0, 1, 1).tolist()
    [[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]]
    """
    dimensions = len(kernel)
    strides, dilations = _each(stride, dimensions), _each(dilation, dimensions)
    if isinstance(padding, str):
        totals = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilations, kernel, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(p, p) for p in _each(padding, dimensions)]
    if any(map(any, sides)):
        x = F.pad(x, [n for side in reversed(sides) for n in side])
    if dimensions < 3:  # torch's own, which is twice as fast; an axis of 1 before a single one
        one = (1,) * (2 - dimensions)
        places = [
            (x.shape[2 + axis] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
            for axis in range(dimensions)
        ]
        image = x.unsqueeze(2) if one else x
        rows = F.unfold(image, (*one, *kernel), dilation=(*one, *dilations), stride=(*one, *strides))
        return rows.mT.unflatten(1, places)
    for axis in range(dimensions):
        x = x.unfold(2 + axis, dilations[axis] * (kernel[axis] - 1) + 1, strides[axis])
        x = x[..., :: dilations[axis]]
    # (N, C, *places, *kernel): channels go behind the places
    x = x.movedim(1, 1 + dimensions)
    return x.reshape(*x.shape[: 1 + dimensions], -1)


def _each(value: int | Sequence[int], dimensions: int) -> list[int]:
    values = [value] * dimensions if isinstance(value, int) else list(value)
    return values * dimensions if len(values) == 1 else values
