"""A training problem under a fixed kernel, its arguments checked and as matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.spectrum import Modes, array, symmetric

Loss = Callable[[Tensor, Tensor], Tensor]


class Predictions(NamedTuple):
    """Predictions on the training and the test inputs, (N, outputs) each, with a leading axis of times if t had one."""

    train: Tensor
    test: Tensor


@dataclass(frozen=True, kw_only=True)
class KernelProblem:
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
    def of(cls, kernel: Any, y: Any, test_kernel: Any, f0: Any, f0_test: Any, *, class_targets: bool) -> KernelProblem:
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
        """Predictions start + kernel @ weights; weights: (..., n, c)."""
        return self._shaped(self.start + self.kernel @ weights, weights)

    def predictions(self, modes: Modes, left: Tensor, learned: Tensor) -> Tensor | Predictions:
        """Predictions under squared error when ``left`` of the first residual's mode k is left.

        ``learned`` is 1 - left, to relative accuracy.
        """
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


def loss_gradient(loss: Loss, problem: KernelProblem) -> Callable[[Tensor], Tensor]:
    """dL/df as a function from and to (n, c).

    Raises KernelError, when it is called, for a loss that is no scalar.
    """

    def value(f: Tensor) -> Tensor:
        out = loss(f.reshape(problem.shape), problem.targets)
        if not isinstance(out, Tensor) or out.numel() != 1:
            returned = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise KernelError(f"loss(f, y) must return a scalar tensor; found {returned}")
        return out.reshape(())

    return torch.func.grad(value)
