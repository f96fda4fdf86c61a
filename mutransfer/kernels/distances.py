"""Distances between kernels, and alignment with targets; intervals by the jackknife over examples.

A kernel is (N, N), or (N, N, O, O) with pairs of outputs, which then count as examples of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mutransfer.errors import DataError
from mutransfer.intervals import Interval, t_interval


def relative_drift(start: Tensor, now: Tensor) -> float:
    """||K_t - K_0|| / ||K_0||, Frobenius.

    >>> relative_drift(torch.eye(2), 1.5 * torch.eye(2))
    0.5
    """
    start, now = _matrices(start, now)
    return float((now - start).norm() / start.norm())


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """1 - <K, K'> / (||K|| ||K'||): 0 for kernels that differ by a factor, 1 for orthogonal ones.

    Fort et al. 2020, "Deep learning versus kernel learning", equation 2. Computed from the difference of the normed
    kernels, so that small distances keep their digits.

    >>> round(kernel_distance(torch.eye(2), 3 * torch.eye(2)), 12)
    0.0
    """
    first, second = _matrices(first, second)
    return float((first / first.norm() - second / second.norm()).square().sum() / 2)


def kernel_velocity(earlier: Tensor, later: Tensor, dt: float) -> float:
    """Kernel distance per unit of time between two moments ``dt`` apart (Fort et al. 2020, section 3.2)."""
    if not dt > 0:
        raise DataError(f"dt must be positive, found {dt!r}")
    return kernel_distance(earlier, later) / dt


def target_alignment(kernel: Tensor, targets: Tensor, *, centred: bool = True) -> float:
    """<K, y y^T> / (||K|| ||y y^T||); ``targets``: (N,) or (N, C), with a full kernel (N, O).

    ``centred``: with both kernels centred over examples (Cortes, Mohri & Rostamizadeh 2012); without, Cristianini et
    al. 2001.

    >>> y = torch.tensor([1.0, -1.0])
    >>> round(target_alignment(torch.outer(y, y), y), 6)
    1.0
    """
    (kernel_,) = _matrices(kernel)
    y = _targets(kernel, targets)
    gram = y @ y.mT
    if centred:
        kernel_, gram = _centred(kernel_), _centred(gram)
    scale = kernel_.norm() * gram.norm()
    if not scale > 0:
        raise DataError("the kernel or the targets are zero" + (" once centred" if centred else ""))
    return float((kernel_ * gram).sum() / scale)


def eigenspace_overlap(first: Tensor, second: Tensor, rank: int) -> float:
    """||U^T V||^2 / rank of the ``rank`` leading eigenvectors: 1 for equal spaces, rank / N for random ones.

    >>> eigenspace_overlap(torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.diag(torch.tensor([2.0, 3.0, 1.0])), 2)
    1.0
    """
    u, v = (leading_eigenvectors(kernel, rank) for kernel in (first, second))
    return float((u.mT @ v).square().sum() / rank)


def target_overlap(kernel: Tensor, targets: Tensor, rank: int, *, centred: bool = True) -> float:
    """The share of the targets' squared length in the span of the ``rank`` leading eigenvectors.

    A change of a kernel that is a rotation towards the data raises it; noise leaves it near rank / N at best.
    """
    (matrix,) = _matrices(kernel)
    y = _targets(kernel, targets)
    if centred:
        matrix, y = _centred(matrix), y - y.mean(0)
    share = (leading_eigenvectors(matrix, rank).mT @ y).square().sum() / y.square().sum()
    return float(share)


def leading_eigenvectors(kernel: Tensor, rank: int) -> Tensor:
    """(N, rank), orthonormal, largest eigenvalue last.

    Raises DataError for a rank that is not between 1 and N.
    """
    (matrix,) = _matrices(kernel)
    if not 0 < rank <= len(matrix):
        raise DataError(f"rank must be from 1 to {len(matrix)}, found {rank}")
    return torch.linalg.eigh((matrix + matrix.mT) / 2).eigenvectors[:, -rank:]


def participation_ratio(kernel: Tensor) -> float:
    """(sum of eigenvalues)^2 / sum of their squares: how many directions the kernel has, counted by their size.

    >>> participation_ratio(torch.eye(4))
    4.0
    """
    (matrix,) = _matrices(kernel)
    return float(matrix.trace().square() / matrix.square().sum())


def effective_rank(kernel: Tensor) -> float:
    """exp of the entropy of the normed eigenvalues (Roy & Vetterli 2007).

    >>> round(effective_rank(torch.eye(4)), 6)
    4.0
    """
    (matrix,) = _matrices(kernel)
    values = torch.linalg.eigvalsh((matrix + matrix.mT) / 2).clamp(min=0)
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def jackknife(statistic: Callable[..., float], *arrays: Tensor, kernels: int | None = None) -> Interval:
    """``statistic(*arrays)`` with a 90 % t-interval from leaving out every example in turn.

    ``arrays``: kernels (N, N) or (N, N, O, O), which lose a row and a column, and targets (N,) or (N, C), which lose a
    row. ``kernels``: how many of the arrays, the first ones, are kernels. None: every array of two or four dimensions
    whose first two are both N, which targets with N = C would be taken for too.

    >>> k = torch.eye(5)
    >>> str(jackknife(relative_drift, k, 1.5 * k))
    '0.5 [0.5, 0.5]'

    Raises DataError with fewer than three examples or where arrays disagree on their number. Source: Tukey 1958.
    """
    size = len(arrays[0])
    if size < 3 or any(len(array) != size for array in arrays):
        raise DataError(
            f"a jackknife needs at least 3 examples, the same number in every array; found {[len(a) for a in arrays]}"
        )
    square = [a.ndim in (2, 4) and a.shape[1] == size for a in arrays]
    if kernels is not None:
        if not all(square[:kernels]):
            raise DataError(
                f"the first {kernels} arrays must be kernels ({size}, {size}) or ({size}, {size}, O, O); found "
                f"{[tuple(a.shape) for a in arrays[:kernels]]}"
            )
        square = [i < kernels for i in range(len(arrays))]
    value = float(statistic(*arrays))
    without = []
    for left_out in range(size):
        rest = [i for i in range(size) if i != left_out]
        parts = [a[rest][:, rest] if is_kernel else a[rest] for a, is_kernel in zip(arrays, square, strict=True)]
        without.append(float(statistic(*parts)))
    return from_leave_one_out(value, without)


def from_leave_one_out(value: float, without: list[float]) -> Interval:
    """The interval of an estimate from its values with each of n independent parts left out."""
    n = len(without)
    spread = torch.tensor(without, dtype=torch.float64)
    error = float(((n - 1) / n * (spread - spread.mean()).square().sum()).sqrt())
    return t_interval(value, error, n - 1)


def _matrices(*kernels: Tensor) -> list[Tensor]:
    matrices = []
    for kernel in kernels:
        if kernel.ndim == 4:
            n, m, o, p = kernel.shape
            kernel = kernel.permute(0, 2, 1, 3).reshape(n * o, m * p)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape != (matrices or [kernel])[0].shape:
            raise DataError(
                f"expected kernels (N, N) or (N, N, O, O) of one size, found {[tuple(k.shape) for k in kernels]}"
            )
        matrices.append(kernel.detach().double())
    return matrices


def _targets(kernel: Tensor, targets: Tensor) -> Tensor:
    """(N, C), or (N * O, 1) for a full kernel."""
    expected = kernel.shape[0] * (kernel.shape[2] if kernel.ndim == 4 else 1)
    y = targets.detach().double().to(kernel.device)
    y = y.reshape(-1, 1) if kernel.ndim == 4 else y.reshape(len(y), -1)
    if len(y) != expected:
        raise DataError(f"targets {tuple(targets.shape)} do not fit a kernel {tuple(kernel.shape)}")
    return y


def _centred(matrix: Tensor) -> Tensor:
    return matrix - matrix.mean(0, keepdim=True) - matrix.mean(1, keepdim=True) + matrix.mean()
