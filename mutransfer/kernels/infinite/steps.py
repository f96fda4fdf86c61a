"""The steps of the infinite-width recursion, one per kind of layer.

A step maps the kernels of a layer's inputs to those of its outputs, given what each example is alone
(``Marginal``, before the step). The recursion: Neal 1994; Jacot et al. 2018; convolutions: Novak et al. 2019,
Garriga-Alonso et al. 2019, Arora et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mutransfer.kernels.infinite.gaussian.nonlinearities import Nonlinearity
from mutransfer.kernels.infinite.pairs import Marginal, Pairs
from mutransfer.kernels.infinite.spatial import Padding, PatchMean, apply_matrix

# k may exceed sqrt(q1 q2) by rounding, and then the pair is parallel: within a few units in the last place it is taken
# to be. What is nearly parallel keeps its angle to the square root of rounding, 1e-8, no better.
_PARALLEL = 8 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, kw_only=True)
class Prior:
    """How the weights and biases of every layer are drawn, and what the gradient is taken of."""

    weight_std: float
    bias_std: float | None
    parameterization: str

    def weigh(self, pairs: Pairs, *, fan_in: int, bias: bool) -> Pairs:
        """Kernels behind a layer, from the mean over its fan_in of those before it.

        ntk: y = weight_std / sqrt(fan_in) W x + bias_std b, gradient of the standard normal W and b.
        standard: y = W x + b, gradient of W and b themselves, hence a factor fan_in (Sohl-Dickstein et al. 2020,
        section 2) and 1 for a bias.
        """
        weight = self.weight_std**2
        trained = bias and self.bias_std is not None
        shift = self.bias_std**2 if bias and self.bias_std is not None else 0.0
        nngp = weight * pairs.nngp + shift
        if self.parameterization == "ntk":
            return replace(pairs, nngp=nngp, ntk=nngp + weight * pairs.ntk)
        return replace(pairs, nngp=nngp, ntk=fan_in * pairs.nngp + weight * pairs.ntk + float(trained))


class RecursionStep:
    """One layer."""

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        raise NotImplementedError

    def mean(self, marginal: Marginal) -> Tensor | None:
        """E z behind the step."""
        raise NotImplementedError

    def ready(self, left: Marginal, right: Marginal, count: int) -> RecursionStep:
        """The step with what it can prepare for these marginals and ``count`` pairs."""
        return self


@dataclass(frozen=True, kw_only=True)
class Dense(RecursionStep):
    """A linear layer over the features of each position, or of all positions where the signal is flattened."""

    prior: Prior
    fan_in: int
    bias: bool
    over_positions: bool

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        if self.over_positions:
            pairs = pairs.map(lambda k: k.mean(-1, keepdim=True))
        return self.prior.weigh(pairs, fan_in=self.fan_in, bias=self.bias)

    def mean(self, marginal: Marginal) -> Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Convolution(RecursionStep):
    """A convolution: the mean over the window, both positions shifted alike."""

    prior: Prior
    fan_in: int
    bias: bool
    padding: tuple[Padding, ...]
    window: tuple[PatchMean, ...]

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        axes = len(self.window)
        shape = tuple(p.size_in for p in self.padding)

        def windowed(k: Tensor) -> Tensor:
            batch = k.shape[: k.ndim - (2 if pairs.full else 1)]
            k = k.reshape(*batch, *shape, *(shape if pairs.full else ()))
            for axis in range(axes):
                dims = [len(batch) + axis, len(batch) + axes + axis][: 2 if pairs.full else 1]
                k = self.window[axis](self.padding[axis](k, dims), dims)
            if pairs.full:
                k = k.flatten(len(batch) + axes)
            return k.flatten(len(batch), len(batch) + axes - 1)

        return self.prior.weigh(pairs.map(windowed), fan_in=self.fan_in, bias=self.bias)

    def mean(self, marginal: Marginal) -> Tensor | None:
        return None


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
            own = nngp if self.gain is self.function else self.gain.dual(k, q1, q2, size)[0]
            ntk = ntk + (only_equal_positions(own) if self.gain_per_position and pairs.full else own)
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
class Factor(RecursionStep):
    """A constant factor."""

    factor: float

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        return pairs.map(lambda k: self.factor**2 * k)

    def mean(self, marginal: Marginal) -> Tensor | None:
        return None if marginal.mean is None else self.factor * marginal.mean


@dataclass(frozen=True, kw_only=True)
class Positions(RecursionStep):
    """A linear map of positions, the same for every feature: pooling, padding, interpolation. matrix: (P_out, P_in)."""

    matrix: Tensor
    full_output: bool

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        matrix = self.matrix.to(pairs.nngp.device)
        mapped = pairs.map(lambda k: apply_matrix(matrix, k, full=pairs.full, full_output=self.full_output))
        return replace(mapped, full=self.full_output)

    def mean(self, marginal: Marginal) -> Tensor | None:
        return None if marginal.mean is None else marginal.mean @ self.matrix.to(marginal.mean.device).T


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
            own = (nngp if self.gain else torch.zeros_like(nngp)) + float(self.bias)
            ntk = ntk + (only_equal_positions(own) if self.per_position and pairs.full else own)
        return replace(pairs, nngp=nngp, ntk=ntk)

    def mean(self, marginal: Marginal) -> Tensor | None:
        if marginal.mean is None:
            return None
        centre, scale = self._centre_and_scale(marginal)
        return (marginal.mean if centre is None else marginal.mean - centre) * scale


def only_equal_positions(k: Tensor) -> Tensor:
    """What a parameter that each position has for itself adds to a kernel of all pairs of positions."""
    return k * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)


@dataclass(frozen=True, kw_only=True)
class Diagonal(RecursionStep):
    """Forgets the pairs of different positions, where a branch has no use for them."""

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        return pairs.diagonal()

    def mean(self, marginal: Marginal) -> Tensor | None:
        return marginal.mean
