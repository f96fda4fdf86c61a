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

from mutransfer.parameterization.model.layouts import Axes

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


@dataclass(frozen=True)
class Source:
    """A parameter whose product, or whose rows, a tensor holds, and by what it was multiplied since."""

    name: str
    rows: bool  # looked up, or added, and not contracted
    factor: float = 1.0


@dataclass(frozen=True)
class Operand:
    """What is known of one of the two activations that a product multiplies."""

    factor: float  # the user's own on it
    gains: tuple[torch.Tensor, ...]  # and initial values of parameters
    length: float | None  # of its vectors, where all have the same one, as norms make them


@dataclass
class Product:
    """A product of two activations, a sum over ``size`` terms, and the user's factors on it."""

    path: str  # of the module that computes it
    size: int  # without padding
    sides: tuple[Operand, ...]
    before: float  # the user's factors on both
    values: torch.Tensor | None  # while the pass goes on, or as long as somebody watches
    scale: float  # the user's factors on the whole, as far as it is followed
    gains: tuple[torch.Tensor, ...] = ()  # initial values of parameters: on both, and then on the whole
    shared_by: float = 1.0  # how many heads on its left use the same right
    weighs: str | None = None  # path of the attention whose softmax it reaches


@dataclass(frozen=True)
class Feed:
    """What a matrix was multiplied with: a sum of ``sources``, or else something times ``factor``."""

    sources: tuple[Source, ...]
    factor: float
    products: tuple[Product, ...] = ()  # of activations, whose factor it is if they grow


@dataclass(frozen=True)
class Taken:
    """One use of a source: the user's own factor on it there, and the matrix that it was multiplied with, if any."""

    factor: float
    by: str | None


@dataclass
class Use:
    """How one parameter is used."""

    contracted: set[int] = field(default_factory=set)  # its dimensions that are summed over
    summed: set[int] = field(default_factory=set)  # those of an elementwise product that a sum follows
    matrix: bool = False  # multiplied as a matrix at all
    lookup: bool = False  # indexed, as an embedding
    elementwise: bool = False
    factor: float = 1.0  # the user's own on the matrix itself
    feeds: list[Feed] = field(default_factory=list)  # what the matrix is multiplied with, time after time
    outputs: list[Taken] = field(default_factory=list)  # what becomes of that product
    rows: list[Taken] = field(default_factory=list)  # of what was looked up or added, or of elementwise factors

    def settle(self) -> None:
        """Count what was only ever multiplied and then summed over as contracted by hand, at the end of the pass."""
        if self.summed and not self.elementwise:
            self.matrix = True
            self.contracted |= self.summed


@dataclass
class AttentionUse:
    """A product of queries and keys."""

    head_size: int
    scale: float  # what the user multiplies it with before the softmax
    logits: torch.Tensor  # the scaled product
    shared_by: float  # how many heads of queries use the same keys
    keys: int  # how many the softmax runs over
    values: torch.Tensor | None = None  # what the softmax weighs


@dataclass
class Trace:
    """The uses of parameters by name, and attention by the path of the module that computes all its products.

    Of a module that is called several times it is the last call; its products are all there.
    """

    uses: dict[str, Use] = field(default_factory=dict)
    attention: dict[str, AttentionUse] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)

    def axes(self, name: str, ndim: int) -> Axes | None:
        """The dimensions that the pass sums over and those that it does not; None where it is used in two ways."""
        use = self.uses.get(name)
        if use is None or use.matrix + use.lookup + use.elementwise != 1:
            return None
        return Axes(
            fan_in=tuple(sorted(use.contracted)), fan_out=tuple(d for d in range(ndim) if d not in use.contracted)
        )
