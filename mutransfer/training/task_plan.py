"""The Plan of a task's model, inferred with the task's own loss as the example to run it on."""

from __future__ import annotations

import logging

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
from mutransfer.training.batches import few_examples
from mutransfer.training.task import PROBE_SEED, Task


def infer_for_task(task: Task, builds: Builds, recipe: Recipe, *, overrides: Overrides | None = None) -> Plan:
    """The plan of ``recipe`` for ``task.build``, whose loss shows what the model does.

    Args:
        builds: ``task.build`` at base and target width.
        overrides: None takes the task's own, if it has any; ``{}`` is none.

    A loss that fails on a few examples is logged, and the plan is inferred without it: training will say what is
    wrong, or has another outcome for it.
    """
    if overrides is None:
        overrides = getattr(task, "overrides", None)
    try:
        return infer(builds, recipe, overrides=overrides, example=task_example(task))
    except ExampleError as error:
        logging.getLogger("mutransfer").warning("%s. %s", error, NOT_SEEN)
        return infer(builds, recipe, overrides=overrides)


def task_example(task: Task) -> Example:
    """A function that calls a model as the task's loss does, on two or three examples."""

    def loss_of_few(model: nn.Module) -> torch.Tensor:
        return task.loss(model, few_examples(task.batch(PROBE_SEED, 0)))

    return loss_of_few
