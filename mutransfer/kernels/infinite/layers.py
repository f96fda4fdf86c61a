"""Layers as steps of the recursion: one reader and one row for each; what does not fit is refused.

A reader checks a module against the shape that it receives and returns its step and the shape behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.nonlinear_steps import Normalize
from mutransfer.kernels.infinite.spatial import Padding, PatchMean, position_matrix
from mutransfer.kernels.infinite.steps import Convolution, Dense, Positions, Prior, RecursionStep

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
POSITIONS = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    *(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
    *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d),
)
INSTEAD = "mutransfer.kernels.monte_carlo estimates the kernels of any network from finite ones"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a signal, and which of its statistics are simple: what is known of it before any number is."""

    channels: int
    positions: tuple[int, ...]
    channels_first: bool  # (N, C, positions...) as convolutions have it, or (N, positions..., C)
    flattened: bool = False  # positions are features by now: (N, C * P)
    gaussian: bool = False  # each feature a centred Gaussian, independent of the others
    gained: bool = False  # its tangent kernel differs between features: a norm's gains were the last to act on it

    @property
    def shape(self) -> tuple[int, ...]:
        if self.flattened:
            return (self.channels * math.prod(self.positions),)
        return (self.channels, *self.positions) if self.channels_first else (*self.positions, self.channels)


@dataclass(frozen=True, kw_only=True)
class LayerPlace:
    """A layer's place in the network, and how its weights are drawn."""

    where: str
    prior: Prior
    raw: bool  # what it receives are the inputs themselves


def refuse(where: str, module: nn.Module, reason: str) -> KernelError:
    """The error to raise for a module, which it names."""
    return KernelError(f"{where} ({type(module).__name__}) {reason}")


def read_dense(at: LayerPlace, module: nn.Linear, signal: Shape) -> tuple[RecursionStep, Shape]:
    if signal.channels_first and signal.positions and not signal.flattened:
        raise refuse(
            at.where, module, f"would mix the last axis of {signal.shape}, not the channels: put nn.Flatten before"
        )
    if module.in_features != signal.shape[-1]:
        raise refuse(at.where, module, f"has in_features={module.in_features} and receives shape {signal.shape}")
    step = Dense(
        prior=at.prior, fan_in=module.in_features, bias=module.bias is not None, over_positions=signal.flattened
    )
    positions = () if signal.flattened else signal.positions
    return step, Shape(channels=module.out_features, positions=positions, channels_first=False, gaussian=True)


def read_convolution(at: LayerPlace, module: Any, signal: Shape) -> tuple[RecursionStep, Shape]:
    axes = len(module.kernel_size)
    if not signal.channels_first or signal.flattened or len(signal.positions) != axes:
        raise refuse(at.where, module, f"needs (channels, {axes} spatial axes) and receives shape {signal.shape}")
    if module.in_channels != signal.channels:
        raise refuse(at.where, module, f"has in_channels={module.in_channels} and receives {signal.channels}")
    if module.groups > 1 and (at.raw or module.in_channels == module.groups):
        what = "the input's channels, of which there are finitely many" if at.raw else "one channel each (depthwise)"
        raise refuse(at.where, module, f"has groups of {what}: its outputs differ in distribution. {INSTEAD}")
    padding, window, positions = [], [], []
    for axis, size in enumerate(signal.positions):
        kernel, dilation = module.kernel_size[axis], module.dilation[axis]
        reach = dilation * (kernel - 1)
        if module.padding == "same":
            before, after = reach // 2, reach - reach // 2
        else:
            before = after = 0 if module.padding == "valid" else module.padding[axis]
        try:
            padding.append(Padding.of(size, before, after, module.padding_mode))
        except RuntimeError as error:
            raise refuse(at.where, module, f"cannot pad an axis of {size}: {error}") from error
        window.append(PatchMean(kernel=kernel, stride=module.stride[axis], dilation=dilation))
        positions.append(window[-1].size_out(padding[-1].size_out))
        if positions[-1] < 1:
            raise refuse(at.where, module, f"has a window of {reach + 1} for a padded axis of {padding[-1].size_out}")
    step = Convolution(
        prior=at.prior,
        fan_in=module.in_channels // module.groups * math.prod(module.kernel_size),
        bias=module.bias is not None,
        padding=tuple(padding),
        window=tuple(window),
    )
    return step, Shape(channels=module.out_channels, positions=tuple(positions), channels_first=True, gaussian=True)


