"""Movement of a network's tangent kernel while it trains, and whether that is towards the targets."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.distances import kernel_distance, relative_drift, target_alignment
from mutransfer.kernels.empirical.ntk import empirical_ntk
from mutransfer.training.batches import batch_size, device_of, split_batch, to_device
from mutransfer.training.loss_outputs import model_call, target_direction
from mutransfer.training.task import PROBE_SEED, Task
from mutransfer.training.task_adapters import TaskAround
from mutransfer.widths import Width

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


class Watched(TaskAround):
    """``task`` whose evaluations also measure the kernel, so that the training loop itself says when."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.moments: list[Moment] = []
        self._probe: _Probe | None = None

    def build(self, width: Width, /) -> nn.Module:
        self._probe, self.moments = None, []
        return self.task.build(width)

    def evaluate(self, model: nn.Module, /) -> float:
        if self._probe is None:
            batch = probe_batch(self.task, model)
            inputs = model_call(self.task, model, batch).inputs
            targets = target_direction(self.task, model, batch)
            self._probe = _Probe(inputs, targets, empirical_ntk(model, inputs, outputs="trace"))
        start, kernel = self._probe.start, empirical_ntk(model, self._probe.inputs, outputs="trace")
        moment = Moment(
            drift=relative_drift(start, kernel),
            distance=kernel_distance(start, kernel),
            alignment=target_alignment(kernel, self._probe.targets),
        )
        self.moments.append(moment)
        return self.task.evaluate(model)


def probe_batch(task: Task, model: nn.Module) -> Any:
    """The first examples of the probe batch, as many as a kernel is cheap of.

    Raises KernelError where that is too few.
    """
    batch = to_device(task.batch(PROBE_SEED, 0), device_of(model))
    per_example = model_call(task, model, batch).outputs[0].numel()
    wanted = min(PROBE_EXAMPLES, batch_size(batch), PROBE_ROWS // per_example)
    if wanted < LEAST_EXAMPLES:
        raise KernelError(
            f"a kernel of {LEAST_EXAMPLES} examples with {per_example} outputs each is too large to be measured while "
            f"training, or a batch has fewer examples ({batch_size(batch)})"
        )
    size = batch_size(batch)
    return split_batch(batch, -(-size // wanted))[0]
