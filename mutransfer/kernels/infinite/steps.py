"""The linear steps of the infinite-width recursion, one per kind of layer; others are in ``nonlinear_steps.py``.

A step maps the kernels of a layer's inputs to those of its outputs, given what each example is alone
(``Marginal``, before the step). The recursion: Neal 1994; Jacot et al. 2018; convolutions: Novak et al. 2019,
Garriga-Alonso et al. 2019, Arora et al. 2019.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from mutransfer.kernels.infinite.pairs import Marginal, Pairs
from mutransfer.kernels.infinite.spatial import Padding, PatchMean, apply_matrix


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The law of every layer's weights and biases, and what the gradient is taken of."""

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


class RecursionStep(ABC):
    """One layer."""

    @abstractmethod
    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        """The kernels behind the step."""

    @abstractmethod
    def mean(self, marginal: Marginal) -> Tensor | None:
        """E z behind the step; None where it is zero."""

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
class Diagonal(RecursionStep):
    """Forgets the pairs of different positions, where a branch has no use for them."""

    def __call__(self, pairs: Pairs, left: Marginal, right: Marginal) -> Pairs:
        return pairs.diagonal()

    def mean(self, marginal: Marginal) -> Tensor | None:
        return marginal.mean
