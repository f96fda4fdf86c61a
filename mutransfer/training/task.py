"""The Task: a model factory, deterministic batches, a loss and an evaluation. What a user brings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from mutransfer.errors import ConfigError, DataError
from mutransfer.measure.activations import evaluating
from mutransfer.training.memory import is_out_of_memory
from mutransfer.widths import Width


@runtime_checkable
class Task(Protocol):
    """What is trained. ``repr`` identifies it in the record of runs, so a frozen dataclass serves well.

    ``batch`` depends on its arguments alone: a run can then be repeated, and every width sees the same data.
    """

    def build(self, width: Width, /) -> nn.Module: ...

    def batch(self, seed: int, step: int, /) -> Any:
        """The training batch of one step: any nesting of tensors, batch dimension first."""
        ...

    def loss(self, model: nn.Module, batch: Any, /) -> Tensor:
        """The mean loss of a batch, a scalar."""
        ...

    def evaluate(self, model: nn.Module, /) -> float:
        """The loss by which runs are compared, on data that does not depend on the seed."""
        ...


@dataclass(frozen=True)
class PartsTask:
    """A task made of a factory, a batch function and a loss, with no class to write.

    Evaluation is the mean loss over ``eval_batches`` batches of a seed that is not used for training.
    """

    model: Callable[..., nn.Module]
    data: Callable[[int, int], Any]
    loss_fn: Callable[[nn.Module, Any], Tensor]
    label: str
    eval_batches: int = 4

    def build(self, width: Width, /) -> nn.Module:
        return self.model(width)

    def batch(self, seed: int, step: int, /) -> Any:
        return self.data(seed, step)

    def loss(self, model: nn.Module, batch: Any, /) -> Tensor:
        return self.loss_fn(model, batch)

    def evaluate(self, model: nn.Module, /) -> float:
        return mean_loss(self.loss, model, [self.data(EVAL_SEED, step) for step in range(self.eval_batches)])

    def __repr__(self) -> str:
        return self.label


@dataclass(frozen=True, repr=False, eq=False)
class TaskAround:
    """A task that hands on to ``task`` what a subclass does not change."""

    task: Task

    def build(self, width: Width, /) -> nn.Module:
        return self.task.build(width)

    def batch(self, seed: int, step: int, /) -> Any:
        return self.task.batch(seed, step)

    def loss(self, model: nn.Module, batch: Any, /) -> Tensor:
        return self.task.loss(model, batch)

    def evaluate(self, model: nn.Module, /) -> float:
        return self.task.evaluate(model)


@dataclass(frozen=True)
class OverriddenTask(TaskAround):
    """A task whose model needs roles that cannot be inferred; otherwise the task it holds."""

    overrides: Mapping[str, Any]  # {fnmatch pattern over parameter names: role or Axes}

    def __repr__(self) -> str:
        return f"{label_of(self.task)} overrides={dict(self.overrides)}"


EVAL_SEED = 2**31 - 1  # batches for evaluation
PROBE_SEED = 2**31 - 2  # batches on which activations are compared


def label_of(task: Task) -> str:
    """What names the task in the record: its repr without memory addresses, or its class where it has no own repr."""
    if type(task).__repr__ is object.__repr__:
        return f"{type(task).__module__}.{type(task).__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(task))


def check_task(task: object) -> Task:
    """``task`` itself, or ConfigError naming the methods that are missing."""
    if isinstance(task, type):
        raise ConfigError(f"{task.__name__} is a class, not a Task: pass an instance, {task.__name__}(...)")
    missing = [m for m in ("build", "batch", "loss", "evaluate") if not callable(getattr(task, m, None))]
    if missing:
        raise ConfigError(
            f"{type(task).__name__} is not a Task: it has no {', '.join(missing)}. A Task has build(width), "
            "batch(seed, step), loss(model, batch) and evaluate(model)."
        )
    return task  # type: ignore[return-value]


def check_repeatable(task: Task) -> None:
    """Raise DataError where ``batch(0, 0)`` is not the same twice: no run could be repeated or compared."""
    first, second = (tree_flatten(task.batch(0, 0))[0] for _ in range(2))
    same = len(first) == len(second) and all(
        torch.equal(a, b) if isinstance(a, Tensor) else True for a, b in zip(first, second, strict=True)
    )
    if not same:
        raise DataError(
            f"{label_of(task)}: batch(seed=0, step=0) is not the same when asked twice. It must depend on its "
            "arguments alone: draw with a generator that is seeded by (seed, step)."
        )


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


def split(batch: Any, pieces: int) -> list[Any]:
    """The batch in ``pieces`` along its first dimension (fewer if it has fewer examples)."""
    size = batch_size(batch)
    bounds = [round(i * size / pieces) for i in range(pieces + 1)]

    def cut(x: Any, low: int, high: int) -> Any:
        return x[low:high] if isinstance(x, Tensor) and x.ndim and x.shape[0] == size else x

    return [
        tree_map(lambda x, low=low, high=high: cut(x, low, high), batch) for low, high in pairwise(bounds) if high > low
    ]


def few(batch: Any) -> Any:
    """Two or three examples of a batch: enough to see what a model does with them, batch statistics included."""
    return split(batch, max(1, batch_size(batch) // 2))[0]


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
    return _weighted_mean(loss, model, split(batch, 2))  # here the failed attempt's memory is free again
