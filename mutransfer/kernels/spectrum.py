"""The modes of a kernel: how fast each is learned, which ones by a given time, and the largest stable learning rate."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.errors import KernelError

_EPS = torch.finfo(torch.float64).eps


class IllConditionedKernel(UserWarning):
    """A kernel with eigenvalues that are rounding, or so small that digits of the result are lost."""


@dataclass(frozen=True, kw_only=True)
class Modes:
    """The spectrum of a kernel: ``values`` (N,), descending; ``vectors`` (N, N), column k belonging to values[k].

    Eigenvalues within rounding of zero (N * 2e-16 of the largest) are set to zero: such modes never move.
    """

    values: Tensor
    vectors: Tensor

    @cached_property
    def rank(self) -> int:
        return int((self.values > 0).sum())

    def rates(self, *, lr: float = 1.0, loss_scale: float) -> Tensor:
        """(N,) rates: under squared loss ``loss_scale / 2 * ||f - y||^2`` mode k decays as exp(-rates[k] t)."""
        return lr * loss_scale * self.values

    def residuals(self, residual: Any, t: Any, *, lr: float = 1.0, loss_scale: float) -> Tensor:
        """Coefficients of the residual along each mode at time t: (N, outputs), or (times, N, outputs) for an array t.

        residual: f - y at time 0, (N,) or (N, outputs). Gradient flow: ``coefficient_k(0) * exp(-rates_k t)``.
        """
        start = array(residual, "residual", ndim=(1, 2))
        if len(start) != len(self.values):
            raise KernelError(f"residual holds {len(start)} examples and the kernel {len(self.values)}")
        start = self.vectors.T @ start
        decay = decay_of(self.rates(lr=lr, loss_scale=loss_scale), times(t))
        return decay.reshape(*decay.shape, *(1,) * (start.ndim - 1)) * start

    def learned(self, t: float, *, lr: float = 1.0, loss_scale: float, left: float = float(np.exp(-1.0))) -> Tensor:
        """(N,) booleans: the modes of which at most the fraction ``left`` of the residual is left at time t."""
        return decay_of(self.rates(lr=lr, loss_scale=loss_scale), times(t)) <= left

    def warn_of_lost_digits(self, inverse: Tensor) -> None:
        """Warn the caller of a public function that multiplies with ``inverse``, (1 - decay) / eigenvalue.

        The product carries an error of about 1e-16 * largest eigenvalue * largest factor.
        """
        amplified = float(self.values[0] * inverse.abs().max())
        if amplified > 1e10:
            warnings.warn(
                f"predictions amplify rounding by {amplified:.1e}, the kernel's condition as far as it is used: about "
                f"{max(0, 15 - int(np.log10(amplified)))} digits are meaningful. Stop earlier, or add noise",
                IllConditionedKernel,
                stacklevel=4,
            )
        lost = len(self.values) - self.rank
        if lost:
            warnings.warn(
                f"{lost} of {len(self.values)} eigenvalues of the kernel are zero to rounding (equal examples, or "
                "parallel ones without biases): along these modes nothing is learned",
                IllConditionedKernel,
                stacklevel=4,
            )


def spectrum(kernel: Any) -> Modes:
    """The modes of a symmetric positive semidefinite kernel (N, N).

    Warns ``IllConditionedKernel`` of negative eigenvalues beyond float64 rounding; raises KernelError where the matrix
    is not square, finite and symmetric, or has negative eigenvalues beyond float32 rounding.

    >>> modes = spectrum([[2.0, 0.0], [0.0, 1.0]])
    >>> modes.values
    tensor([2., 1.], dtype=torch.float64)
    >>> modes.learned(1.5, loss_scale=0.5)  # stopped at t = 1.5, when exp(-1.5) and exp(-0.75) are left
    tensor([ True, False])
    """
    matrix = symmetric(kernel, "kernel")
    values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values.flip(0), vectors.flip(1)
    top, bottom = float(values[0]), float(values[-1])
    if bottom < -1e-5 * abs(top):
        raise KernelError(f"kernel has the eigenvalue {bottom:.3g} beside {top:.3g}: no kernel of a network has that")
    noise = max(len(values), 100) * _EPS * top
    if bottom < -noise:
        warnings.warn(
            f"kernel has the negative eigenvalue {bottom:.3g} beside {top:.3g}: it was computed in less precision than "
            f"float64; eigenvalues below {-bottom:.3g} are taken as zero",
            IllConditionedKernel,
            stacklevel=2,
        )
        noise = -bottom
    return Modes(values=torch.where(values > noise, values, 0.0), vectors=vectors)


def critical_learning_rate(kernel: Any, *, loss_scale: float) -> float:
    """2 / (loss_scale * largest eigenvalue): gradient descent on ``loss_scale / 2 * ||f - y||^2`` converges below it.

    ``loss_scale`` is 1 for half the sum of squares, 1 / N for half its mean over N examples, 1 / y.size for half the
    mean over examples and outputs, 2 / y.size for ``torch.nn.functional.mse_loss``. Lee et al. 2019, section 2.

    >>> critical_learning_rate([[2.0, 0.0], [0.0, 1.0]], loss_scale=0.5)
    2.0
    """
    return 2 / (positive("loss_scale", loss_scale) * float(spectrum(kernel).values[0]))


def decay_of(rates: Tensor, t: Tensor) -> Tensor:
    """exp(-rates t), (..., N), with a rate of zero never decaying, not even in infinite time."""
    exponent = torch.where(rates > 0, t[..., None] * rates, 0.0)
    return torch.exp(-exponent)


def times(t: Any) -> Tensor:
    """A time or an array of times, checked."""
    tensor = torch.as_tensor(t, dtype=torch.float64)
    if tensor.ndim > 1 or tensor.numel() == 0 or torch.isnan(tensor).any() or (tensor < 0).any():
        raise KernelError(f"t must be a time, or a one-dimensional array of times, at least 0; found {t!r}")
    return tensor


def positive(name: str, value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise KernelError(f"{name} is {value!r}; it must be a finite positive number")
    return float(value)


def array(value: Any, name: str, *, ndim: tuple[int, ...]) -> Tensor:
    """A finite float64 tensor on the CPU."""
    try:
        tensor = torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise KernelError(f"{name} must be an array of numbers; found {type(value).__name__}") from error
    if tensor.ndim not in ndim or tensor.numel() == 0:
        raise KernelError(f"{name} must have {' or '.join(map(str, ndim))} axes; found shape {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise KernelError(f"{name} holds values that are not finite")
    return tensor


def symmetric(kernel: Any, name: str) -> Tensor:
    """A symmetric (N, N) matrix, its rounding averaged out."""
    matrix = array(kernel, name, ndim=(2,))
    if matrix.shape[0] != matrix.shape[1]:
        raise KernelError(f"{name} must be (N, N), between the same examples; found {tuple(matrix.shape)}")
    asymmetry, size = float((matrix - matrix.T).abs().max()), float(matrix.abs().max())
    if size == 0:
        raise KernelError(f"{name} is zero everywhere: nothing is learned under it")
    if asymmetry > 1e-5 * size:
        raise KernelError(f"{name} is not symmetric: an entry differs from its mirror image by {asymmetry:.3g}")
    return (matrix + matrix.T) / 2
