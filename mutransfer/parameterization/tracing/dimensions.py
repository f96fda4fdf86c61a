"""What an operation's tensors say of it: dimensions that are summed over, matrices that are repeated, sizes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


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


def entry_size(tensor: torch.Tensor, dim: int) -> float:
    """The size of entries that shrink as ``dim`` grows because vectors along it are normed to length 1; else 1."""
    lengths = torch.linalg.vector_norm(tensor.double(), dim=dim)
    unit = bool((lengths - 1).abs().max() < 1e-3)
    return tensor.shape[dim] ** -0.5 if unit else 1.0
