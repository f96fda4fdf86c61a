"""The values that the infinite-width recursion carries: second moments and tangent kernels of pairs of positions.

A signal has P positions (pixels; 1 for a vector). Four layouts, by which pairs of (example, position) are kept:

    same example   diagonal (N, P)         full (N, P, P)
    cross          diagonal (N1, N2, P)    full (N1, N2, P, P)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """Moments of one set of examples alone, per example and position: (N, P). ``mean`` is None where it is zero."""

    variance: Tensor  # E z^2, not centred
    mean: Tensor | None = None

    def __getitem__(self, rows: slice) -> Marginal:
        return Marginal(variance=self.variance[rows], mean=None if self.mean is None else self.mean[rows])


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Second moments (``nngp``) and tangent kernels (``ntk``) of one feature of the infinitely wide layer."""

    nngp: Tensor
    ntk: Tensor
    same: bool  # pairs of positions of one example, rather than of two sets of examples
    full: bool  # every pair of positions, rather than each position with itself

    def map(self, function) -> Pairs:
        return replace(self, nngp=function(self.nngp), ntk=function(self.ntk))

    def left(self, values: Tensor) -> Tensor:
        """(N1, P) values of the first example, shaped to multiply the kernels."""
        if not self.same:
            values = values[:, None]
        return values[..., None] if self.full else values

    def right(self, values: Tensor) -> Tensor:
        """(N2, P) values of the second example, shaped to multiply the kernels."""
        if not self.same:
            values = values[None]
        return values[..., None, :] if self.full else values

    def diagonal(self) -> Pairs:
        """Each position with itself only."""
        return replace(self.map(lambda k: k.diagonal(dim1=-2, dim2=-1)), full=False) if self.full else self
