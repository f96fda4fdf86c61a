"""The Plan of a task's model, inferred with the task's own loss as the example to run it on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mutransfer.errors import ExampleError
from mutransfer.parameterization.infer import infer
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import Overrides
from mutransfer.parameterization.tracing.examples import NOT_SEEN
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.theory.recipe import Recipe
from mutransfer.training.batches import example_batches
from mutransfer.training.task import Task


def infer_for_task(
    task: Task, builds: Builds, recipe: Recipe, *, overrides: Overrides | None = None, check: bool = False
) -> Plan:
    """The plan of ``recipe`` for ``task.build``, whose loss shows what the model does.

    Args:
        builds: ``task.build`` at base and target width.
        overrides: None takes the task's own, if it has any; ``{}`` is none.
        check: whether to measure the plan on small models.

    A loss that fails on the task's example, or on a few examples and on a whole batch too, is logged, and the plan is
    inferred without it: training will say what is wrong, or has another outcome for it.
    """
    if overrides is None:
        overrides = getattr(task, "overrides", None)
    failure: ExampleError | None = None
    for batch in example_batches(task):
        try:
            return infer(builds, recipe, overrides=overrides, example=loss_on(task, batch), check=check)
        except ExampleError as error:
            failure = failure or error
    logging.getLogger("mutransfer").warning("%s. %s", failure, NOT_SEEN)
    return infer(builds, recipe, overrides=overrides)


def task_example(task: Task) -> Example:
    """A function that calls a model as the task's loss does, on the first of ``example_batches``."""
    return loss_on(task, example_batches(task)[0])


def loss_on(task: Task, batch: Any) -> Callable[[nn.Module], torch.Tensor]:
    """A function that calls a model as the task's loss does, on ``batch``."""
    return lambda model: task.loss(model, batch)
