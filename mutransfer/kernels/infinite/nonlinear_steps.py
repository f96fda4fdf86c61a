"""The steps of the infinite-width recursion that are not linear in a feature: elementwise functions and norms."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mutransfer.kernels.infinite.gaussian.nonlinearities import Nonlinearity
from mutransfer.kernels.infinite.pairs import Marginal, Pairs
from mutransfer.kernels.infinite.steps import RecursionStep

# k may exceed sqrt(q1 q2) by rounding, and then the pair is parallel: within a few units in the last place it is taken
# to be. What is nearly parallel keeps its angle to the square root of rounding, 1e-8, no better.
_PARALLEL = 8 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, kw_only=True)
class Elementwise(RecursionStep):
    """A nonlinear function of each feature.

    Behind a norm with gains ``gain`` is the function x f'(x): the gain of a feature adds u v f'(u) f'(v) to its tangent
    kernel, which is as random as f'(u) f'(v), so that the mean of the product is wanted and not a product of means.
    """

    function: Nonlinearity
    gain: Nonlinearity | None = None
    gain_per_position: bool = False

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        q1, q2 = pairs.left(left.variance), pairs.right(right.variance)
        size = pairs.left(left.variance.sqrt()) * pairs.right(right.variance.sqrt())
        parallel = pairs.nngp.abs() > (1 - _PARALLEL) * size
        k = torch.where(parallel, torch.copysign(size, pairs.nngp), pairs.nngp)
        nngp, slope = self.function.dual(k, q1, q2, size)
        ntk = slope.mul_(pairs.ntk)
        if self.gain is not None:
            from_gain = nngp if self.gain is self.function else self.gain.dual(k, q1, q2, size)[0]
            ntk = ntk + (only_equal_positions(from_gain) if self.gain_per_position and pairs.full else from_gain)
        return replace(pairs, nngp=nngp, ntk=ntk)

    def mean(self, marginal: Marginal) -> Tensor | None:
        return self.function.mean(marginal.variance)

    def ready(self, left: Marginal, right: Marginal, count: int) -> RecursionStep:
        function = self.function.ready(left.variance, right.variance, count)
        if self.gain is None:
            return replace(self, function=function)
        gain = function if self.gain is self.function else self.gain.ready(left.variance, right.variance, count)
        return replace(self, function=function, gain=gain)


@dataclass(frozen=True, kw_only=True)
class Normalize(RecursionStep):
    """LayerNorm, GroupNorm, RMSNorm: over infinitely many features, mean and variance are those of one feature.

    Gains are 1 and biases 0, and both are trained where the module has them: each adds its own term to the ntk. The
    gains' is left to the nonlinearity behind, if there is one (``Elementwise.gain``), and ``gain`` is then False.
    """

    eps: float
    centred: bool
    over_positions: bool
    gain: bool
    bias: bool
    per_position: bool  # the gain and the bias of a feature differ between positions

    def _centre_and_scale(self, marginal: Marginal) -> tuple[Tensor | None, Tensor]:
        centre = marginal.mean if self.centred else None
        variance = marginal.variance
        if self.over_positions:
            variance = variance.mean(-1, keepdim=True).expand_as(variance)
            centre = None if centre is None else centre.mean(-1, keepdim=True).expand_as(centre)
        return centre, 1 / torch.sqrt(variance - (0 if centre is None else centre**2) + self.eps)

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        (centre1, scale1), (centre2, scale2) = self._centre_and_scale(left), self._centre_and_scale(right)
        scale = pairs.left(scale1) * pairs.right(scale2)
        nngp = pairs.nngp
        if centre1 is not None and centre2 is not None and left.mean is not None and right.mean is not None:
            c1, c2 = pairs.left(centre1), pairs.right(centre2)
            nngp = nngp - pairs.left(left.mean) * c2 - c1 * pairs.right(right.mean) + c1 * c2
        nngp, ntk = nngp * scale, pairs.ntk * scale
        if self.gain or self.bias:
            trained = (nngp if self.gain else torch.zeros_like(nngp)) + float(self.bias)
            ntk = ntk + (only_equal_positions(trained) if self.per_position and pairs.full else trained)
        return replace(pairs, nngp=nngp, ntk=ntk)

    def mean(self, marginal: Marginal) -> Tensor | None:
        if marginal.mean is None:
            return None
        centre, scale = self._centre_and_scale(marginal)
        return (marginal.mean if centre is None else marginal.mean - centre) * scale


def only_equal_positions(k: Tensor) -> Tensor:
    """The share in a kernel of all pairs of positions of a parameter that each position has for itself."""
    return k * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
