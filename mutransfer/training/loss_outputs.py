"""The model's outputs within a task's loss: what it is called with, what it gives, where the loss wants it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.measure.movement import KernelProbe, sgd_weights
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.parameterization.plan import Plan
from mutransfer.training.batches import batch_size, split_batch
from mutransfer.training.task import Task

KERNEL_EXAMPLES = 16  # of the kernel that is watched while training


class ModelCall(NamedTuple):
    """A loss's call of its model: the arguments, and what it gets."""

    inputs: Any  # a tuple of arguments or a mapping of them by name
    outputs: Tensor  # (N, ...)


def model_call(task: Task, model: nn.Module, batch: Any) -> ModelCall:
    """The one call of the model in the loss of ``batch``.

    Raises KernelError where the loss does not call the model once, or the output is not a tensor of examples.
    """
    calls: list[tuple[Any, Any, Any]] = []
    handle = model.register_forward_hook(
        lambda _, args, kwargs, out: calls.append((args, kwargs, out)), with_kwargs=True
    )
    try:
        with evaluating(model):
            task.loss(model, batch)
    finally:
        handle.remove()
    if len(calls) != 1:
        raise KernelError(f"expected a loss that calls the model once, found {len(calls)} calls")
    ((args, kwargs, output),) = calls
    if args and kwargs:
        raise KernelError("the loss calls the model with positional and named arguments; expected one kind")
    if not isinstance(output, Tensor) or not output.ndim or len(output) != batch_size(batch):
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise KernelError(f"expected a model that returns one tensor with a row per example, found {found}")
    return ModelCall(kwargs or args, output)


@contextmanager
def replace_outputs(model: nn.Module, outputs: Tensor) -> Iterator[None]:
    """The model returns ``outputs`` whatever it is called with: its loss as a function of outputs."""
    handle = model.register_forward_hook(lambda *_: outputs)
    try:
        with evaluating(model):
            yield
    finally:
        handle.remove()


def target_direction(task: Task, model: nn.Module, batch: Any) -> Tensor:
    """The direction (N, C) in which the loss moves outputs that are zero, -dL/df at f = 0.

    Up to a factor the targets of a squared error, and one-hot labels less their share 1 / C of a cross-entropy.
    """
    zero = torch.zeros_like(model_call(task, model, batch).outputs, requires_grad=True)
    with replace_outputs(model, zero):
        loss = task.loss(model, batch)
    return -torch.autograd.grad(loss, zero)[0].reshape(len(zero), -1)


def kernel_probe(task: Task, model: nn.Module, plan: Plan, batch: Any) -> KernelProbe | None:
    """The first 16 examples of ``batch`` and a random direction of the outputs; None where the model has no kernel.

    The direction depends on the number of outputs alone: it is the same at every width. (The sum of the outputs would
    be blind to a cross-entropy, whose gradients add to zero.)
    """
    some = split_batch(batch, -(-batch_size(batch) // KERNEL_EXAMPLES))[0]
    try:
        call, wished = model_call(task, model, some), target_direction(task, model, some)
    except (KernelError, RuntimeError) as error:  # the loss of outputs that are zero may not be defined
        logging.getLogger("mutransfer").info("no tangent kernel is measured: %s", error)
        return None
    direction = torch.randn(wished.shape[1], generator=torch.Generator().manual_seed(0)).to(wished)
    direction /= direction.norm()
    return KernelProbe(inputs=call.inputs, direction=direction, targets=wished @ direction, weights=sgd_weights(plan))
