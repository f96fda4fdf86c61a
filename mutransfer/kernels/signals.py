"""One block of examples, run once: what its outputs send back to every recorded operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mutransfer.kernels.batches import Batch, evaluate
from mutransfer.kernels.contractions import outer
from mutransfer.kernels.factors import Gradients
from mutransfer.kernels.parts import Layout, Pointwise, Product, Replicated
from mutransfer.kernels.recording import Call, Recorder


class Irregular(Exception):
    """A forward pass whose operations are not those that were surveyed: control flow that depends on data."""


@dataclass(frozen=True)
class Forward:
    """A recorded forward pass: outputs (N, O) with their graph, and the calls with the layout of each."""

    outputs: Tensor
    calls: Sequence[Call]
    layouts: Sequence[Layout | None]

    def gradients(
        self, count: int, cotangent: Callable[[int], Tensor], skipped: Collection[str]
    ) -> dict[str, Gradients]:
        """Gradients of ``count`` outputs, the o-th being the sum of ``cotangent(o) * outputs`` over the last dimension.

        Parameters in ``skipped`` are left out.
        """
        size = self.outputs.shape[0]
        used = [
            (call, layout)
            for call, layout in zip(self.calls, self.layouts, strict=True)
            if any(name not in skipped for part in call.parts for name in part.names)
        ]
        collected: dict[tuple[int, int], Tensor] = {}
        for o in range(count if used and self.outputs.requires_grad else 0):
            gradients = torch.autograd.grad(
                self.outputs, [call.edge for call, _ in used], cotangent(o), retain_graph=True, allow_unused=True
            )
            for i, ((call, layout), gradient) in enumerate(zip(used, gradients, strict=True)):
                if gradient is None:
                    continue
                for k, part in enumerate(call.parts):
                    if isinstance(part, Product):
                        signal = part.signal(gradient, layout, size)
                        if count == 1:
                            collected[i, k] = signal.unsqueeze(2)
                            continue
                        if (i, k) not in collected:
                            shape = (*signal.shape[:2], count, signal.shape[2])
                            collected[i, k] = signal.new_zeros(shape)
                        collected[i, k][:, :, o] = signal
                    else:
                        assert isinstance(part, Pointwise | Replicated)
                        row = part.reduced(gradient, layout, size)
                        if count == 1:
                            collected[i, k] = row.unsqueeze(1)
                            continue
                        if (i, k) not in collected:
                            collected[i, k] = row.new_zeros(size, count, row.shape[1])
                        collected[i, k][:, o] = row
            del gradients
        found: dict[str, Gradients] = {}
        for (i, k), tensor in collected.items():
            call, layout = used[i]
            self._add(found, call.parts[k], layout, tensor, skipped)
        return found

    def _add(
        self, found: dict[str, Gradients], part: object, layout: Layout | None, tensor: Tensor, skipped: Collection[str]
    ) -> None:
        size = self.outputs.shape[0]
        assert isinstance(part, Product | Pointwise | Replicated)
        if isinstance(part, Product):
            factors = part.factors(tensor, layout, size)
            if part.source.is_parameter():
                if part.names[0] not in skipped:
                    found.setdefault(part.names[0], Gradients()).factors.append(factors)
                return
            tensor = outer(factors, 0, factors.shape[0]).flatten(2)
        source = part.one(layout, size) if isinstance(part, Replicated) else part.source
        for name, rows in source.pulled_back(tensor).items():
            if name not in skipped:
                found.setdefault(name, Gradients()).add_rows(rows)


def forward(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batch: Batch,
    constants: tuple[Tensor, ...],
    calls: Sequence[Call],
    layouts: Sequence[Layout | None],
    replicated: frozenset[int],
) -> Forward:
    """Run ``batch`` and record it; ``calls``, ``layouts`` and ``replicated`` are what the survey found.

    Raises Irregular where the operations are others.
    """
    recorder = Recorder(parameters, constants, replicated)
    with recorder:
        outputs = evaluate(model, parameters, batch)
    if [c.signature() for c in recorder.calls] != [c.signature() for c in calls]:
        raise Irregular
    for call, layout in zip(recorder.calls, layouts, strict=True):
        if layout is not None and call.output.shape[layout.dim] != layout.repeats * batch.size:
            raise Irregular
    return Forward(outputs, recorder.calls, layouts)
