"""What a few examples show of a model: its operations, where examples lie in them, and whether examples interact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.empirical.as_function import Batch, evaluate
from mutransfer.kernels.empirical.passes.signals import Forward
from mutransfer.kernels.empirical.recording.parts import Layout, Part, Pointwise, Product, split
from mutransfer.kernels.empirical.recording.recorder import Call, Recorder

# Examples that are looked at alone at least, and one in 32 of more: the rules of a parameter are the same for all.
_FEW = 2
_RANDOM = (
    "the model draws random numbers and its output depends on them, so that it has no one tangent kernel: call "
    "model.eval() first, or set the rate of its dropout to 0"
)


@dataclass(frozen=True)
class Survey:
    """What a run of a ``few`` examples shows beside one of more.

    ``calls`` are of the few, ``layouts`` has one entry for each; ``leftover`` names the parameters whose gradients are
    not known in parts.
    """

    size: int
    few: list[int]
    results: Tensor  # (few, outputs), with the graph of a plain forward pass
    calls: list[Call]
    layouts: list[Layout | None]
    replicated: frozenset[int]
    leftover: dict[str, str]
    precision: float  # of the coarsest numbers in the forward pass
    whole: Forward | None  # all examples, where memory allows

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
        """What stays of a forward pass: outputs with their gradients' place, and data."""
        size = 0
        for call in self.calls:
            size += 2 * call.output.numel() * call.output.element_size()
            size += sum(p.data.numel() * p.data.element_size() for p in call.parts if isinstance(p, Product))
        return size // self.examples


def survey(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batch: Batch,
    constants: tuple[Tensor, ...],
    limit_bytes: int,
    *,
    all_outputs: bool = True,
) -> Survey:
    """Run a few examples, then all (a few and one more, where all would take more than ``limit_bytes``), and compare.

    ``all_outputs``: every output of the run of all will be differentiated. The run of a few is the plain model.

    Raises KernelError where outputs are random or depend on the other examples in the batch.
    """
    _refuse_batch_statistics(model)
    size, replicated = batch.size, frozenset()
    few = some_examples(size, max(_FEW, size // 32) if size > _FEW else 1)
    random_state = _random_state()
    small = _record(model, parameters, batch.at(few), constants, replicated)
    drew = any(not torch.equal(a, b) for a, b in zip(random_state, _random_state(), strict=True))
    if not bool(torch.isfinite(small.outputs).all()):
        raise KernelError("the model's outputs are not finite, and so its kernel is not")
    if drew or size == 1:
        _check_determinism(model, parameters, batch.at(few), small.outputs)
    if size == 1:
        return _alone(small)
    per_example = Survey(
        size, few, small.outputs, small.recorder.calls, [], replicated, {}, 0.0, None
    ).bytes_per_example()
    at = list(range(size)) if size * per_example <= limit_bytes else some_examples(size, len(few) + 1)
    more = batch if len(at) == size else batch.at(at)
    several = all_outputs and small.outputs.shape[1] > 1
    large = _record(model, parameters, more, constants, replicated, several)
    places = [at.index(i) for i in few]
    _check_independence(large.outputs.detach(), small.outputs.detach(), places)
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
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batch: Batch,
    constants: tuple[Tensor, ...],
    replicated: frozenset[int],
    keep_slopes: bool = False,
) -> _Recorded:
    recorder = Recorder(parameters, constants, replicated, keep_slopes)
    with recorder:
        outputs = evaluate(model, parameters, batch)
    return _Recorded(recorder, outputs)


def _alone(small: _Recorded) -> Survey:
    """Of the only example there is."""
    calls = small.recorder.calls
    layouts: list[Layout | None] = [None] * len(calls)
    leftover = dict(small.recorder.leftover)
    whole = Forward(small.outputs, calls, layouts)
    return Survey(1, [0], small.outputs, calls, layouts, frozenset(), leftover, small.recorder.precision, whole)


def _compare(
    large: _Recorded, small: _Recorded, size: int, places: list[int], few: list[int], replicated: frozenset[int]
) -> Survey:
    """``places``: of the few in the large run."""
    calls, others = large.recorder.calls, small.recorder.calls
    leftover = {**small.recorder.leftover, **large.recorder.leftover}
    precision = max(small.recorder.precision, large.recorder.precision)
    if [c.signature() for c in calls] != [c.signature() for c in others]:
        names = {name for call in [*calls, *others] for part in call.parts for name in part.names}
        leftover |= dict.fromkeys(names, "operations that depend on the data")
        return Survey(size, few, small.outputs, [], [], replicated, leftover, precision, None)
    layouts: list[Layout | None] = []
    for call, other in zip(calls, others, strict=True):
        layout = _layout(call.output, other.output, len(large.outputs), places)
        for part in call.parts:
            if layout is None or not _fits(part, call.output, layout):
                reason = f"the output of {call.operation}, {tuple(call.output.shape)}, does not keep examples apart"
                leftover |= {name: reason for name in part.names if name not in leftover}
            elif isinstance(part, Product | Pointwise) and not part.is_intact():
                leftover |= dict.fromkeys(part.names, f"data that {call.operation} was given and that changed in place")
        layouts.append(layout if layout is not None and layout.repeats else None)
    run = Forward(large.outputs, calls, layouts) if len(large.outputs) == size else None
    return Survey(size, few, small.outputs, others, layouts, replicated, leftover, precision, run)


def _layout(large: Tensor, small: Tensor, size: int, places: list[int]) -> Layout | None:
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
        return Layout(dim, 1, True)

    def distance(layout: Layout) -> float:
        return float((split(large, layout, size)[places] - split(small, layout, len(places))).abs().sum())

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


def _check_independence(large: Tensor, small: Tensor, places: list[int]) -> None:
    tolerance = 1e-3 if large.dtype.itemsize <= 4 else 1e-8
    scale = float(large.abs().max())
    difference = float((large[places] - small).abs().max())
    if not difference <= tolerance * scale:
        raise KernelError(
            f"an example's outputs change by {difference:.3g} (outputs are up to {scale:.3g}) when another example "
            "joins the batch: examples interact, and a kernel between single examples is not defined. Call "
            "model.eval() first, or give the model one example at a time"
        )


def _check_determinism(model: nn.Module, parameters: Mapping[str, Tensor], batch: Batch, outputs: Tensor) -> None:
    with torch.no_grad():
        again, outputs = evaluate(model, parameters, batch), outputs.detach()
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
