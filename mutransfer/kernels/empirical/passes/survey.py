"""A survey of a model by a few examples: its operations, where examples lie in them, and whether examples interact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer.errors import KernelError
from mutransfer.kernels.empirical.as_function import ExampleBatch, evaluate
from mutransfer.kernels.empirical.model_function import ModelFunction
from mutransfer.kernels.empirical.passes.independence import (
    check_determinism,
    check_independence,
    random_states,
)
from mutransfer.kernels.empirical.passes.signals import RecordedPass
from mutransfer.kernels.empirical.recording.parts import ExampleLayout, OuterProduct, Part, Pointwise, split_examples
from mutransfer.kernels.empirical.recording.recorder import RecordedOp, Recorder

# Examples that are looked at alone at least, and one in 32 of more: the rules of a parameter are the same for all.
_FEW = 2


@dataclass(frozen=True)
class OperationSurvey:
    """Operations of a model, as a run of a ``few`` examples shows them beside one of more.

    ``ops`` are of the few, ``layouts`` has one entry for each; ``leftover`` names the parameters whose gradients are
    not known in parts.
    """

    size: int
    few: list[int]
    results: Tensor  # (few, outputs), with the graph of a plain forward pass
    ops: list[RecordedOp]
    layouts: list[ExampleLayout | None]
    replicated: frozenset[int]
    leftover: dict[str, str]
    precision: float  # of the coarsest numbers in the forward pass
    whole: RecordedPass | None  # all examples, where memory allows

    @property
    def outputs(self) -> int:
        return self.results.shape[1]

    @property
    def examples(self) -> int:
        return len(self.few)

    @property
    def probed(self) -> list[int]:
        """Examples that the kernel is checked at: the few, and both where there are only two."""
        return [0, 1] if self.size == 2 else self.few

    def bytes_per_example(self) -> int:
        """Memory that stays taken after a forward pass: outputs with their gradients' place, and data."""
        size = 0
        for op in self.ops:
            size += 2 * op.output.numel() * op.output.element_size()
            size += sum(p.data.numel() * p.data.element_size() for p in op.parts if isinstance(p, OuterProduct))
        return size // self.examples


