"""Parts of a parameter's gradient at one operation, and where examples lie in an operation's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from mutransfer.kernels.empirical.gradients import OuterFactors


class Unsupported(Exception):
    """An operation between parameters and data whose gradient is not known in parts."""


@dataclass(frozen=True)
class ExampleLayout:
    """Examples along dimension ``dim`` of a tensor, ``repeats`` entries each.

    ``example_major``: the entries of one example lie together; else entries repeat examples, as in (time * N).
    """

    dim: int
    repeats: int
    example_major: bool


def split_examples(tensor: Tensor, layout: ExampleLayout | None, size: int) -> Tensor:
    """(N, repeats, the other dimensions); without a layout everything belongs to the one example."""
    if layout is None:
        return tensor[None, None]
    moved = tensor.movedim(layout.dim, 0)
    if layout.example_major:
        return moved.unflatten(0, (size, layout.repeats))
    return moved.unflatten(0, (layout.repeats, size)).transpose(0, 1)


def _behind_outputs(layout: ExampleLayout | None) -> ExampleLayout | None:
    """The layout of tensors with a dimension of outputs before all others."""
    return None if layout is None else replace(layout, dim=layout.dim + 1)


@dataclass(frozen=True)
class WeightSource:
    """A weight: a parameter itself, or what was computed from the ``leaves`` alone."""

    leaves: dict[str, Tensor]
    root: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.leaves)

    def is_parameter(self) -> bool:
        return len(self.leaves) == 1 and self.root is next(iter(self.leaves.values()))

    def pulled_back(self, rows: Tensor) -> dict[str, Tensor]:
        """Gradients (N, O, root size) of the weight as gradients (N, O, size) of its leaves."""
        if self.is_parameter():
            return {self.names[0]: rows}
        cotangents = rows.reshape(-1, *self.root.shape)
        leaves = list(self.leaves.values())
        gradients = torch.autograd.grad(
            self.root, leaves, cotangents, is_grads_batched=True, retain_graph=True, allow_unused=True
        )
        return {
            name: gradient.reshape(*rows.shape[:2], -1)
            for name, gradient in zip(self.leaves, gradients, strict=True)
            if gradient is not None
        }


# The weight that an operation's argument is, or None for data
FindSource = Callable[[Any], WeightSource | None]


@dataclass(frozen=True)
class Part:
    """A share of the gradient of the leaves of ``source`` at an operation."""

    source: WeightSource

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names


@dataclass(frozen=True)
class OuterProduct(Part):
    """W meets data at every position t: its gradient is the sum over t of outer products of signal_t and data_t.

    ``data``: (..., D) with leading dimensions as the operation's output has them, or whole numbers (...) that stand
    for one-hot vectors. W is (signal, data) if ``signal_first`` and else (data, signal), or rows of such a parameter.
    With ``groups``, data is (..., groups * D) and W is (groups * signal, D).
    """

    data: Tensor
    version: int  # of the data when it was used: a later change in place makes it useless
    signal_first: bool
    features: int | None = -1  # dimension of the output that the signal's features are in; None: it has one only
    rows: tuple[int, int] = (0, 0)  # of the parameter
    groups: int = 1
    ignored: int | None = None  # one-hot index without a gradient

    @property
    def one_hot(self) -> bool:
        return not self.data.is_floating_point()

    def is_intact(self) -> bool:
        return self.data._version == self.version

    def signal(self, gradients: Tensor, layout: ExampleLayout | None, size: int) -> Tensor:
        """(N, T, O, features) from the gradients (O, ...) of the output; a view where it can be one."""
        if self.features is None:
            moved = gradients.unsqueeze(-1)
        else:
            moved = gradients.movedim(self.features if self.features < 0 else self.features + 1, -1)
        signal = split_examples(moved, _behind_outputs(layout), size)  # (N, repeats, O, positions ..., features)
        signal = signal.movedim(2, -2).flatten(1, -3)
        if self.ignored is None:
            return signal
        return signal.masked_fill((self.examples(layout, size) == self.ignored)[..., None, None], 0)

    def factors(self, signal: Tensor, layout: ExampleLayout | None, size: int) -> OuterFactors:
        """The outer products with signals (N, T, O, features) of some outputs."""
        root = self.source.root
        shape = (1, root.shape[0]) if root.ndim == 1 and self.signal_first else (root.shape[0], root[0].numel())
        return OuterFactors(
            signal=signal,
            data=self.examples(layout, size),
            signal_first=self.signal_first,
            rows=self.rows,
            groups=self.groups,
            shape=shape,
        )

    def examples(self, layout: ExampleLayout | None, size: int) -> Tensor:
        """Data as (N, T, D), or (N, T) of whole numbers."""
        data = split_examples(self.data, layout, size)
        return data.reshape(size, -1) if self.one_hot else data.reshape(size, -1, data.shape[-1])


@dataclass(frozen=True)
class Pointwise(Part):
    """Every entry of the output depends on one entry of the weight, with derivative ``factor`` (None: 1).

    ``shape``: the weight's, as it is broadcast against the output.
    """

    shape: tuple[int, ...]
    factor: Tensor | None
    version: int = 0

    def is_intact(self) -> bool:
        return self.factor is None or self.factor._version == self.version

    def reduced(self, gradients: Tensor, layout: ExampleLayout | None, size: int) -> Tensor:
        """Gradients (N, O, size of the weight) from those (O, ...) of the output."""
        if self.factor is not None:
            gradients = gradients * self.factor
        shape = (1,) * (gradients.ndim - 1 - len(self.shape)) + self.shape
        examples = (0,) if layout is None else (0, layout.dim + 1)
        summed = [
            d for d, length in enumerate(shape, 1) if length == 1 and d not in examples and gradients.shape[d] != 1
        ]
        if summed:
            gradients = gradients.sum(summed, keepdim=True)
        rows = split_examples(gradients, _behind_outputs(layout), size)
        rows = rows[:, 0] if rows.shape[1] == 1 else rows.sum(1)
        return rows.reshape(size, -1, prod(self.shape))


@dataclass(frozen=True)
class Replicated(Part):
    """The output is the weight once for every example."""

    def reduced(self, gradients: Tensor, layout: ExampleLayout | None, size: int) -> Tensor:
        """Gradients (N, O, size of an example's weight) from those (O, ...) of the output."""
        rows = split_examples(gradients, _behind_outputs(layout), size).transpose(1, 2)
        return rows.reshape(size, len(gradients), -1)

    def one(self, layout: ExampleLayout | None, size: int) -> WeightSource:
        """The weight as one example has it."""
        return WeightSource(self.source.leaves, split_examples(self.source.root, layout, size)[0])
