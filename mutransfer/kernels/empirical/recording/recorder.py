"""A recorder of the operations of a forward pass that use parameters, with the parts of their gradients.

A torch function mode sees every operation. What is computed from parameters and constants alone is followed as a weight
of its own; an operation between a weight and data is recorded if ``operations.py`` knows its
gradient, and else its parameters are set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from mutransfer.kernels.empirical.recording.kept_slopes import WithSlope, has_costly_slope
from mutransfer.kernels.empirical.recording.operations import parts_of
from mutransfer.kernels.empirical.recording.parts import Part, Replicated, Unsupported, WeightSource


@dataclass(frozen=True)
class RecordedOp:
    """One recorded operation: where its output is in the graph, and the parts of gradients that pass there."""

    operation: str
    output: Tensor  # detached; shape and, while surveying, values
    edge: GradientEdge
    parts: tuple[Part, ...]

    def signature(self) -> tuple[Any, ...]:
        return self.operation, self.output.ndim, tuple(part.names for part in self.parts)


@dataclass(eq=False)
class Recorder(TorchFunctionMode):
    """Records the uses of ``parameters`` while it is active.

    ``replicated``: the positions, among all operations on weights and constants alone, of those whose output has an
    entry for every example (a class token that is expanded, say). ``keep_slopes``: many backward passes will follow.
    """

    parameters: Mapping[str, Tensor]
    constants: tuple[Tensor, ...] = ()
    replicated: frozenset[int] = frozenset()
    keep_slopes: bool = False
    ops: list[RecordedOp] = field(default_factory=list)
    derived: list[torch.Size] = field(default_factory=list)
    leftover: dict[str, str] = field(default_factory=dict)  # parameter: why
    precision: float = 0.0  # of the coarsest numbers seen, as the distance from 1 to the next

    def __post_init__(self) -> None:
        super().__init__()
        self._sources = {id(p): WeightSource({name: p}, p) for name, p in self.parameters.items()}
        self._constants = {id(c): c for c in self.constants}  # strong references, so that ids stay theirs

    def source(self, value: Any) -> WeightSource | None:
        return self._sources.get(id(value)) if isinstance(value, Tensor) else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = list(_tensors((args, kwargs)))
        weights = [s for t in inputs if (s := self.source(t)) is not None]
        fixed = all(id(t) in self._constants or self.source(t) is not None for t in inputs)
        if not weights:
            if self.keep_slopes and has_costly_slope(func, args, kwargs):
                out = WithSlope.apply(args[0], func, kwargs)
            else:
                out = func(*args, **kwargs)
            self._follow_constants(out, inputs, fixed)
            self._follow_precision(out)
            return out
        if fixed:
            return self._derive(func, func(*args, **kwargs), weights)
        inner = _opened(func)
        if inner is not None:
            with self:
                return inner(*args, **kwargs)
        out = self._use(func, args, kwargs, weights)
        self._follow_precision(out)
        return out

    def _use(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], weights: list[WeightSource]) -> Any:
        name = getattr(func, "__name__", "")
        parts: tuple[Part, ...] = ()
        reason = ""
        if any(t.is_complex() for t in _tensors((args, kwargs))):
            reason = "a product of complex numbers"
        elif torch.is_grad_enabled():
            try:
                parts = parts_of(name, self.source, args, kwargs)
            except Unsupported as unsupported:
                reason = str(unsupported)
        out = func(*args, **kwargs)
        if not any(t.requires_grad for t in _tensors(out)):
            return out  # sizes, comparisons, and what runs without gradients
        if reason:
            self._set_aside(weights, reason)
        else:
            self.ops.append(RecordedOp(name, out.detach(), get_gradient_edge(out), parts))
        return out

    def _derive(self, func: Any, out: Any, weights: list[WeightSource]) -> Any:
        leaves = {name: leaf for source in weights for name, leaf in source.leaves.items()}
        for tensor in _tensors(out):
            if self.source(tensor) is not None:  # a conversion to the dtype that it has, say
                continue
            if not tensor.requires_grad:
                self._constants[id(tensor)] = tensor
                continue
            place = len(self.derived)
            self.derived.append(tensor.shape)
            source = WeightSource(leaves, tensor)
            if place in self.replicated:
                name = getattr(func, "__name__", "")
                self.ops.append(RecordedOp(name, tensor.detach(), get_gradient_edge(tensor), (Replicated(source),)))
            else:
                self._sources[id(tensor)] = source
        return out

    def _follow_constants(self, out: Any, inputs: list[Tensor], fixed: bool) -> None:
        if fixed:
            self._constants.update((id(t), t) for t in _tensors(out))
        elif inputs and id(inputs[0]) in self._constants:  # perhaps written to: no constant from here on
            del self._constants[id(inputs[0])]

    def _follow_precision(self, out: Any) -> None:
        if isinstance(out, Tensor) and out.is_floating_point():
            self.precision = max(self.precision, torch.finfo(out.dtype).eps)

    def _set_aside(self, weights: list[WeightSource], reason: str) -> None:
        for source in weights:
            for name in source.leaves:
                self.leftover.setdefault(name, reason)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


_GUARDS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def _opened(func: Any) -> Callable[..., Any] | None:
    """A torch function that is written in Python, without its hand-over to modes, so that what it calls is seen."""
    if not isinstance(func, FunctionType) or not any(guard in func.__globals__ for guard in _GUARDS):
        return None
    names = {**func.__globals__, **dict.fromkeys(_GUARDS, lambda *_: False)}
    inner = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    inner.__kwdefaults__ = func.__kwdefaults__
    return inner