def survey_operations(
    model: ModelFunction,
    parameters: Mapping[str, Tensor],
    batch: ExampleBatch,
    constants: tuple[Tensor, ...],
    limit_bytes: int,
    *,
    all_outputs: bool = True,
) -> OperationSurvey:
    """Run a few examples, then all (a few and one more, where all would take more than ``limit_bytes``), and compare.

    ``all_outputs``: every output of the run of all will be differentiated. The run of a few is the plain model.

    Raises KernelError where outputs are random or depend on the other examples in the batch.
    """
    size, replicated = batch.size, frozenset()
    few = some_examples(size, max(_FEW, size // 32) if size > _FEW else 1)
    random_state = random_states()
    small = _record(model, parameters, batch.at(few), constants, replicated)
    drew = any(not torch.equal(a, b) for a, b in zip(random_state, random_states(), strict=True))
    if not bool(torch.isfinite(small.outputs).all()):
        raise KernelError("the model's outputs are not finite, and so its kernel is not")
    if drew or size == 1:
        check_determinism(model, parameters, batch.at(few), small.outputs)
    if size == 1:
        return _alone(small)
    per_example = OperationSurvey(
        size, few, small.outputs, small.recorder.ops, [], replicated, {}, 0.0, None
    ).bytes_per_example()
    at = list(range(size)) if size * per_example <= limit_bytes else some_examples(size, len(few) + 1)
    more = batch if len(at) == size else batch.at(at)
    several = all_outputs and small.outputs.shape[1] > 1
    large = _record(model, parameters, more, constants, replicated, several)
    places = [at.index(i) for i in few]
    check_independence(large.outputs.detach(), small.outputs.detach(), places)
    if len(large.recorder.derived) == len(small.recorder.derived):
        pairs = zip(large.recorder.derived, small.recorder.derived, strict=True)
        replicated = frozenset(i for i, (a, b) in enumerate(pairs) if a != b)
        if replicated:
            large = _record(model, parameters, more, constants, replicated, several)
            small = _record(model, parameters, batch.at(few), constants, replicated)
    return _compare(large, small, size, places, few, replicated)


@dataclass(frozen=True)
class _Recorded:
    recorder: Recorder
    outputs: Tensor


def _record(
    model: ModelFunction,
    parameters: Mapping[str, Tensor],
    batch: ExampleBatch,
    constants: tuple[Tensor, ...],
    replicated: frozenset[int],
    keep_slopes: bool = False,
) -> _Recorded:
    recorder = Recorder(parameters, constants, replicated, keep_slopes)
    with recorder:
        outputs = evaluate(model, parameters, batch)
    return _Recorded(recorder, outputs)


def _alone(small: _Recorded) -> OperationSurvey:
    """The survey of the only example there is."""
    ops = small.recorder.ops
    layouts: list[ExampleLayout | None] = [None] * len(ops)
    leftover = dict(small.recorder.leftover)
    whole = RecordedPass(small.outputs, ops, layouts)
    return OperationSurvey(1, [0], small.outputs, ops, layouts, frozenset(), leftover, small.recorder.precision, whole)


def _compare(
    large: _Recorded, small: _Recorded, size: int, places: list[int], few: list[int], replicated: frozenset[int]
) -> OperationSurvey:
    """The survey that two runs give together; ``places``: of the few in the large run."""
    ops, others = large.recorder.ops, small.recorder.ops
    leftover = {**small.recorder.leftover, **large.recorder.leftover}
    precision = max(small.recorder.precision, large.recorder.precision)
    if [c.signature() for c in ops] != [c.signature() for c in others]:
        names = {name for op in [*ops, *others] for part in op.parts for name in part.names}
        leftover |= dict.fromkeys(names, "operations that depend on the data")
        return OperationSurvey(size, few, small.outputs, [], [], replicated, leftover, precision, None)
    layouts: list[ExampleLayout | None] = []
    for op, other in zip(ops, others, strict=True):
        layout = _layout(op.output, other.output, len(large.outputs), places)
        for part in op.parts:
            if layout is None or not _fits(part, op.output, layout):
                reason = f"the output of {op.operation}, {tuple(op.output.shape)}, does not keep examples apart"
                leftover |= {name: reason for name in part.names if name not in leftover}
            elif isinstance(part, OuterProduct | Pointwise) and not part.is_intact():
                leftover |= dict.fromkeys(part.names, f"data that {op.operation} was given and that changed in place")
        layouts.append(layout if layout is not None and layout.repeats else None)
    run = RecordedPass(large.outputs, ops, layouts) if len(large.outputs) == size else None
    return OperationSurvey(size, few, small.outputs, others, layouts, replicated, leftover, precision, run)


def _layout(large: Tensor, small: Tensor, size: int, places: list[int]) -> ExampleLayout | None:
    if large.ndim != small.ndim:
        return None
    differing = [d for d in range(large.ndim) if large.shape[d] != small.shape[d]]
    if len(differing) != 1:
        return None
    dim = differing[0]
    repeats, rest = divmod(large.shape[dim], size)
    if rest or small.shape[dim] != repeats * len(places):
        return None
    if repeats == 1:
        return ExampleLayout(dim, 1, True)

    def distance(layout: ExampleLayout) -> float:
        return float(
            (split_examples(large, layout, size)[places] - split_examples(small, layout, len(places))).abs().sum()
        )

    return min((ExampleLayout(dim, repeats, True), ExampleLayout(dim, repeats, False)), key=distance)


def _fits(part: Part, output: Tensor, layout: ExampleLayout) -> bool:
    if isinstance(part, OuterProduct):
        if part.features is not None and layout.dim >= part.features % output.ndim:
            return False
        return part.data.shape[layout.dim] == output.shape[layout.dim]
    if isinstance(part, Pointwise):
        shape = (1,) * (output.ndim - len(part.shape)) + part.shape
        return shape[layout.dim] == 1
    return True


def some_examples(size: int, count: int) -> list[int]:
    """Up to ``count`` of ``size`` examples, drawn at random and always the same."""
    generator = torch.Generator().manual_seed(size)
    return sorted(torch.randperm(size, generator=generator)[:count].tolist())
