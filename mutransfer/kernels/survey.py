"""What a few examples show of a model: its operations, where examples lie in them, and whether examples interact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.batches import Batch, evaluate
from mutransfer.kernels.parts import Layout, Part, Pointwise, Product, split
from mutransfer.kernels.recording import Call, Recorder

SURVEYED = 3
_RANDOM = (
    "the model draws random numbers and its output depends on them, so that it has no one tangent kernel: call "
    "model.eval() first, or set the rate of its dropout to 0"
)


@dataclass(frozen=True)
class Survey:
    """``layouts`` has one entry per call; ``leftover`` names the parameters whose gradients are not known in parts."""

    calls: list[Call]
    layouts: list[Layout | None]
    replicated: frozenset[int]
    leftover: dict[str, str]
    outputs: int
    examples: int  # in the calls
    precision: float  # of the coarsest numbers in the forward pass


def survey(model: nn.Module, parameters: Mapping[str, Tensor], batch: Batch, constants: tuple[Tensor, ...]) -> Survey:
    """Run two and three of the examples (one and two, where there are only two), and compare.

    Raises KernelError where outputs are random or depend on the other examples in the batch.
    """
    _refuse_batch_statistics(model)
    batch = batch.at(some_examples(batch.size, SURVEYED))
    size, replicated = batch.size, frozenset()
    random_state = _random_state()
    large = _record(model, parameters, batch, constants, replicated)
    drew = any(not torch.equal(a, b) for a, b in zip(random_state, _random_state(), strict=True))
    if not bool(torch.isfinite(large.outputs).all()):
        raise KernelError("the model's outputs are not finite, and so its kernel is not")
    if drew or size == 1:
        _check_determinism(model, parameters, batch, large.outputs)
    if size == 1:
        leftover, precision = dict(large.recorder.leftover), large.recorder.precision
        return Survey(
            large.recorder.calls, [None] * len(large.recorder.calls), replicated, leftover, large.width, 1, precision
        )
    small = _record(model, parameters, batch.rows(0, size - 1), constants, replicated)
    _check_independence(large.outputs, small.outputs)
    if len(large.recorder.derived) == len(small.recorder.derived):
        pairs = zip(large.recorder.derived, small.recorder.derived, strict=True)
        replicated = frozenset(i for i, (a, b) in enumerate(pairs) if a != b)
        if replicated:
            large = _record(model, parameters, batch, constants, replicated)
            small = _record(model, parameters, batch.rows(0, size - 1), constants, replicated)
    return _compare(large, small, size, replicated)


@dataclass(frozen=True)
class _Recorded:
    recorder: Recorder
    outputs: Tensor

    @property
    def width(self) -> int:
        return self.outputs.shape[1]


def _record(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batch: Batch,
    constants: tuple[Tensor, ...],
    replicated: frozenset[int],
) -> _Recorded:
    recorder = Recorder(parameters, constants, replicated)
    with recorder:
        outputs = evaluate(model, parameters, batch)
    return _Recorded(recorder, outputs.detach())


def _compare(large: _Recorded, small: _Recorded, size: int, replicated: frozenset[int]) -> Survey:
    calls, others = large.recorder.calls, small.recorder.calls
    leftover = {**small.recorder.leftover, **large.recorder.leftover}
    precision = max(small.recorder.precision, large.recorder.precision)
    if [c.signature() for c in calls] != [c.signature() for c in others]:
        names = {name for call in [*calls, *others] for part in call.parts for name in part.names}
        leftover |= dict.fromkeys(names, "operations that depend on the data")
        return Survey([], [], replicated, leftover, large.width, size, precision)
    layouts = [_layout(a.output, b.output, size) for a, b in zip(calls, others, strict=True)]
    for call, layout in zip(calls, layouts, strict=True):
        for part in call.parts:
            if layout is None or not _fits(part, call.output, layout):
                reason = f"the output of {call.operation}, {tuple(call.output.shape)}, does not keep examples apart"
                leftover |= {name: reason for name in part.names if name not in leftover}
            elif isinstance(part, Product | Pointwise) and not part.is_intact():
                leftover |= dict.fromkeys(part.names, f"data that {call.operation} was given and that changed in place")
    kept = [layout if layout is not None else Layout(0, 0, True) for layout in layouts]
    return Survey(calls, [k if k.repeats else None for k in kept], replicated, leftover, large.width, size, precision)


def _layout(large: Tensor, small: Tensor, size: int) -> Layout | None:
    if large.ndim != small.ndim:
        return None
    differing = [d for d in range(large.ndim) if large.shape[d] != small.shape[d]]
    if len(differing) != 1:
        return None
    dim = differing[0]
    repeats, rest = divmod(large.shape[dim], size)
    if rest or small.shape[dim] != repeats * (size - 1):
        return None

    def distance(layout: Layout) -> float:
        return float((split(large, layout, size)[: size - 1] - split(small, layout, size - 1)).abs().sum())

    return min((Layout(dim, repeats, True), Layout(dim, repeats, False)), key=distance)


def _fits(part: Part, output: Tensor, layout: Layout) -> bool:
    if isinstance(part, Product):
        if part.features is not None and layout.dim >= part.features % output.ndim:
            return False
        return part.data.shape[layout.dim] == output.shape[layout.dim]
    if isinstance(part, Pointwise):
        shape = (1,) * (output.ndim - len(part.shape)) + part.shape
        return shape[layout.dim] == 1
    return True


def _check_independence(large: Tensor, small: Tensor) -> None:
    tolerance = 1e-3 if large.dtype.itemsize <= 4 else 1e-8
    scale = float(large.abs().max())
    difference = float((large[: len(small)] - small).abs().max())
    if not difference <= tolerance * scale:
        raise KernelError(
            f"an example's outputs change by {difference:.3g} (outputs are up to {scale:.3g}) when another example "
            "joins the batch: examples interact, and a kernel between single examples is not defined. Call "
            "model.eval() first, or give the model one example at a time"
        )


def _check_determinism(model: nn.Module, parameters: Mapping[str, Tensor], batch: Batch, outputs: Tensor) -> None:
    with torch.no_grad():
        again = evaluate(model, parameters, batch)
    if not torch.allclose(again, outputs, rtol=1e-3, atol=1e-3 * float(outputs.abs().max()), equal_nan=True):
        raise KernelError(_RANDOM)


def _random_state() -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states + (torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])


def some_examples(size: int, count: int) -> list[int]:
    """Up to ``count`` of ``size`` examples, drawn at random and always the same."""
    generator = torch.Generator().manual_seed(size)
    return sorted(torch.randperm(size, generator=generator)[:count].tolist())


def _refuse_batch_statistics(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise KernelError(
                f"{path or 'the model'} ({type(module).__name__}) normalises with the statistics of the batch, so that "
                "examples interact and a kernel between single examples is not defined: call model.eval() first"
                + (", and give it track_running_stats=True" if module.running_mean is None else "")
            )
