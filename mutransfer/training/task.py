"""The Task: a model factory, deterministic batches, a loss and an evaluation. What a user brings."""

from __future__ import annotations

import re
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from mutransfer.errors import ConfigError, DataError
from mutransfer.widths import Width


@runtime_checkable
class Task(Protocol):
    """A thing to train. ``repr`` identifies it in the record of runs, so a frozen dataclass serves well.

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


EVAL_SEED = 2**31 - 1  # batches for evaluation
PROBE_SEED = 2**31 - 2  # batches on which activations are compared


def label_of(task: Task) -> str:
    """The task's name in the record: its repr without memory addresses, or its class where it has no own repr."""
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
