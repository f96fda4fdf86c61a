"""Losses that say nothing of a learning rate, because the task itself is at fault: told before they are recorded."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from mutransfer.errors import DataError
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.parameterization.model.factory import build_at
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.training.batches import batch_of, to_device
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.widths import show_width


def check_losses(task: Task, spec: RunSpec, result: RunResult, device: torch.device) -> None:
    """Raise DataError, naming what is not finite, where the user's own model at base width starts so, or a batch is.

    A model that is finite as the factory makes it, and not under a parameterization or a learning rate, is an outcome.
    """
    if result.outcome is Outcome.OUT_OF_MEMORY:
        return
    if result.initial_loss == 0 or not all(map(math.isfinite, (result.initial_loss, *result.train_curve[:1]))):
        with preserved_random_state():
            _check_own_model(task, spec, device)
    broken = next((step for step, loss in enumerate(result.train_curve) if not math.isfinite(loss)), None)
    if broken is not None:
        batch = batch_of(task, spec.seed, broken, spec.batch_size)
        if where := _nan_in(batch):
            raise DataError(f"{label_of(task)}: batch(seed={spec.seed}, step={broken}) holds NaN in {where}")


def _check_own_model(task: Task, spec: RunSpec, device: torch.device) -> None:
    seed_everything(spec.seed)
    model = build_at(task.build, spec.base_width).to(device)
    batch = batch_of(task, spec.seed, 0, spec.batch_size)
    with torch.no_grad():
        loss = float(task.loss(model, to_device(batch, device)))
        with evaluating(model):
            score = float(task.evaluate(model))
    model_text = f"the model that the factory makes at width {show_width(spec.base_width)}, before training"
    values = {"loss(model, batch)": loss, "evaluate(model)": score}
    for what, value in values.items():
        if not math.isfinite(value):
            raise DataError(f"{label_of(task)}: {what} is {value} for {model_text}{_cause(model, batch, spec)}")
    if score == 0:
        raise DataError(
            f"{label_of(task)}: evaluate(model) is 0 for {model_text}: runs are compared by its logarithm, and nothing "
            "is left to learn. Return a loss that training makes smaller"
        )


def _cause(model: torch.nn.Module, batch: Any, spec: RunSpec) -> str:
    if where := _nan_in(batch):
        return f": batch(seed={spec.seed}, step=0) holds NaN in {where}"
    tensors = (*model.named_parameters(), *model.named_buffers())
    if odd := [name for name, x in tensors if x.is_floating_point() and not bool(torch.isfinite(x).all())]:
        return f": its {odd[0]} is not finite as the factory draws it"
    return ": its parameters are finite, so look for a logarithm, a root or a division in the model or the loss"


def _nan_in(batch: Any) -> str:
    """The first of a batch's tensors that holds NaN, in words; "" where none does."""
    tensors = [x for x in tree_flatten(batch)[0] if isinstance(x, Tensor)]
    for i, x in enumerate(tensors):
        if (x.is_floating_point() or x.is_complex()) and bool(torch.isnan(x).any()):
            return f"tensor {i + 1} of {len(tensors)}, of shape {tuple(x.shape)}"
    return ""
