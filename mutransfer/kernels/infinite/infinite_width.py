"""Kernels of infinitely wide networks: the covariance of the outputs at initialisation, and the tangent kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.pairs import Pairs
from mutransfer.kernels.infinite.program import Program, StepRecord, join_records
from mutransfer.kernels.infinite.reading import read
from mutransfer.kernels.infinite.steps import Prior
from mutransfer.kernels.parallel import parallel_map

PARAMETERIZATIONS = ("ntk", "standard")
# Pairs of positions held at once, unless two examples alone have more: arrays of 1 MB stay in the processor's cache,
# twice as fast as arrays of 8 MB. A step keeps about twelve of them.
_BLOCK = 2**17


@dataclass(frozen=True, kw_only=True)
class InfiniteWidth:
    """Kernels (N1, N2), float64, of one output unit: ``nngp`` its covariance, ``ntk`` its tangent kernel."""

    nngp: Tensor
    ntk: Tensor


def infinite_width(
    network: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    weight_std: float = 2**0.5,
    bias_std: float | None = 0.0,
    parameterization: str = "ntk",
) -> InfiniteWidth:
    """Closed-form kernels of ``network`` as all its hidden widths go to infinity, in float64.

    ``network`` gives the architecture; its weights are not read. Each layer computes
    ``weight_std / sqrt(fan_in) * W x + bias_std * b`` with standard normal W and b; a layer built with ``bias=False``
    has none, and ``bias_std=None`` leaves out all of them. ``parameterization="ntk"`` takes gradients of W and b;
    ``"standard"`` those of the products (plain torch layers), so that a layer's own part grows with its ``fan_in``,
    for which the sizes in ``network`` stand (Sohl-Dickstein et al. 2020). x1: (N1, ...), x2: (N2, ...) or None for x1.

    Layers: Linear, Conv1d to Conv3d (any padding, stride, dilation; groups are taken to stay as many as they are while
    channels grow), every elementwise function, average pooling, padding, Flatten, LayerNorm, GroupNorm, RMSNorm,
    Dropout in eval, ``Residual``, nested ``nn.Sequential``. Gains and biases of norms are trained parameters and count.
    ReLU, LeakyReLU, Abs, GELU, Erf, Sin and piecewise linear functions (Hardtanh, ReLU6) are exact to rounding. Others
    are integrated, to 1e-11 of sqrt(E f(u)^2 E f(v)^2) or an error: tabulated in 1 to 30 s, then a microsecond a pair.
    Functions that are curved and have kinks elsewhere than at 0 (Hardswish) are not tabulated: about 20 ms a pair.
    A module of one's own may be such a function: that it is elementwise, and its kinks, are found by trying it.

    Two inputs that are nearly but not exactly parallel keep an angle good to 1e-8 only.

    Time: pairs of examples times positions where the network ends in Flatten, times positions squared where it pools.
    Memory: the kernels, and about twelve arrays of 2**17 numbers, or of positions squared if that is more.

    Raises ``KernelError`` naming the module that has no closed form (``monte_carlo`` estimates these) or does not fit.

    Sources: Neal 1994; Cho & Saul 2009; Jacot et al. 2018; Lee et al. 2018, 2019; Novak et al. 2019; Arora et al. 2019.

    >>> x = torch.eye(2) * 2**0.5
    >>> infinite_width(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), x).ntk.round(decimals=4)
    tensor([[4.0000, 0.6366],
            [0.6366, 4.0000]], dtype=torch.float64)
    """
    if parameterization not in PARAMETERIZATIONS:
        raise KernelError(f"parameterization is {parameterization!r}; it must be one of {', '.join(PARAMETERIZATIONS)}")
    weight_std = _size("weight_std", weight_std)
    bias_std = None if bias_std is None else _size("bias_std", bias_std)
    left = _examples("x1", x1)
    right = left if x2 is None else _examples("x2", x2)
    if left.shape[1:] != right.shape[1:]:
        raise KernelError(f"x1 has examples of shape {tuple(left.shape[1:])} and x2 of {tuple(right.shape[1:])}")
    prior = Prior(weight_std=weight_std, bias_std=bias_std, parameterization=parameterization)
    reading = read(network, tuple(left.shape[1:]), prior)
    with torch.no_grad():
        left = reading.features(left)
        right = left if x2 is None else reading.features(right)
        result = _kernels(reading.program, left, right, full=reading.full, symmetric=x2 is None)
    if not (torch.isfinite(result.nngp).all() and torch.isfinite(result.ntk).all()):
        raise KernelError(
            "the kernels are not finite: a norm with eps=0 of an input that is zero, or a variance that overflows; "
            "look for zero inputs, and at weight_std where the network is deep"
        )
    return result


def _kernels(program: Program, left: Tensor, right: Tensor, *, full: bool, symmetric: bool) -> InfiniteWidth:
    """left: (N1, P, C), right: (N2, P, C)."""
    examples = len(left) * len(right)
    program, alone, left_records = _alone(program, left, examples, full=full)
    right_records = left_records
    if not symmetric:
        program, _, right_records = _alone(program, right, examples, full=full)
    n1, n2, positions = len(left), len(right), left.shape[1]
    program = program.ready(left_records, right_records, n1 * n2 * (positions if full else 1))
    nngp = left.new_empty(n1, n2)
    ntk = left.new_empty(n1, n2)
    side = max(1, math.isqrt(_BLOCK // (positions**2 if full else positions)))

    def fill(block: tuple[int, int]) -> None:
        i, j = block
        a, b = slice(i, i + side), slice(j, j + side)
        gram = _gram(left[a], right[b], full=full)
        pairs = Pairs(nngp=gram, ntk=torch.zeros_like(gram), same=False, full=full)
        pairs = program.across(pairs, [r[a] for r in left_records], [r[b] for r in right_records])
        for whole, part in ((nngp, pairs.nngp), (ntk, pairs.ntk)):
            part = part.reshape(part.shape[:2])
            if symmetric and i == j:
                part = (part + part.T) / 2
            whole[a, b] = part
            if symmetric:
                whole[b, a] = part.T

    parallel_map(fill, [(i, j) for i in range(0, n1, side) for j in range(i if symmetric else 0, n2, side)])
    if symmetric:
        # An example with itself, from the run in which equal positions are known to be equal
        nngp.diagonal().copy_(alone.nngp.flatten())
        ntk.diagonal().copy_(alone.ntk.flatten())
    return InfiniteWidth(nngp=nngp, ntk=ntk)


def _alone(program: Program, x: Tensor, examples: int, *, full: bool) -> tuple[Program, Pairs, list[StepRecord]]:
    count = max(1, _BLOCK // x.shape[1] ** (2 if full else 1))
    parts, records = [], []
    for part in x.split(count):
        gram = part @ part.mT / part.shape[-1] if full else (part * part).mean(-1)
        pairs = Pairs(nngp=gram, ntk=torch.zeros_like(gram), same=True, full=full)
        program, pairs, _, record = program.alone(pairs, None, examples)
        parts.append(pairs)
        records.append(record)
    joint = Pairs(
        nngp=torch.cat([p.nngp for p in parts]), ntk=torch.cat([p.ntk for p in parts]), same=True, full=parts[0].full
    )
    return program, joint, join_records(records)


def _gram(left: Tensor, right: Tensor, *, full: bool) -> Tensor:
    channels = left.shape[-1]
    if full:
        return torch.einsum("apc,bqc->abpq", left, right) / channels
    return torch.einsum("apc,bpc->abp", left, right) / channels


def _examples(name: str, x: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(x).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise KernelError(f"{name} must be a tensor or an array of numbers; found {type(x).__name__}") from error
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise KernelError(f"{name} must be (examples, features...) and not empty; found shape {tuple(tensor.shape)}")
    if tensor.is_complex() or not torch.isfinite(tensor).all():
        raise KernelError(f"{name} must hold finite real numbers")
    return tensor.double()


def _size(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise KernelError(f"{name} is {value!r}; it must be a finite number, at least 0")
    return float(value)
