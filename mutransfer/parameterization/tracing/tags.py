"""What the tracer knows of a tensor: which parameters it comes from, and by which factor it was multiplied since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch

from mutransfer.parameterization.tracing.trace import Product, Source


@dataclass(frozen=True)
class Weighed:
    """A tensor that was multiplied elementwise with a parameter: a contraction by hand, if a sum follows.

    ``shadow`` is a view of the parameter, broadcast to the tensor's shape and taken along through every view of it:
    its strides say which of the parameter's dimensions a dimension of the tensor walks along.
    """

    name: str
    shadow: torch.Tensor
    own: float = 1.0  # the user's factor on the parameter itself
    factor: float = 1.0  # and on the product too
    summed: bool = False


@dataclass(frozen=True)
class Tag:
    """What is known of a tensor: where it comes from, and by which factor it was multiplied since."""

    sources: tuple[Source, ...] = ()
    parameter: str | None = None  # that it is a view of, times ``factor``
    derived: frozenset[str] = frozenset()  # parameters that it is computed from, and from nothing else
    constant: bool = False  # computed from buffers: no activation
    weighed: tuple[Weighed, ...] = ()
    products: tuple[Product, ...] = ()  # of activations, one in the other: the last holds this tensor, but for factors
    weights: str | None = None  # path of the attention whose softmax it is
    others: tuple[Tag, ...] = ()  # the other products in a sum of several
    gains: tuple[torch.Tensor, ...] = ()  # what it was multiplied with that is no source's factor, as magnitudes
    factor: float = 1.0
    normed: bool = False  # its size does not depend on what was normed: it is ``factor``

    def times(self, x: float) -> Tag:
        return replace(
            self,
            sources=tuple(replace(s, factor=s.factor * x) for s in self.sources),
            weighed=tuple(replace(w, factor=w.factor * x) for w in self.weighed),
            others=tuple(other.times(x) for other in self.others),
            factor=self.factor * x,
        )

    def gaining(self, gain: torch.Tensor) -> Tag:
        """The same times something of this size that is not followed."""
        others = tuple(other.gaining(gain) for other in self.others)
        return replace(self, others=others, gains=(*self.gains, gain))

    @property
    def terms(self) -> tuple[Tag, ...]:
        """What is added up in it, of products of activations."""
        return (self, *self.others)

    @property
    def left(self) -> float:
        """The factor that is left to what reads it when its sources have made up for theirs."""
        return self.factor / prod(source.factor for source in self.sources[:1])

    @property
    def names(self) -> frozenset[str]:
        return self.derived | ({self.parameter} if self.parameter else frozenset())

    @property
    def fixed(self) -> bool:
        """Whether it is the same whatever the model is given."""
        return self.constant or bool(self.names)

    @property
    def scale(self) -> float:
        """The user's factors on a product of activations, those on its two sides included."""
        return self.products[-1].before * self.factor if self.products else self.factor


NOTHING = Tag()
