"""The Plan of a task's model, inferred with the task's own loss as the example to run it on."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from mutransfer.errors import ExampleError
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.compare_widths import Overrides
from mutransfer.parameterization.tracing.examples import NOT_SEEN
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.training.batches import few_examples
from mutransfer.training.task import PROBE_SEED, Task
from mutransfer.widths import Width


def infer_for_task(
    task: Task, *, width: Width, base_width: Width, overrides: Overrides | None = None, **options: Any
) -> Plan:
    """The plan that :meth:`Plan.infer` makes of ``task.build``, whose loss shows what the model does.

    Args:
        overrides: None takes the task's own, if it has any; ``{}`` is none.
        options: all others of :meth:`Plan.infer`.

    A loss that fails on a few examples is logged, and the plan is inferred without it: training will say what is
    wrong, or has another outcome for it.
    """
    if overrides is None:
        overrides = getattr(task, "overrides", None)
    options |= {"width": width, "base_width": base_width, "overrides": overrides}
    try:
        return Plan.infer(task.build, example=task_example(task), **options)
    except ExampleError as error:
        logging.getLogger("mutransfer").warning("%s. %s", error, NOT_SEEN)
        return Plan.infer(task.build, **options)


def task_example(task: Task) -> Example:
    """A function that calls a model as the task's loss does, on two or three examples."""

    def loss_of_few(model: nn.Module) -> torch.Tensor:
        return task.loss(model, few_examples(task.batch(PROBE_SEED, 0)))

    return loss_of_few
