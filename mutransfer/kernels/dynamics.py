"""Training under a fixed kernel: gradient flow and descent, squared error in closed form, other losses solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.spectrum import (
    Modes,
    array,
    decay_of,
    positive,
    spectrum,
    symmetric,
    times,
)

Loss = Callable[[Tensor, Tensor], Tensor]
# Of the loss gradients' time integral; test predictions are the kernel times it.
_RTOL, _ATOL = 1e-10, 1e-12


class Predictions(NamedTuple):
    """Predictions on the training and the test inputs, (N, outputs) each, with a leading axis of times if t had one."""

    train: Tensor
    test: Tensor


def gradient_flow(
    k_train_train: Any,
    y_train: Any,
    t: Any,
    *,
    k_test_train: Any = None,
    f0: Any = None,
    f0_test: Any = None,
    lr: float = 1.0,
    loss_scale: float | None = None,
    loss: Loss | None = None,
) -> Tensor | Predictions:
    """Predictions at time t of ``df/dt = -lr * K * dL/df``, float64: of training inputs, and of test inputs if asked.

    k_train_train: (N, N), shared by the outputs, or (N, N, O, O). y_train: (N,) or (N, O). k_test_train: (M, N) or
    (M, N, O, O); with it the result is ``Predictions(train, test)``, without it the training predictions alone.
    f0, f0_test: predictions at time 0; zero by default. t: a time or an array of times; infinity is allowed.

    By default ``L = loss_scale / 2 * ||f - y||^2`` with ``loss_scale = 1 / y_train.size``, in closed form: mode k of
    the residual decays as ``exp(-lr * loss_scale * lambda_k * t)`` (Jacot et al. 2018; Lee et al. 2019, eqs. 8-11).
    ``loss(f, y)`` is any other loss that returns a scalar, cross-entropy say, then ``L = loss_scale * loss`` with
    loss_scale 1, t is finite, and the flow is solved by LSODA (stiff or not) to 1e-10.

    Raises KernelError for arguments that do not fit. Warns ``IllConditionedKernel`` where test predictions divide by
    eigenvalues that have lost their digits.

    >>> gradient_flow([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], float("inf"))
    tensor([1., 2.], dtype=torch.float64)
    >>> gradient_flow([[1.0]], [1.0], [0.0, 1.0, 2.0], loss_scale=1.0)  # 1 - exp(-t)
    tensor([[0.0000],
            [0.6321],
            [0.8647]], dtype=torch.float64)
    """
    problem = _Problem.of(k_train_train, y_train, k_test_train, f0, f0_test, class_targets=loss is not None)
    moments = times(t)
    if loss is None:
        speed = positive("lr", lr) * _loss_scale(loss_scale, 1 / problem.targets.numel())
        modes = spectrum(problem.kernel)
        left = decay_of(speed * modes.values, moments)
        learned = -torch.expm1(-torch.where(modes.values > 0, moments[..., None] * speed * modes.values, 0.0))
        return problem.predictions(modes, left, learned)
    speed = positive("lr", lr) * _loss_scale(loss_scale, 1.0)
    if not torch.isfinite(moments).all():
        raise KernelError("t is infinite; only squared error has its limit in closed form. Give a finite time")
    return problem.moved(_solve(problem, _gradient(loss, problem), speed, moments))


def gradient_descent(
    k_train_train: Any,
    y_train: Any,
    steps: Any,
    *,
    k_test_train: Any = None,
    f0: Any = None,
    f0_test: Any = None,
    lr: float = 1.0,
    loss_scale: float | None = None,
    loss: Loss | None = None,
) -> Tensor | Predictions:
    """Predictions after ``steps`` full-batch steps of size lr; the other arguments as in ``gradient_flow``.

    Squared error: mode k of the residual is ``(1 - lr * loss_scale * lambda_k) ** steps``, and grows above
    ``critical_learning_rate``. Other losses are iterated. steps: an integer or an array of integers.

    >>> gradient_descent([[1.0]], [1.0], [0, 1, 2], lr=0.5, loss_scale=1.0).flatten()
    tensor([0.0000, 0.5000, 0.7500], dtype=torch.float64)
    """
    problem = _Problem.of(k_train_train, y_train, k_test_train, f0, f0_test, class_targets=loss is not None)
    counts = times(steps)
    if not torch.equal(counts, counts.floor()) or not torch.isfinite(counts).all():
        raise KernelError(f"steps must be whole numbers; found {steps!r}")
    if loss is None:
        speed = positive("lr", lr) * _loss_scale(loss_scale, 1 / problem.targets.numel())
        modes = spectrum(problem.kernel)
        factor = 1 - speed * modes.values
        left = factor ** counts[..., None]
        # 1 - factor^n without cancellation where little is learned
        small = -torch.expm1(counts[..., None] * torch.log1p(-(speed * modes.values).clamp(max=0.5)))
        return problem.predictions(modes, left, torch.where(factor > 0.5, small, 1 - left))
    speed = positive("lr", lr) * _loss_scale(loss_scale, 1.0)
    gradient = _gradient(loss, problem)
    wanted = sorted({int(n) for n in counts.flatten()})
    moved, reached = torch.zeros_like(problem.start), {}
    for n in range(wanted[-1] + 1):
        if n in wanted:
            reached[n] = moved
        moved = moved - speed * gradient(problem.start + problem.kernel @ moved)
    return problem.moved(torch.stack([reached[int(n)] for n in counts.flatten()]).reshape(*counts.shape, *moved.shape))


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """The arguments as matrices: kernel (n, n), start (n, c), test_kernel (m, n), test_start (m, c).

    A kernel shared by the outputs acts on columns, n = N and c = O; one of (N, N, O, O) on n = N * O rows, c = 1.
    """

    kernel: Tensor
    start: Tensor
    targets: Tensor  # as the loss gets them
    shape: tuple[int, ...]  # of the predictions on the training inputs
    test_kernel: Tensor | None
    test_start: Tensor | None

    @classmethod
    def of(cls, kernel: Any, y: Any, test_kernel: Any, f0: Any, f0_test: Any, *, class_targets: bool) -> _Problem:
        k = array(kernel, "k_train_train", ndim=(2, 4))
        targets = array(y, "y_train", ndim=(1, 2))
        if class_targets and not torch.as_tensor(y).is_floating_point():
            targets = torch.as_tensor(y).detach().cpu()
            if f0 is None:
                raise KernelError("y_train holds classes: give f0, (N, classes), so that their number is known")
        start = array(f0, "f0", ndim=(1, 2)) if f0 is not None else torch.zeros_like(targets)
        if len(targets) != len(start) or (targets.is_floating_point() and targets.shape != start.shape):
            raise KernelError(f"y_train has shape {tuple(targets.shape)} and f0 {tuple(start.shape)}")
        n, outputs = len(start), start.numel() // len(start)
        expected = (n, n) if k.ndim == 2 else (n, n, outputs, outputs)
        if tuple(k.shape) != expected:
            raise KernelError(
                f"k_train_train has shape {tuple(k.shape)}; y_train {tuple(targets.shape)} wants {expected}"
            )
        columns = outputs if k.ndim == 2 else 1
        test = test_start = None
        if test_kernel is not None:
            test = array(test_kernel, "k_test_train", ndim=(k.ndim,))
            if tuple(test.shape[1:]) != expected[1:]:
                raise KernelError(
                    f"k_test_train has shape {tuple(test.shape)}; expected (M, {n}, ...) as k_train_train"
                )
            shape = (len(test), *start.shape[1:])
            test_start = (
                array(f0_test, "f0_test", ndim=(start.ndim,)) if f0_test is not None else start.new_zeros(shape)
            )
            if tuple(test_start.shape) != shape:
                raise KernelError(f"f0_test has shape {tuple(test_start.shape)}; expected {shape}")
            if (f0 is None) != (f0_test is None):
                raise KernelError("f0 and f0_test are predictions of one network: give both or neither")
            test, test_start = _rows(test), test_start.reshape(-1, columns)
        elif f0_test is not None:
            raise KernelError("f0_test is given without k_test_train")
        return cls(
            kernel=symmetric(_rows(k), "k_train_train"),
            start=start.reshape(-1, columns),
            targets=targets,
            shape=tuple(start.shape),
            test_kernel=test,
            test_start=test_start,
        )

    def moved(self, weights: Tensor) -> Tensor | Predictions:
        """start + kernel @ weights; weights: (..., n, c)."""
        return self._shaped(self.start + self.kernel @ weights, weights)

    def predictions(self, modes: Modes, left: Tensor, learned: Tensor) -> Tensor | Predictions:
        """Squared error: of mode k of the first residual ``left`` is left; learned = 1 - left, to relative accuracy."""
        targets = self.targets.reshape(self.start.shape)
        coefficients = modes.vectors.T @ (self.start - targets)
        inverse = torch.where(modes.values > 0, learned / modes.values, 0.0)
        if self.test_kernel is not None:
            modes.warn_of_lost_digits(inverse)
        train = targets + modes.vectors @ (left[..., None] * coefficients)
        return self._shaped(train, -(modes.vectors @ (inverse[..., None] * coefficients)))

    def _shaped(self, train: Tensor, weights: Tensor) -> Tensor | Predictions:
        leading = train.shape[:-2]
        train = train.reshape(*leading, *self.shape)
        if self.test_kernel is None or self.test_start is None:
            return train
        test = self.test_start + self.test_kernel @ weights
        return Predictions(train=train, test=test.reshape(*leading, -1, *self.shape[1:]))


def _rows(kernel: Tensor) -> Tensor:
    """(M, N) as it is; (M, N, O, O) as (M * O, N * O)."""
    if kernel.ndim == 2:
        return kernel
    m, n, outputs, _ = kernel.shape
    return kernel.transpose(1, 2).reshape(m * outputs, n * outputs)


def _loss_scale(value: float | None, default: float) -> float:
    return default if value is None else positive("loss_scale", value)


def _gradient(loss: Loss, problem: _Problem) -> Callable[[Tensor], Tensor]:
    """dL/df, from and to (n, c)."""

    def value(f: Tensor) -> Tensor:
        out = loss(f.reshape(problem.shape), problem.targets)
        if not isinstance(out, Tensor) or out.numel() != 1:
            found = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise KernelError(f"loss(f, y) must return a scalar tensor; found {found}")
        return out.reshape(())

    return torch.func.grad(value)


def _solve(problem: _Problem, gradient: Callable[[Tensor], Tensor], speed: float, moments: Tensor) -> Tensor:
    """w(t) with f = f0 + K w and dw/dt = -speed dL/df: (..., n, c)."""
    shape = problem.start.shape
    state = problem.start.numel()

    def predictions(w: np.ndarray) -> Tensor:
        return problem.start + problem.kernel @ torch.from_numpy(w.copy()).reshape(shape)

    def velocity(_: float, w: np.ndarray) -> np.ndarray:
        return -speed * gradient(predictions(w)).flatten().numpy()

    def jacobian(_: float, w: np.ndarray) -> np.ndarray:
        hessian = torch.func.jacrev(gradient)(predictions(w)).reshape(state, *shape)
        return -speed * (problem.kernel @ hessian).reshape(state, state).numpy()  # the kernel is symmetric

    grid, where = np.unique(moments.flatten().numpy(), return_inverse=True)
    if grid[-1] == 0:
        return problem.start.new_zeros(*moments.shape, *shape)
    found = solve_ivp(
        velocity,
        (0.0, float(grid[-1])),
        np.zeros(state),
        method="LSODA",
        t_eval=grid,
        jac=jacobian,
        rtol=_RTOL,
        atol=_ATOL,
    )
    if not found.success or not np.isfinite(found.y).all():
        raise KernelError(f"the flow could not be solved up to t = {grid[-1]:g}: {found.message}")
    return torch.from_numpy(found.y.T[where].copy()).reshape(*moments.shape, *shape)