def read_positions(at: LayerPlace, module: nn.Module, signal: Shape) -> tuple[RecursionStep, Shape]:
    if not signal.channels_first or signal.flattened or not signal.positions:
        raise refuse(at.where, module, f"needs (channels, spatial axes...) and receives shape {signal.shape}")
    try:
        matrix, after = position_matrix(module, signal.positions)
    except (RuntimeError, ValueError, NotImplementedError, IndexError) as error:
        raise refuse(at.where, module, f"does not take shape {signal.shape}: {error}") from error
    return Positions(matrix=matrix, full_output=False), replace(signal, positions=after)


def read_flatten(at: LayerPlace, module: nn.Flatten, signal: Shape) -> tuple[None, Shape]:
    ndim = len(signal.shape)
    if ndim == 1:
        return None, signal
    start, end = module.start_dim % (ndim + 1), module.end_dim % (ndim + 1)
    if (start, end) == (1, ndim):
        return None, replace(signal, flattened=True)
    first, last = (2, ndim) if signal.channels_first else (1, ndim - 1)  # the spatial axes
    if first <= start <= end <= last:
        i, j = start - first, end - first + 1
        merged = math.prod(signal.positions[i:j])
        return None, replace(signal, positions=(*signal.positions[:i], merged, *signal.positions[j:]))
    raise refuse(at.where, module, f"merges the channels of {signal.shape} with a part of the positions")


def read_norm(
    at: LayerPlace, module: nn.LayerNorm | nn.GroupNorm | nn.RMSNorm, signal: Shape
) -> tuple[RecursionStep, Shape]:
    eps = module.eps if module.eps is not None else torch.finfo(torch.float64).eps
    centred = not isinstance(module, nn.RMSNorm)
    gain, bias = module.weight is not None, getattr(module, "bias", None) is not None
    if isinstance(module, nn.GroupNorm):
        if module.num_channels != signal.channels or (signal.positions and not signal.channels_first):
            raise refuse(at.where, module, f"has num_channels={module.num_channels} and receives shape {signal.shape}")
        if module.num_groups == module.num_channels:
            raise refuse(at.where, module, f"has one channel to a group, whose variance stays random. {INSTEAD}")
        over, per_position = bool(signal.positions), False
    else:
        shape = tuple(module.normalized_shape)
        over = shape == signal.shape and (signal.flattened or bool(signal.positions))
        alone = (
            not signal.flattened and shape == (signal.channels,) and not (signal.channels_first and signal.positions)
        )
        if not over and not alone:
            reason = f"has normalized_shape={shape} and receives {signal.shape}: it must take in all channels"
            raise refuse(at.where, module, reason)
        per_position = over
    step = Normalize(
        eps=float(eps), centred=centred, over_positions=over, gain=gain, bias=bias, per_position=per_position
    )
    return step, replace(signal, gained=signal.gained or gain)


LayerReader = Callable[[LayerPlace, Any, Shape], tuple[RecursionStep | None, Shape]]

# One row per layer; None for a step: only the shape changes
_READERS: dict[type[nn.Module], LayerReader] = {
    nn.Linear: read_dense,
    **dict.fromkeys(CONVOLUTIONS, read_convolution),
    **dict.fromkeys(POSITIONS, read_positions),
    **dict.fromkeys(NORMS, read_norm),
    nn.Flatten: read_flatten,
}


def reader_of(module: nn.Module) -> LayerReader | None:
    """The reader of a layer; None where it has no step here."""
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:  # subclasses that compute the same
        return read_dense
    return _READERS.get(type(module))
