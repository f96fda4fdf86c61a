"""Tasks made from parts, around another task, and with overrides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mutransfer.training.batches import mean_loss
from mutransfer.training.task import EVAL_SEED, Task, label_of
from mutransfer.widths import Width


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
    example: Any = None  # a batch to see with what the model does; None: one is cut

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


@dataclass(frozen=True, repr=False, eq=False)
class NamedTask(TaskAround):
    """A task under another name in the record; all else that is asked of it, the task answers."""

    name: str

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or attribute == "task":  # of a copy that is being made
            raise AttributeError(attribute)
        return getattr(self.task, attribute)

    def __repr__(self) -> str:
        return self.name


def with_args(task: Task, args: Mapping[str, Any]) -> Task:
    """The task with those of its constructor's arguments in its name that it does not tell itself."""
    name = label_of(task)
    untold = [told for key in sorted(args) if not _tells(name, told := f"{key}={args[key]!r}")]
    return NamedTask(task, " ".join([name, *untold])) if untold else task


def name_without_args(task: Task) -> str:
    """The task's name before arguments were put into it."""
    if isinstance(task, OverriddenTask):
        return label_of(replace(task, task=task.task.task)) if isinstance(task.task, NamedTask) else label_of(task)
    return label_of(task.task) if isinstance(task, NamedTask) else label_of(task)


def _tells(name: str, told: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(told)}(?![\w.])", name) is not None
