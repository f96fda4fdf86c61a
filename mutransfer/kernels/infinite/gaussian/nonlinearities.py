"""Gaussian averages of an elementwise function: E[f(u) f(v)], E[f'(u) f'(v)] and E[f(u)], in closed form.

(u, v) is a centred Gaussian pair with E u^2 = q1, E v^2 = q2, E u v = k, |k| <= size = sqrt(q1 q2), with equality where
u and v are parallel: rounding must not leave k beside it. All in float64, elementwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from mutransfer.kernels.infinite.gaussian.elementwise import Chain, TimesSlope
from mutransfer.kernels.infinite.gaussian.integrated import Integrated
from mutransfer.kernels.modules import Abs, Erf, Sin


class Nonlinearity(Protocol):
    """The Gaussian averages of one elementwise function f."""

    def mean(self, q: Tensor) -> Tensor | None:
        """E f(u); None where it is zero for every q."""
        ...

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """E f(u) f(v) and E f'(u) f'(v)."""
        ...

    def ready(self, q1: Tensor, q2: Tensor, count: int) -> Nonlinearity:
        """The same, with what can be prepared for ``count`` pairs of variances among q1 and q2."""
        ...


class ClosedForm:
    """A base of nonlinearities that have nothing to prepare."""

    def ready(self, q1: Tensor, q2: Tensor, count: int) -> Self:
        return self


@dataclass(frozen=True, kw_only=True)
class Rectifier(ClosedForm):
    """f(x) = positive * x for x > 0 and negative * x for x < 0: ReLU, LeakyReLU, Abs.

    Cho & Saul 2009, arc-cosine kernels of degree 1 and 0. f is a line plus a multiple of |x|; these do not mix.

    >>> one = torch.tensor(1.0)
    >>> Rectifier(positive=1.0, negative=0.0).dual(one, one, one, one)  # half the mass is positive
    (tensor(0.5000), tensor(0.5000))
    """

    positive: float
    negative: float

    @property
    def _line(self) -> float:
        return (self.positive + self.negative) / 2

    @property
    def _fold(self) -> float:
        return (self.positive - self.negative) / 2

    def mean(self, q: Tensor) -> Tensor | None:
        return self._fold * torch.sqrt(2 * q / math.pi)

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        sine = ((size - k).mul_(size + k)).sqrt_()  # size * sin(angle), without cancellation
        slope = torch.atan2(k, sine).mul_(2 / math.pi)
        a, b = self._line**2, self._fold**2
        value = sine.mul_(2 / math.pi).addcmul_(slope, k).mul_(b).add_(k, alpha=a)
        slope = slope.mul_(b).add_(a)
        if (q1 == 0).any() or (q2 == 0).any():
            # u = 0 exactly, where torch takes one side's derivative. Seen only by biases of size zero that are trained.
            slope = torch.where(size == 0, self._at_zero * self._line, slope)
            slope = torch.where((q1 == 0) & (q2 == 0), self._at_zero**2, slope)
        return value, slope

    @property
    def _at_zero(self) -> float:
        """torch's derivative at 0: the negative side's, and 0 for |x|."""
        return 0.0 if self._line == 0 else self.negative


@dataclass(frozen=True, kw_only=True)
class ErfNonlinearity(ClosedForm):
    """f(x) = erf(x). Williams 1997, eq. 11."""

    def mean(self, q: Tensor) -> Tensor | None:
        return None

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        # det(1 + 2 Sigma), as a sum of what is not negative
        root = (size - k).mul_(size + k).mul_(4).add_(1 + 2 * (q1 + q2)).sqrt_()
        return torch.atan2(2 * k, root).mul_(2 / math.pi), (4 / math.pi) / root


@dataclass(frozen=True, kw_only=True)
class GeluNonlinearity(ClosedForm):
    """f(x) = x Phi(x). With g(x) = erf(x / sqrt(2)), f = (x + x g) / 2 and the two summands have different parity;
    E[u v g(u) g(v)] by Stein's lemma from E[g g] (Williams 1997) and E[g' g'] = (2 / pi) det(1 + Sigma)^(-1/2).
    """

    def mean(self, q: Tensor) -> Tensor | None:
        return q / torch.sqrt(2 * math.pi * (1 + q))

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        det = (size - k).mul_(size + k).add_(1 + q1 + q2)
        root = torch.sqrt(det)
        gg = torch.atan2(k, root) * (2 / math.pi)
        dd = (2 / math.pi) / root
        shrink = 1 / (1 + q1) + 1 / (1 + q2)
        value = (k * (1 + gg) + dd * (q1 * q2 + k * k * (shrink - 1))) / 4
        slope = (1 + gg + dd * k * (shrink + 1 / det)) / 4
        return value, slope


@dataclass(frozen=True, kw_only=True)
class SinNonlinearity(ClosedForm):
    """f(x) = sin(x): e^(-(q1+q2)/2) sinh(k), and cosh for the derivative; written so that nothing overflows."""

    def mean(self, q: Tensor) -> Tensor | None:
        return None

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        near = k.abs()
        decay = torch.exp(near - (q1 + q2) / 2) / 2
        return -torch.sign(k) * decay * torch.expm1(-2 * near), decay * (1 + torch.exp(-2 * near))


def _gelu(module: nn.GELU) -> Nonlinearity | None:
    return GeluNonlinearity() if module.approximate == "none" else None


def _rrelu(module: nn.RReLU) -> Nonlinearity | None:
    slope = (module.lower + module.upper) / 2
    return None if module.training else Rectifier(positive=1.0, negative=slope)


# One row per module whose averages are known; None: not as it is set
_CLOSED_FORMS: dict[type[nn.Module], Callable[[Any], Nonlinearity | None]] = {
    nn.ReLU: lambda module: Rectifier(positive=1.0, negative=0.0),
    nn.LeakyReLU: lambda module: Rectifier(positive=1.0, negative=float(module.negative_slope)),
    nn.RReLU: _rrelu,
    nn.GELU: _gelu,
    Abs: lambda module: Rectifier(positive=1.0, negative=-1.0),
    Erf: lambda module: ErfNonlinearity(),
    Sin: lambda module: SinNonlinearity(),
}


def closed_form(module: nn.Module) -> Nonlinearity | None:
    """The closed form of a known module; None where there is none.

    >>> closed_form(nn.LeakyReLU(0.1))
    Rectifier(positive=1.0, negative=0.1)
    """
    make = _CLOSED_FORMS.get(type(module))
    return None if make is None else make(module)


def nonlinearity(modules: Sequence[nn.Module]) -> Nonlinearity:
    """Elementwise modules one after the other, as one function: in closed form where it is known."""
    exact = closed_form(modules[0]) if len(modules) == 1 else None
    return exact if exact is not None else Integrated(chain=Chain(tuple(modules)))


def times_slope(modules: Sequence[nn.Module], function: Nonlinearity) -> Nonlinearity:
    """x f'(x), f being ``function``, made of ``modules``: f itself where it is a multiple of x on each side."""
    return function if isinstance(function, Rectifier) else Integrated(chain=TimesSlope(tuple(modules)))
