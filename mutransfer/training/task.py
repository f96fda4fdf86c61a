"""The Task: a model factory, deterministic batches, a loss and an evaluation. What a user brings."""

from __future__ import annotations

import re
from typing import Any, Protocol, runtime_checkable

import numpy as np
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


def check_repeatable(task: Task) -> tuple[str, ...]:
    """Sentences on what batches do not depend on; DataError where one is not the same twice, as no run would be."""
    asked = ((0, 0), (0, 1), (1, 0))
    first = {key: task.batch(*key) for key in asked}
    for seed, step in asked:  # now that others came between: a batch may be the next one of a stream
        if not _same(first[seed, step], task.batch(seed, step)):
            raise DataError(
                f"{label_of(task)}: batch(seed={seed}, step={step}) is not the same when asked twice. It must depend "
                "on its arguments alone: draw with a generator that is seeded by (seed, step)."
            )
    by_step, by_seed = (not _same(first[0, 0], first[key]) for key in ((0, 1), (1, 0)))
    if by_step and by_seed:
        return ()
    ignored = "seed and step" if not (by_step or by_seed) else "step" if by_seed else "seed"
    follows = " A run sees one batch all the time." if not by_step else ""
    follows += (
        " Runs differ in their initialisation alone, and evaluation is on data of training." if not by_seed else ""
    )
    return (f"batch(seed, step) of {label_of(task)} does not depend on {ignored}.{follows}",)


def _same(first: Any, second: Any) -> bool:
    (some, shape), (others, other_shape) = tree_flatten(first), tree_flatten(second)
    return shape == other_shape and all(map(_equal, some, others))


def _equal(a: Any, b: Any) -> bool:
    """Equality of two leaves of a batch, NaN equal to NaN; of what is no number, which may know none, it is assumed."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(torch.equal(a, b) or ((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    return a == b if isinstance(a, str | int | float) and isinstance(b, str | int | float) else True
