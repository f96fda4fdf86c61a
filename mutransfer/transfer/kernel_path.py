"""How the tangent kernel of a network moves while it trains, and whether towards the targets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.distances import kernel_distance, relative_drift, target_alignment
from mutransfer.kernels.empirical import empirical_ntk
from mutransfer.measure.probes import evaluating
from mutransfer.parameterization.building import Width
from mutransfer.training.task import PROBE_SEED, Task, batch_size, device_of, split, to_device

PROBE_EXAMPLES = 32
PROBE_ROWS = 4096  # examples times outputs: a kernel of more takes longer than the training that it watches
LEAST_EXAMPLES = 8  # of a probe: a kernel between fewer says nothing of alignment


class Moment(NamedTuple):
    """The tangent kernel on the probe batch after some steps, against that before the first."""

    drift: float  # ||K_t - K_0|| / ||K_0||
    distance: float  # 1 - cos(K_t, K_0)
    alignment: float  # centred kernel target alignment


class _Probe(NamedTuple):
    inputs: Any
    targets: Tensor  # (N, C)
    start: Tensor  # (N, N), before the first step


class Watched:
    """``task`` whose evaluations also measure the kernel, so that the training loop itself says when."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.moments: list[Moment] = []
        self._probe: _Probe | None = None

    def build(self, width: Width, /) -> nn.Module:
        self._probe, self.moments = None, []
        return self.task.build(width)

    def batch(self, seed: int, step: int, /) -> Any:
        return self.task.batch(seed, step)

    def loss(self, model: nn.Module, batch: Any, /) -> Tensor:
        return self.task.loss(model, batch)

    def evaluate(self, model: nn.Module, /) -> float:
        if self._probe is None:
            batch = probe_batch(self.task, model)
            inputs = call_of(self.task, model, batch).inputs
            targets = wished_outputs(self.task, model, batch)
            self._probe = _Probe(inputs, targets, empirical_ntk(model, inputs, outputs="trace"))
        start, kernel = self._probe.start, empirical_ntk(model, self._probe.inputs, outputs="trace")
        moment = Moment(
            drift=relative_drift(start, kernel),
            distance=kernel_distance(start, kernel),
            alignment=target_alignment(kernel, self._probe.targets),
        )
        self.moments.append(moment)
        return self.task.evaluate(model)


class Call(NamedTuple):
    """What a loss calls its model with, and what it gets."""

    inputs: Any  # a tuple of arguments or a mapping of them by name
    outputs: Tensor  # (N, ...)


def call_of(task: Task, model: nn.Module, batch: Any) -> Call:
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
    return Call(kwargs or args, output)


@contextmanager
def answering(model: nn.Module, outputs: Tensor) -> Iterator[None]:
    """The model returns ``outputs`` whatever it is called with: its loss as a function of outputs."""
    handle = model.register_forward_hook(lambda *_: outputs)
    try:
        with evaluating(model):
            yield
    finally:
        handle.remove()


def wished_outputs(task: Task, model: nn.Module, batch: Any) -> Tensor:
    """The direction (N, C) in which the loss moves outputs that are zero, -dL/df at f = 0.

    Up to a factor the targets of a squared error, and one-hot labels less their share 1 / C of a cross-entropy.
    """
    zero = torch.zeros_like(call_of(task, model, batch).outputs, requires_grad=True)
    with answering(model, zero):
        loss = task.loss(model, batch)
    return -torch.autograd.grad(loss, zero)[0].reshape(len(zero), -1)


def probe_batch(task: Task, model: nn.Module) -> Any:
    """The first examples of the probe batch, as many as a kernel is cheap of.

    Raises KernelError where that is too few.
    """
    batch = to_device(task.batch(PROBE_SEED, 0), device_of(model))
    per_example = call_of(task, model, batch).outputs[0].numel()
    wanted = min(PROBE_EXAMPLES, batch_size(batch), PROBE_ROWS // per_example)
    if wanted < LEAST_EXAMPLES:
        raise KernelError(
            f"a kernel of {LEAST_EXAMPLES} examples with {per_example} outputs each is too large to be measured while "
            f"training, or a batch has fewer examples ({batch_size(batch)})"
        )
    size = batch_size(batch)
    return split(batch, -(-size // wanted))[0]
