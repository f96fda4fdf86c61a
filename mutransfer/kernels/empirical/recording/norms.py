"""Gradient parts of gains and biases: normalisations, and the slope of a parametric ReLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mutransfer.kernels.empirical.recording.parts import FindSource, Part, Unsupported
from mutransfer.kernels.empirical.recording.pointwise import scale_parts, shift_parts


def layer_norm_parts(
    find: FindSource, input: Tensor, shape: Any, weight: Any = None, bias: Any = None, *rest: Any
) -> list[Part]:
    normal = _normal(find, weight, lambda: torch.layer_norm(input.detach(), shape, None, None, *rest))
    return [*scale_parts(find, weight, normal, tuple(shape)), *shift_parts(find, bias, tuple(shape))]


def rms_norm_parts(
    find: FindSource, input: Tensor, shape: Any, weight: Any = None, *rest: Any, **named: Any
) -> list[Part]:
    normal = _normal(find, weight, lambda: torch.rms_norm(input.detach(), shape, None, *rest, **named))
    return scale_parts(find, weight, normal, tuple(shape))


def group_norm_parts(
    find: FindSource, input: Tensor, groups: int, weight: Any = None, bias: Any = None, *rest: Any
) -> list[Part]:
    normal = _normal(find, weight, lambda: torch.group_norm(input.detach(), groups, None, None, *rest))
    return _channels(find, input, weight, bias, normal)


def batch_norm_parts(
    find: FindSource, input: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: Any
) -> list[Part]:
    if training:
        raise Unsupported("batch normalisation with the statistics of the batch")
    normal = _normal(find, weight, lambda: torch.batch_norm(input.detach(), None, None, mean, var, False, *rest))
    return _channels(find, input, weight, bias, normal)


def instance_norm_parts(
    find: FindSource, input: Tensor, weight: Any, bias: Any, mean: Any, var: Any, use_input: bool, *rest: Any
) -> list[Part]:
    if mean is not None and use_input:
        mean, var = mean.clone(), var.clone()  # they are updated by what is normalised
    normal = _normal(find, weight, lambda: torch.instance_norm(input.detach(), None, None, mean, var, use_input, *rest))
    return _channels(find, input, weight, bias, normal)


def prelu_parts(find: FindSource, input: Tensor, weight: Tensor) -> list[Part]:
    shape = (weight.numel(), *[1] * (input.ndim - 2)) if weight.numel() > 1 else (1,)
    return scale_parts(find, weight, input.detach().clamp(max=0), shape)


def _normal(find: FindSource, weight: Any, normalised: Callable[[], Tensor]) -> Tensor | None:
    if find(weight) is None:
        return None
    with torch.no_grad():
        return normalised()


def _channels(find: FindSource, input: Tensor, weight: Any, bias: Any, normal: Tensor | None) -> list[Part]:
    shape = (input.shape[1], *[1] * (input.ndim - 2))
    return [*scale_parts(find, weight, normal, shape), *shift_parts(find, bias, shape)]
