"""What one forward pass does with every parameter: what it contracts, and the user's own factors on the way.

A shape tells which dimensions grow, not which are summed over; and an embedding times sqrt(width), or logits over
sqrt(width), are written in a ``forward`` and not on any tensor. Both are seen in the operations that are executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.layouts import Axes

Example = Any  # arguments of the model (a tensor, a tuple or a mapping), or a function that calls the model


def call(model: nn.Module, example: Example) -> Any:
    """The model on an example, however that is given."""
    if isinstance(example, Mapping):
        return model(**example)
    if isinstance(example, tuple | list):
        return model(*example)
    return model(example) if isinstance(example, torch.Tensor) else example(model)


def tensors(out: object) -> Iterator[torch.Tensor]:
    """All tensors in what a model returned."""
    if isinstance(out, torch.Tensor):
        yield out
    elif isinstance(out, Mapping):
        yield from (t for value in out.values() for t in tensors(value))
    elif isinstance(out, tuple | list):
        yield from (t for value in out for t in tensors(value))
    elif is_dataclass(out):
        yield from (t for f in fields(out) for t in tensors(getattr(out, f.name)))


@dataclass
class Use:
    """How one parameter is used."""

    contracted: set[int] = field(default_factory=set)  # its dimensions that are summed over
    matrix: bool = False  # multiplied as a matrix at all
    lookup: bool = False  # indexed, as an embedding
    elementwise: bool = False
    factor_in: float = 1.0  # the user's own factor on what it is multiplied with
    factor_out: float = 1.0  # on the product
    factor_rows: float = 1.0  # on what was looked up, or on the parameter itself where it is used elementwise

    @property
    def logits_factor(self) -> float:
        return self.factor_in * self.factor_out


@dataclass
class Attention:
    """A product of queries and keys."""

    head_size: int
    scale: float  # what the user multiplies it with before the softmax
    logits: torch.Tensor  # the scaled product
    values: torch.Tensor | None = None  # what the softmax weighs


@dataclass
class Trace:
    """The uses of parameters by name, and attention by the path of the module that computes it."""

    uses: dict[str, Use] = field(default_factory=dict)
    attention: dict[str, Attention] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)  # paths that compute more than one attention
    products: list[tuple[str, int]] = field(default_factory=list)  # of two activations: path and size contracted

    def axes(self, name: str, ndim: int) -> Axes | None:
        """The dimensions that the pass sums over and those that it does not; None where it is used in two ways."""
        use = self.uses.get(name)
        if use is None or use.matrix + use.lookup + use.elementwise != 1:
            return None
        return Axes(
            fan_in=tuple(sorted(use.contracted)), fan_out=tuple(d for d in range(ndim) if d not in use.contracted)
        )
