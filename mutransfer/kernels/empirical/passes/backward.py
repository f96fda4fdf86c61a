"""Gradients of outputs at places in a graph: some outputs at once where one backward pass is mostly overhead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mutransfer.kernels.empirical.as_function import blocks

# What backward passes that run together may hold: several small ones cost as much as one; large ones that leave the
# cache together cost more than one after the other.
_TOGETHER_BYTES = 2**24


def backward(
    outputs: Tensor, edges: Sequence[GradientEdge], count: int, cotangent: Callable[[int], Tensor], bytes_each: int
) -> Iterator[tuple[int, int, list[Tensor | None]]]:
    """``(first, last, gradients)`` for ranges of ``count`` outputs: gradients (last - first, ...) at every edge.

    ``bytes_each``: of the gradients of one.
    """
    together = min(count, _TOGETHER_BYTES // max(1, bytes_each))
    first = 0
    if together > 1:
        try:
            for first, last in blocks(count, together):
                cotangents = torch.stack([cotangent(o) for o in range(first, last)])
                with warnings.catch_warnings():
                    # "there is a performance drop": an operation would loop over the outputs inside, no faster
                    warnings.simplefilter("error")
                    gradients = torch.autograd.grad(
                        outputs, edges, cotangents, retain_graph=True, allow_unused=True, is_grads_batched=True
                    )
                yield first, last, list(gradients)
                first = last
        except Exception:  # an operation that torch.func.vmap has no rule for: one output after the other
            together = 1
    for o in range(first if together <= 1 else count, count):
        gradients = torch.autograd.grad(outputs, edges, cotangent(o), retain_graph=True, allow_unused=True)
        yield o, o + 1, [None if g is None else g.unsqueeze(0) for g in gradients]
