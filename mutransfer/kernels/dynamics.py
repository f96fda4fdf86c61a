"""Training under a fixed kernel: gradient flow and descent, squared error in closed form, other losses solved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.kernel_problem import KernelProblem, Loss, Predictions, loss_gradient
from mutransfer.kernels.spectrum import decay_of, positive, spectrum, times

# For the loss gradients' time integral; test predictions are the kernel times it.
_RTOL, _ATOL = 1e-10, 1e-12


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
    problem = KernelProblem.of(k_train_train, y_train, k_test_train, f0, f0_test, class_targets=loss is not None)
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
    return problem.moved(_solve_flow(problem, loss_gradient(loss, problem), speed, moments))


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
    problem = KernelProblem.of(k_train_train, y_train, k_test_train, f0, f0_test, class_targets=loss is not None)
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
    gradient = loss_gradient(loss, problem)
    wanted = sorted({int(n) for n in counts.flatten()})
    moved, reached = torch.zeros_like(problem.start), {}
    for n in range(wanted[-1] + 1):
        if n in wanted:
            reached[n] = moved
        moved = moved - speed * gradient(problem.start + problem.kernel @ moved)
    return problem.moved(torch.stack([reached[int(n)] for n in counts.flatten()]).reshape(*counts.shape, *moved.shape))


def _loss_scale(value: float | None, default: float) -> float:
    return default if value is None else positive("loss_scale", value)


def _solve_flow(problem: KernelProblem, gradient: Callable[[Tensor], Tensor], speed: float, moments: Tensor) -> Tensor:
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
    solution = solve_ivp(
        velocity,
        (0.0, float(grid[-1])),
        np.zeros(state),
        method="LSODA",
        t_eval=grid,
        jac=jacobian,
        rtol=_RTOL,
        atol=_ATOL,
    )
    if not solution.success or not np.isfinite(solution.y).all():
        raise KernelError(f"the flow could not be solved up to t = {grid[-1]:g}: {solution.message}")
    return torch.from_numpy(solution.y.T[where].copy()).reshape(*moments.shape, *shape)
