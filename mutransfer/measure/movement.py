"""Movement while one model trains: features, by whose doing, and the tangent kernel, on inputs that stay the same."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.errors import ConfigError, DataError, KernelError
from mutransfer.kernels.distances import kernel_distance, relative_drift, target_alignment
from mutransfer.kernels.empirical.ntk import empirical_ntk
from mutransfer.parameterization.measuring.activations import RunModel, evaluating, floats, root_mean_square
from mutransfer.parameterization.measuring.quantities import OF_MODULES
from mutransfer.parameterization.measuring.updates import OutputChange, Start, alignment_exponent, output_changes, start
from mutransfer.parameterization.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look at what had moved after ``step`` steps. Of modules: root-mean-squares of outputs, by path.

    The first look of a run is that before its first step: only sizes and the kernel's alignment with the targets.
    """

    step: int
    size: Mapping[str, float]  # of h_t
    change: Mapping[str, float] = field(default_factory=dict)  # of h_t - h_0
    effective: Mapping[str, float] = field(default_factory=dict)  # of (W_t - W_0) x_t
    propagated: Mapping[str, float] = field(default_factory=dict)  # of W_0 (x_t - x_0)
    alignment: Mapping[str, float] = field(default_factory=dict)  # ``alignment_exponent`` of W_t - W_0
    kernel_drift: float | None = None  # ||K_t - K_0|| / ||K_0||
    kernel_distance: float | None = None  # 1 - cos(K_t, K_0)
    target_alignment: float | None = None  # centred, of K_t

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Look:
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class KernelProbe:
    """The setting in which the tangent kernel is measured: one fixed direction of the outputs of a few examples.

    The kernel weighs each parameter by SGD's learning rate in the plan: then it is the kernel that drives the outputs,
    and the same in all forms of a parameterization.
    """

    inputs: Any  # as the model takes them: a tensor, a tuple of arguments or a mapping
    direction: Tensor  # (O,)
    targets: Tensor  # (N,): how the loss wants the outputs in this direction
    weights: Mapping[str, float] | None

    def kernel(self, model: nn.Module) -> Tensor | None:
        """(N, N), or None where the model has none."""
        try:
            with evaluating(model):
                return empirical_ntk(model, self.inputs, direction=self.direction, weights=self.weights)
        except (KernelError, DataError, ConfigError, RuntimeError) as error:  # too little memory for it, say
            logging.getLogger("mutransfer").info("no tangent kernel is measured: %s", error)
            return None


def sgd_weights(plan: Plan) -> dict[str, float] | None:
    """SGD's factors on learning rates by parameter; None where the plan's table has none for SGD."""
    weights = {name: s.norm_mult for name, s in plan.items() if s.norm_mult is not None}
    return weights if len(weights) == len(plan) else None


class MovementLog:
    """Takes looks at one run. Numbers stay on the model's device until :meth:`looks` reads all of them at once."""

    def __init__(self, start: Start, probe: KernelProbe | None, kernel: Tensor | None) -> None:
        self._start, self._probe, self._kernel = start, probe, kernel
        self._taken: list[tuple[int, dict[str, OutputChange], Tensor | None]] = []

    @classmethod
    def begin(cls, model: nn.Module, forward: RunModel, probe: KernelProbe | None) -> MovementLog:
        """Begin before the first step; ``forward`` runs the model on the inputs on which features are compared."""
        kernel = None if probe is None else probe.kernel(model)
        return cls(start(model, forward), None if kernel is None else probe, kernel)

    def again(self) -> MovementLog:
        """Return a log for another run that starts from the same model."""
        return MovementLog(self._start, self._probe, self._kernel)

    def look(self, step: int, model: nn.Module, forward: RunModel) -> None:
        """Take a look after ``step`` steps."""
        kernel = None if self._probe is None else self._probe.kernel(model)
        self._taken.append((step, output_changes(model, self._start, forward), kernel))

    def looks(self) -> tuple[Look, ...]:
        """All looks as numbers, that before the first step included."""
        scalars = [root_mean_square(x) for x in self._start.outputs.values()]
        for _, changes, _ in self._taken:
            scalars += [x for r in changes.values() for x in (r.size, r.change, r.effective, r.propagated)]
            scalars += [x for r in changes.values() if r.alignment for x in r.alignment[:2]]
        numbers = iter(floats(scalars))
        size = {path: next(numbers) for path in self._start.outputs}
        kernels = _on_cpu([self._kernel, *(kernel for *_, kernel in self._taken)])
        looks = [Look(step=0, size=_finite(size), **self._moved(kernels[0], kernels[0]))]
        for (step, changes, _), kernel in zip(self._taken, kernels[1:], strict=True):
            rows = {path: [next(numbers) for _ in range(4)] for path in changes}
            exponents = {
                path: alignment_exponent((next(numbers), next(numbers)), r.alignment[2])
                for path, r in changes.items()
                if r.alignment
            }
            columns = ({path: row[i] for path, row in rows.items()} for i in range(4))
            of_modules: dict[str, Any] = {str(q): _finite(c) for q, c in zip(OF_MODULES, columns, strict=True)}
            moved = self._moved(kernels[0], kernel)
            looks.append(Look(step=step, alignment=_finite(exponents), **of_modules, **moved))
        return tuple(looks)

    def _moved(self, first: Tensor | None, now: Tensor | None) -> dict[str, Any]:
        if first is None or now is None or self._probe is None or not torch.isfinite(now).all():
            return {}
        numbers = {"kernel_drift": relative_drift(first, now), "kernel_distance": kernel_distance(first, now)}
        with suppress(DataError):  # where the targets are all alike in this direction
            numbers["target_alignment"] = target_alignment(now, self._probe.targets.to(now))
        return _finite(numbers)


def _on_cpu(kernels: list[Tensor | None]) -> list[Tensor | None]:
    """Copies on the CPU in double precision, all in one transfer."""
    there = [kernel for kernel in kernels if kernel is not None]
    if not there:
        return kernels
    moved = iter(torch.stack(there).cpu().double())
    return [None if kernel is None else next(moved) for kernel in kernels]


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: x for name, x in numbers.items() if math.isfinite(x)}
