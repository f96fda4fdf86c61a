"""One block of examples, run once: what its outputs send back to every recorded operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer.kernels.empirical.as_function import ExampleBatch, evaluate
from mutransfer.kernels.empirical.gradients import Gradients
from mutransfer.kernels.empirical.model_function import ModelFunction
from mutransfer.kernels.empirical.passes.backward import backward
from mutransfer.kernels.empirical.products.rows import outer
from mutransfer.kernels.empirical.recording.parts import ExampleLayout, OuterProduct, Pointwise, Replicated
from mutransfer.kernels.empirical.recording.recorder import RecordedOp, Recorder


class Irregular(Exception):
    """A forward pass whose operations are not those that were surveyed: control flow that depends on data."""


@dataclass(frozen=True)
class RecordedPass:
    """A recorded forward pass: outputs (N, O) with their graph, and the ops with the layout of each."""

    outputs: Tensor
    ops: Sequence[RecordedOp]
    layouts: Sequence[ExampleLayout | None]

    def gradients(
        self, count: int, cotangent: Callable[[int], Tensor], skipped: Collection[str]
    ) -> dict[str, Gradients]:
        """Gradients of ``count`` outputs, the o-th being the sum of ``cotangent(o) * outputs`` over the last dimension.

        Parameters in ``skipped`` are left out.
        """
        size = self.outputs.shape[0]
        used = [
            (op, layout)
            for op, layout in zip(self.ops, self.layouts, strict=True)
            if any(name not in skipped for part in op.parts for name in part.names)
        ]
        if not used or not self.outputs.requires_grad:
            return {}
        edges = [op.edge for op, _ in used]
        bytes_each = sum(op.output.numel() * op.output.element_size() for op, _ in used)
        collected: dict[tuple[int, int], Tensor] = {}
        for first, last, gradients in backward(self.outputs, edges, count, cotangent, bytes_each):
            for i, (op, layout) in enumerate(used):
                gradient, gradients[i] = gradients[i], None  # done with when it has been read
                if gradient is None:
                    continue
                for k, part in enumerate(op.parts):
                    if isinstance(part, OuterProduct):
                        tensor, dim = part.signal(gradient, layout, size), 2
                    else:
                        assert isinstance(part, Pointwise | Replicated)
                        tensor, dim = part.reduced(gradient, layout, size), 1
                    _collect(collected, (i, k), tensor, dim, first, last, count)
        by_parameter: dict[str, Gradients] = {}
        for (i, k), tensor in collected.items():
            op, layout = used[i]
            self._add(by_parameter, op.parts[k], layout, tensor, skipped)
        return by_parameter

    def _add(
        self,
        by_parameter: dict[str, Gradients],
        part: object,
        layout: ExampleLayout | None,
        tensor: Tensor,
        skipped: Collection[str],
    ) -> None:
        size = self.outputs.shape[0]
        assert isinstance(part, OuterProduct | Pointwise | Replicated)
        if isinstance(part, OuterProduct):
            factors = part.factors(tensor, layout, size)
            if part.source.is_parameter():
                if part.names[0] not in skipped:
                    by_parameter.setdefault(part.names[0], Gradients()).factors.append(factors)
                return
            tensor = outer(factors, 0, factors.shape[0]).flatten(2)
        source = part.one(layout, size) if isinstance(part, Replicated) else part.source
        for name, rows in source.pulled_back(tensor).items():
            if name not in skipped:
                by_parameter.setdefault(name, Gradients()).add_rows(rows)


def _collect(
    collected: dict[tuple[int, int], Tensor],
    key: tuple[int, int],
    part: Tensor,
    dim: int,
    first: int,
    last: int,
    count: int,
) -> None:
    """Put the outputs ``first`` to ``last`` of ``count``, along ``dim``, in their place."""
    if last - first == count:
        collected[key] = part
        return
    if key not in collected:
        shape = list(part.shape)
        shape[dim] = count
        order = list(range(part.ndim))
        if part.ndim == 4 and part.shape[1] > 1 and part.stride(1) == 1:  # as convolutions have it: positions last
            order = [0, 2, 3, 1]
        collected[key] = torch.empty_permuted(shape, order, dtype=part.dtype, device=part.device).zero_()
    collected[key].narrow(dim, first, last - first).copy_(part)


def record_pass(
    model: ModelFunction,
    parameters: Mapping[str, Tensor],
    batch: ExampleBatch,
    constants: tuple[Tensor, ...],
    ops: Sequence[RecordedOp],
    layouts: Sequence[ExampleLayout | None],
    replicated: frozenset[int],
    keep_slopes: bool = False,
) -> RecordedPass:
    """Run ``batch`` and record it; ``ops``, ``layouts`` and ``replicated`` are what the survey found.

    Raises Irregular where the operations are others.
    """
    recorder = Recorder(parameters, constants, replicated, keep_slopes)
    with recorder:
        outputs = evaluate(model, parameters, batch)
    if [c.signature() for c in recorder.ops] != [c.signature() for c in ops]:
        raise Irregular
    for op, layout in zip(recorder.ops, layouts, strict=True):
        if layout is not None and op.output.shape[layout.dim] != layout.repeats * batch.size:
            raise Irregular
    return RecordedPass(outputs, recorder.ops, layouts)
