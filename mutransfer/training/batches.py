"""Batches: their device, their size, taken apart and scored in parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from mutransfer.errors import DataError
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.training.out_of_memory import is_out_of_memory
from mutransfer.training.task import PROBE_SEED, Task, label_of


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def to_device(batch: Any, device: torch.device | str) -> Any:
    """The batch with every tensor on ``device``."""
    return tree_map(lambda x: x.to(device, non_blocking=True) if isinstance(x, Tensor) else x, batch)


def batch_size(batch: Any) -> int:
    """Size of the first dimension of the first tensor."""
    leaves = [x for x in tree_flatten(batch)[0] if isinstance(x, Tensor) and x.ndim]
    if not leaves:
        raise DataError(f"a batch must hold at least one tensor with a batch dimension, found {type(batch).__name__}")
    return leaves[0].shape[0]


def batch_of(task: Task, seed: int, step: int, size: int = 0) -> Any:
    """The training batch of one step with ``size`` examples, 0: as many as the task's own.

    A larger one is put together from consecutive batches of the task, a smaller one is the beginning of its own: step
    k of size 2 b sees what steps 2 k and 2 k + 1 of size b see.
    """
    if not size:
        return task.batch(seed, step)
    first = task.batch(seed, 0)
    own = batch_size(first)
    if size <= own:
        return _first(task.batch(seed, step), size)
    pieces = math.ceil(size / own)
    batches = [task.batch(seed, step * pieces + i) for i in range(pieces)]
    if any(batch_size(b) != own for b in batches):
        raise DataError(f"{label_of(task)}: its batches differ in size, so batch_size={size} cannot be made of them")

    def join(*parts: Any) -> Any:
        x = parts[0]
        return torch.cat(parts) if isinstance(x, Tensor) and x.ndim and x.shape[0] == own else x

    return _first(tree_map(join, *batches), size)


def _first(batch: Any, size: int) -> Any:
    own = batch_size(batch)
    return tree_map(lambda x: x[:size] if isinstance(x, Tensor) and x.ndim and x.shape[0] == own else x, batch)


def split_batch(batch: Any, pieces: int) -> list[Any]:
    """The batch in ``pieces`` along its first dimension (fewer if it has fewer examples)."""
    size = batch_size(batch)
    bounds = [round(i * size / pieces) for i in range(pieces + 1)]

    def cut(x: Any, low: int, high: int) -> Any:
        return x[low:high] if isinstance(x, Tensor) and x.ndim and x.shape[0] == size else x

    return [
        tree_map(lambda x, low=low, high=high: cut(x, low, high), batch) for low, high in pairwise(bounds) if high > low
    ]


def few_examples(batch: Any) -> Any:
    """Two or three examples of a batch: enough to see what a model does with them, batch statistics included."""
    return split_batch(batch, max(1, batch_size(batch) // 2))[0]


def example_batches(task: Task) -> list[Any]:
    """Batches to see with what a model does, the one to try first at the front.

    That is ``task.example``, where it has one; else a few examples, and a whole batch for where those do not run alone:
    graphs, whose nodes and edges differ in number, or losses of a batch against itself.
    """
    if (example := getattr(task, "example", None)) is not None:
        return [example]
    batch = task.batch(PROBE_SEED, 0)
    return [few_examples(batch), batch]


@torch.no_grad()
def mean_loss(loss: Callable[[nn.Module, Any], Tensor], model: nn.Module, batches: list[Any]) -> float:
    """The mean of ``loss(model, batch)`` over batches in eval mode, weighted by their size.

    A batch that exhausts the memory is taken in halves.
    """
    with evaluating(model):
        return _weighted_mean(loss, model, batches)


def _weighted_mean(loss: Callable[[nn.Module, Any], Tensor], model: nn.Module, batches: list[Any]) -> float:
    sizes = [batch_size(b) for b in batches]
    losses = [_loss_of(loss, model, b) for b in batches]
    return sum(n * x for n, x in zip(sizes, losses, strict=True)) / sum(sizes)


def _loss_of(loss: Callable[[nn.Module, Any], Tensor], model: nn.Module, batch: Any) -> float:
    try:
        return float(loss(model, to_device(batch, device_of(model))))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or batch_size(batch) == 1:
            raise
    return _weighted_mean(loss, model, split_batch(batch, 2))  # here the failed attempt's memory is free again
