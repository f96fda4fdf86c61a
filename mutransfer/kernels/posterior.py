"""Gaussian predictions: of the Bayesian infinitely wide network, and of the ensemble of trained ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.spectrum import array, decay_of, positive, spectrum, times


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """``mean`` (M, outputs) and ``covariance`` (M, M), shared by the outputs; with a leading axis of times if given."""

    mean: Tensor
    covariance: Tensor


def gp_posterior(
    k_train_train: Any, y_train: Any, *, k_test_train: Any, k_test_test: Any, noise: float = 0.0
) -> Gaussian:
    """The posterior of f on test inputs under the prior of covariance K and observations y = f + sqrt(noise) * normal.

    With an nngp kernel this is the infinitely wide Bayesian network (Neal 1994; Lee et al. 2018). noise: the variance.
    Warns ``IllConditionedKernel`` where K + noise has lost its digits.

    >>> posterior = gp_posterior([[1.0]], [2.0], k_test_train=[[1.0]], k_test_test=[[1.0]], noise=1.0)
    >>> posterior.mean.item(), posterior.covariance.item()
    (1.0, 0.5)
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise KernelError(f"noise is {noise!r}; it must be a variance, at least 0")
    modes = spectrum(k_train_train)
    cross, own = _cross(k_test_train, len(modes.values), "k_test_train"), _own(k_test_test, k_test_train)
    y = _targets(y_train, len(modes.values))
    variance = modes.values + noise
    inverse = torch.where(variance > 0, 1 / variance, 0.0)
    modes.warn_of_lost_digits(inverse)
    projected = cross @ modes.vectors
    return Gaussian(
        mean=(projected * inverse) @ (modes.vectors.T @ y),
        covariance=own - (projected * inverse) @ projected.T,
    )


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Predictions over initialisations, of the training and the test inputs."""

    train: Gaussian
    test: Gaussian


def gradient_flow_ensemble(
    ntk_train_train: Any,
    nngp_train_train: Any,
    y_train: Any,
    t: Any,
    *,
    ntk_test_train: Any,
    nngp_test_train: Any,
    nngp_test_test: Any,
    lr: float = 1.0,
    loss_scale: float | None = None,
) -> Ensemble:
    """Mean and covariance, over initialisations, of infinitely wide networks trained for a time t on squared error.

    ``ntk`` moves them, ``nngp`` is their covariance at t = 0; give nngp for both where the readout alone is trained.
    Loss, lr, t and loss_scale as in ``gradient_flow``. Lee et al. 2019, eqs. 14-16.

    >>> k = [[1.0]]
    >>> ensemble = gradient_flow_ensemble(k, k, [1.0], 0.0, ntk_test_train=k, nngp_test_train=k, nngp_test_test=k)
    >>> ensemble.test.mean.item(), ensemble.test.covariance.item()  # untrained
    (0.0, 1.0)
    """
    modes = spectrum(ntk_train_train)
    n = len(modes.values)
    y = _targets(y_train, n)
    speed = positive("lr", lr) * (1 / y.numel() if loss_scale is None else positive("loss_scale", loss_scale))
    nngp = _cross(nngp_train_train, n, "nngp_train_train")
    nngp_cross = _cross(nngp_test_train, n, "nngp_test_train")
    moving = _cross(ntk_test_train, n, "ntk_test_train")
    if nngp.shape != (n, n) or nngp_cross.shape != moving.shape:
        raise KernelError(
            f"kernels of shapes {tuple(nngp.shape)} (nngp, train) and {tuple(nngp_cross.shape)} (nngp, test) "
            f"beside {(n, n)} and {tuple(moving.shape)} of the ntk"
        )
    own = _own(nngp_test_test, nngp_test_train)
    left = decay_of(speed * modes.values, times(t))
    learned = -torch.expm1(-torch.where(modes.values > 0, speed * modes.values * times(t)[..., None], 0.0))
    inverse = torch.where(modes.values > 0, learned / modes.values, 0.0)
    modes.warn_of_lost_digits(inverse)
    vectors = modes.vectors
    on_train = (vectors * learned[..., None, :]) @ vectors.T
    remaining = (vectors * left[..., None, :]) @ vectors.T
    on_test = moving @ (vectors * inverse[..., None, :]) @ vectors.T
    mixed = on_test @ nngp_cross.T
    return Ensemble(
        train=Gaussian(mean=_times(on_train, y), covariance=remaining @ nngp @ remaining),
        test=Gaussian(mean=_times(on_test, y), covariance=own - mixed - mixed.mT + on_test @ nngp @ on_test.mT),
    )


def _times(matrix: Tensor, y: Tensor) -> Tensor:
    return matrix @ y if y.ndim == 2 else (matrix @ y[:, None])[..., 0]


def _cross(kernel: Any, n: int, name: str) -> Tensor:
    tensor = array(kernel, name, ndim=(2,))
    if tensor.shape[1] != n:
        raise KernelError(f"{name} has shape {tuple(tensor.shape)}; its second axis must be the {n} training examples")
    return tensor


def _own(kernel: Any, cross: Any) -> Tensor:
    tensor, m = array(kernel, "the kernel between test inputs", ndim=(2,)), len(cross)
    if tensor.shape != (m, m):
        raise KernelError(f"the kernel between test inputs has shape {tuple(tensor.shape)}; expected {(m, m)}")
    return tensor


def _targets(y: Any, n: int) -> Tensor:
    tensor = array(y, "y_train", ndim=(1, 2))
    if len(tensor) != n:
        raise KernelError(f"y_train holds {len(tensor)} examples and the kernel {n}")
    return tensor
