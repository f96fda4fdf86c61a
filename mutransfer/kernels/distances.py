"""How far a kernel moved, and whether towards the targets; intervals by the jackknife over examples.

A kernel is (N, N), or (N, N, O, O) with pairs of outputs, which then count as examples of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from mutransfer.errors import DataError

CONFIDENCE = 0.9


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with a 90 % interval, and how many examples or probes it comes from."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n = {self.count})"


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


def jackknife(statistic: Callable[..., float], *arrays: Tensor) -> Estimate:
    """``statistic(*arrays)`` with a 90 % t-interval from leaving out every example in turn.

    ``arrays``: kernels (N, N) or (N, N, O, O), which lose a row and a column, and targets (N,) or (N, C), which lose a
    row. An array whose first two dimensions are both N is a kernel: with N = C give targets as (N, C, 1).

    >>> k = torch.eye(5)
    >>> str(jackknife(relative_drift, k, 1.5 * k))
    '0.5 [0.5, 0.5] (n = 5)'

    Raises DataError with fewer than three examples or where arrays disagree on their number. Source: Tukey 1958.
    """
    size = len(arrays[0])
    if size < 3 or any(len(array) != size for array in arrays):
        raise DataError(
            f"a jackknife needs at least 3 examples, the same number in every array; found {[len(a) for a in arrays]}"
        )
    value = float(statistic(*arrays))
    without = []
    for left_out in range(size):
        kept = [i for i in range(size) if i != left_out]
        parts = [a[kept][:, kept] if a.ndim in (2, 4) and a.shape[1] == size else a[kept] for a in arrays]
        without.append(float(statistic(*parts)))
    return from_leave_one_out(value, without)


def from_leave_one_out(value: float, without: list[float]) -> Estimate:
    """The interval of an estimate from its values with each of n independent parts left out."""
    n = len(without)
    spread = torch.tensor(without, dtype=torch.float64)
    error = float(((n - 1) / n * (spread - spread.mean()).square().sum()).sqrt())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Estimate(value=value, low=value - half, high=value + half, count=n)


def _matrices(*kernels: Tensor) -> list[Tensor]:
    found = []
    for kernel in kernels:
        if kernel.ndim == 4:
            n, m, o, p = kernel.shape
            kernel = kernel.permute(0, 2, 1, 3).reshape(n * o, m * p)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape != (found or [kernel])[0].shape:
            raise DataError(
                f"expected kernels (N, N) or (N, N, O, O) of one size, found {[tuple(k.shape) for k in kernels]}"
            )
        found.append(kernel.detach().double())
    return found


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
