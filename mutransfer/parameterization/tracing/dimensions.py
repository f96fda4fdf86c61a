"""What an operation's tensors say of it: dimensions that are summed over, matrices that are repeated, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import torch

_ONE_LENGTH = 1e-3  # relative: lengths that count as one
_EPS_SHARE = 0.1  # relative: what an eps in a norm may take of all lengths alike


def is_copied(name: str, before: torch.Tensor, after: Any) -> bool:
    """Whether an operation that hands values on also moved them, so that strides no longer tell."""
    if not isinstance(after, torch.Tensor):
        return False
    same_shape = after.shape == before.shape
    return name == "repeat" or (
        name in ("clone", "contiguous", "_to_copy") and same_shape and after.stride() != before.stride()
    )


def contracted_dims(name: str, this: int, left: int, args: Any) -> tuple[int, ...]:
    """The dimensions of argument ``this`` of a matrix product or convolution that are summed over."""
    ndim = args[this].ndim
    if name == "convolution":
        transposed = bool(args[6])
        return (0 if transposed else 1, *range(2, ndim))
    if name == "linear" or this == left:
        return (ndim - 1,)
    return (max(ndim - 2, 0),)


def dims_of(parameter: torch.Tensor, view: torch.Tensor, dims: Iterable[int]) -> set[int]:
    """The parameter's dimensions that dimensions of a view of it walk along, by their strides; several if merged."""
    found = set()
    for d in dims:
        low, high = view.stride(d), view.stride(d) * view.shape[d]
        if view.shape[d] > 1:
            found |= {i for i in range(parameter.ndim) if parameter.shape[i] > 1 and low <= parameter.stride(i) < high}
    return found


def reduced_dims(args: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions that torch's ``sum(x, dim, ...)`` or ``mean`` sums over: all, if none is named."""
    dims = args[1] if len(args) > 1 and args[1] is not None else ()
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    return tuple(d % ndim for d in dims) or tuple(range(ndim))


def reduced(view: torch.Tensor, dims: Iterable[int], keepdim: bool) -> torch.Tensor:
    """The view that is left of ``view`` when dimensions are summed over along which the summed tensor varies."""
    for d in sorted(dims, reverse=True):
        view = view.narrow(d, 0, 1) if keepdim else view.select(d, 0)
    return view


def repeats(matrices: torch.Tensor) -> float:
    """How often each of a stack of matrices comes in a row: keys that several heads of queries share, say."""
    stack = matrices.reshape(-1, *matrices.shape[-2:])
    if len(stack) < 2 or not bool(stack.any()):
        return 1.0
    new = (stack[1:] != stack[:-1]).flatten(1).any(1)
    return len(stack) / (1 + int(new.sum()))


def common_length(rows: torch.Tensor) -> float | None:
    """The length of all rows of a matrix, and of a stack of them in the mean; None where it is left to chance.

    Rows of one matrix that differ and have the same length all the same were normed. Where there is one row alone, as
    where all are equal, only the length 1 tells.
    """
    lengths = torch.linalg.vector_norm(rows.double(), dim=-1)
    lengths = lengths.reshape(-1, lengths.shape[-1]) if lengths.ndim else lengths.reshape(1, 1)
    some = lengths > 0  # masked rows have none
    if not bool(some.any()) or not bool(lengths.isfinite().all()):
        return None
    if bool((lengths[some] - 1).abs().max() < 1e-3):
        return 1.0
    means = (lengths.sum(-1) / some.sum(-1).clamp(min=1))[:, None]
    if bool(((lengths - means).abs() > 1e-4 * means)[some].any()):
        return None
    seen = rows.double().reshape(*lengths.shape, -1)
    turned = ((seen - seen[:, :1]).abs().amax(-1) > 1e-2 * means / rows.shape[-1] ** 0.5) & some & some[:, :1]
    return float(lengths[some].log().mean().exp()) if int(turned.sum()) > 1 else None


def padding(left: torch.Tensor, right: torch.Tensor) -> int:
    """How many entries of rows that are multiplied with each other are zeros on one side, to fill them up.

    Not counted is what is zero by chance, as behind a ReLU: then entries beside it are, too.
    """
    if left.shape[-1] != right.shape[-1]:
        return 0
    empty = torch.zeros(left.shape[-1], dtype=torch.bool, device=left.device)
    for rows in (left, right):
        zero = (rows == 0).reshape(-1, rows.shape[-1])
        zero = zero[~zero.all(-1)]  # without rows that are masked
        columns = zero.all(0)
        if len(zero) and float(zero[:, ~columns].double().mean()) < 0.01:
            empty |= columns
    return int(empty.sum())


def normed_size(factors: Sequence[Any], out: torch.Tensor) -> float | None:
    """The size of entries of a product or quotient whose vectors one factor has normed; None where none has.

    The vectors lie along the dimensions in which that factor is repeated. They are normed where all are of one length
    (a root of squares, a sum or a maximum of absolute values) though what was normed differs, or where that is 1 or the
    mean is.
    """
    if len(factors) != 2 or not all(isinstance(f, torch.Tensor) for f in factors) or not out.is_floating_point():
        return None
    shapes = [f.expand(out.shape) for f in factors]
    for this, other in ((0, 1), (1, 0)):
        dims = [d for d in range(out.ndim) if out.shape[d] > 1 and _repeated(shapes[this], d)]
        if not dims or all(_repeated(shapes[other], d) for d in dims):
            continue
        count = prod(out.shape[d] for d in dims)
        for order in (2, 1, math.inf):
            before, after = (torch.linalg.vector_norm(x.double(), order, dims) for x in (shapes[other], out))
            before, after = before[after > 0], after[after > 0]
            if not after.numel() or float((after - after.mean()).abs().max() / after.mean()) > _ONE_LENGTH:
                continue
            differs = float((before - before.mean()).abs().max() / before.mean()) > 10 * _ONE_LENGTH
            size = float(after.mean()) / count ** (1 / order)
            near = _EPS_SHARE if differs else _ONE_LENGTH
            exact = next((x for x in (1.0, count ** (-1 / order)) if math.isclose(size, x, rel_tol=near)), None)
            if exact is not None or differs:
                return exact or size
    return None


def _repeated(tensor: torch.Tensor, dim: int) -> bool:
    """Whether a dimension only repeats what is there: of stride 0."""
    return tensor.shape[dim] == 1 or tensor.stride(dim) == 0
