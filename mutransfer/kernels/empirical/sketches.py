"""The movement of a large model's kernel from random projections of its gradients, estimated without bias.

The drift of one random estimate of a kernel is too large: the noise of the estimate adds to it. Products of two
*independent* estimates have no such term. Here every probe has its own random output directions and its own random
projection of the parameters; all are the same at every time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mutransfer.errors import DataError
from mutransfer.intervals import Interval
from mutransfer.kernels.distances import from_leave_one_out
from mutransfer.kernels.empirical.as_function import ExampleBatch, Inputs, evaluate
from mutransfer.kernels.empirical.model_function import ModelFunction
from mutransfer.kernels.empirical.untouched import aliases, untouched
from mutransfer.parameterization.model.names import unwrapped


def sketched_ntk(model: nn.Module, x: Inputs, *, probes: int = 4, size: int = 1024, seed: int = 0) -> Tensor:
    """(probes, N, N): independent estimates of ``empirical_ntk(model, x)``, each with the kernel as its mean.

    A probe is one output direction of random signs and a random projection of the gradient to ``size`` numbers (count
    sketch, Charikar, Chen & Farach-Colton 2002), by one plain backward pass for every example. Probes depend on
    ``seed``, the parameters' names and shapes alone: take them before and after training and compare with
    :func:`split_drift` and :func:`split_distance`.

    Memory: one gradient of the model, two numbers for each of its entries while it is projected, and
    probes * N * size numbers. The model runs in the mode that it is in; gradients and random state stay as they are.

    >>> _ = torch.manual_seed(0)
    >>> sketched_ntk(nn.Linear(3, 2), torch.randn(4, 3), probes=3, size=64).shape
    torch.Size([3, 4, 4])
    """
    if probes < 1 or size < 1:
        raise DataError(f"probes and size must be positive, found {probes} and {size}")
    batch = ExampleBatch.of(x, "x")
    model = unwrapped(model)
    with untouched(model):
        leaves = aliases(model)
        function = ModelFunction.of(model, batch.rows(0, 1).arguments())
        sketches = next(iter(leaves.values())).new_zeros(probes, batch.size, size)
        for n in range(batch.size):
            outputs = evaluate(function, leaves, batch.rows(n, n + 1))[0]
            for probe in range(probes):
                generator = torch.Generator().manual_seed(hash((seed, probe)) % 2**31)
                direction = (torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1).to(outputs)
                gradients = torch.autograd.grad(
                    outputs, list(leaves.values()), direction, retain_graph=probe + 1 < probes, allow_unused=True
                )
                for leaf, gradient in zip(leaves.values(), gradients, strict=True):
                    places = torch.randint(0, size, (leaf.numel(),), generator=generator)
                    signs = torch.randint(0, 2, (leaf.numel(),), generator=generator, dtype=torch.int8) * 2 - 1
                    if gradient is not None:
                        values = gradient.flatten() * signs.to(gradient)
                        sketches[probe, n].index_add_(0, places.to(values.device), values)
    return sketches @ sketches.mT


def split_drift(start: Tensor, now: Tensor) -> Interval:
    """||K_t - K_0|| / ||K_0|| from two sets of sketches of the same probes, with a 90 % interval over probes.

    Squared lengths are means over pairs of different probes, which have no bias; the drift is the root of their ratio.
    Where noise makes the squared drift negative it is reported as 0.

    Raises DataError with fewer than three probes: each is left out in turn.
    """

    def drift(start: Tensor, now: Tensor) -> float:
        change = now - start
        return _cross(change, change) / _cross(start, start)

    return _root(_over_probes(drift, start, now))


def split_distance(first: Tensor, second: Tensor) -> Interval:
    """1 - <K, K'> / (||K|| ||K'||) (Fort et al. 2020) from sketches of the same probes; see :func:`split_drift`."""

    def distance(first: Tensor, second: Tensor) -> float:
        # From the change D = K' - K: 1 - cosine to leading order loses its digits where K' is close to K.
        change = second - first
        first_square, across, change_square = _cross(first, first), _cross(first, change), _cross(change, change)
        second_square = first_square + 2 * across + change_square
        scale = (first_square * second_square) ** 0.5
        return (first_square * change_square - across**2) / (scale * (scale + first_square + across))

    return _over_probes(distance, first, second)


def _over_probes(statistic: Callable[[Tensor, Tensor], float], first: Tensor, second: Tensor) -> Interval:
    if first.ndim != 3 or first.shape != second.shape or len(first) < 3:
        raise DataError(
            "expected two sets of sketches (probes, N, N) of the same probes, at least three; found "
            f"{tuple(first.shape)} and {tuple(second.shape)}"
        )
    first, second = first.double(), second.double()
    without = []
    for left_out in range(len(first)):
        rest = [i for i in range(len(first)) if i != left_out]
        without.append(statistic(first[rest], second[rest]))
    value, n = statistic(first, second), len(first)
    # The jackknife's correction: a ratio of means is off by O(1 / probes), by 18 % for a distance from 4 of them.
    return from_leave_one_out(n * value - (n - 1) * sum(without) / n, without)


def _cross(a: Tensor, b: Tensor) -> float:
    """<A, B> from estimates of both: the mean over ordered pairs of different probes."""
    n = len(a)
    every = (a.sum(0) * b.sum(0)).sum() - (a * b).sum()
    return float(every / (n * (n - 1)))


def _root(square: Interval) -> Interval:
    value, low, high = (max(0.0, number) ** 0.5 for number in (square.value, square.low, square.high))
    return Interval(value=value, low=low, high=high)
