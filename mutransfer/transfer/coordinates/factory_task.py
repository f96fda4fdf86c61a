"""A factory with a batch and a loss, as the Task that a coordinate check trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mutransfer.errors import ConfigError
from mutransfer.training.task import Task
from mutransfer.training.task_adapters import PartsTask


def as_task(
    build_or_task: Any, batch: Any, loss: Callable[[nn.Module, Any], Tensor] | None, example: Any = None
) -> Task:
    """A Task itself, or that of a factory, a batch or function (seed, step) -> batch, and a loss (None: its own).

    Raises ConfigError for a factory without a batch.
    """
    if all(hasattr(build_or_task, m) for m in ("build", "batch", "loss")):
        return build_or_task
    if batch is None:
        raise ConfigError(
            "a coordinate check of a factory needs batch=..., a batch or a function (seed, step) -> batch"
        )
    draw = batch if callable(batch) else lambda seed, step: batch
    return PartsTask(
        model=build_or_task, data=draw, loss_fn=loss or own_loss, label="coordinate check", example=example
    )


def own_loss(model: nn.Module, batch: Any) -> Tensor:
    """The loss that a model returns itself: a scalar, or the ``loss`` of an output or a mapping.

    Raises ConfigError where it returns none.
    """
    output = _called(model, batch)
    loss = output if isinstance(output, Tensor) else getattr(output, "loss", None)
    if loss is None and isinstance(output, Mapping):
        loss = output.get("loss")
    if not isinstance(loss, Tensor) or loss.ndim:
        raise ConfigError("the model returns no scalar loss: give loss=..., a function (model, batch) -> scalar")
    return loss


def _called(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple):
        return model(*batch)
    return model(batch)
