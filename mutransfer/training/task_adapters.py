"""Tasks made from parts, around another task, and with overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
