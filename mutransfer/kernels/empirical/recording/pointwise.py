"""Gradient parts of weights that every entry of the output meets one entry of: factors, summands, powers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from mutransfer.kernels.empirical.recording.parts import FindSource, Part, Pointwise, Unsupported


def bias_parts(find: FindSource, bias: Any, trailing: int = 0) -> list[Part]:
    """The part of a summand; ``trailing``: dimensions after the one of channels."""
    return [] if find(bias) is None else shift_parts(find, bias, tuple(bias.shape) + (1,) * trailing)


def shift_parts(find: FindSource, weight: Any, shape: tuple[int, ...]) -> list[Part]:
    return scale_parts(find, weight, None, shape)


def scale_parts(find: FindSource, weight: Any, factor: Tensor | None, shape: tuple[int, ...]) -> list[Part]:
    source = find(weight)
    if source is None:
        return []
    assert prod(shape) == source.root.numel()
    return [Pointwise(source=source, shape=shape, factor=factor, version=0 if factor is None else factor._version)]


def pointwise_parts(
    operation: Callable[..., Tensor], find: FindSource, args: tuple[Any, ...], kwargs: dict[str, Any], in_place: bool
) -> tuple[Part, ...]:
    places = [i for i, a in enumerate(args) if find(a) is not None]
    if len(places) != 1 or len(args) != 2 or not kwargs.keys() <= {"alpha"}:
        raise Unsupported("an elementwise operation between several weights and data")
    place = places[0]
    weight, other = args[place], args[1 - place]
    if operation is torch.add and not kwargs:
        return tuple(shift_parts(find, weight, tuple(weight.shape)))
    if operation is torch.mul and isinstance(other, Tensor):
        factor = other.detach().clone() if in_place else other.detach()
        return tuple(scale_parts(find, weight, factor, tuple(weight.shape)))
    with torch.enable_grad():
        shape = torch.broadcast_shapes(weight.shape, other.shape if isinstance(other, Tensor) else ())
        spread = weight.detach().expand(shape).clone().requires_grad_()
        other = other.detach() if isinstance(other, Tensor) else other
        out = operation(*((spread, other) if place == 0 else (other, spread)), **kwargs)
        (factor,) = torch.autograd.grad(out.sum(), spread)
    return tuple(scale_parts(find, weight, factor, tuple(weight.shape)))
