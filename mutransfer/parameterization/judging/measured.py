"""Measurements of the first steps of every width and seed, and their slopes against width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from mutransfer.intervals import Slope, fit_slope
from mutransfer.parameterization.judging.expected import Expected, handed_on, is_readout
from mutransfer.parameterization.measuring.gradients import MOSTLY_ROUNDING
from mutransfer.parameterization.measuring.quantities import OF_MODULES, Quantity
from mutransfer.parameterization.measuring.watcher import FirstSteps
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.plan import Plan
from mutransfer.theory.regimes import Regime
from mutransfer.theory.rules import Role
from mutransfer.widths import Width, beyond_base, width_size

Rows = tuple[tuple[float, ...], ...]  # width -> seed


class Measurements:
    """Numbers by step, quantity and name, for every width and seed.

    Args:
        widths: the smallest first.
        base: the width from whose double on slopes are fitted, if three widths remain.
    """

    def __init__(self, widths: Sequence[Width], base: Width) -> None:
        self.widths = widths
        self.sizes = [width_size(w) for w in widths]
        self.diverged: list[Width] = []
        self._fitted = beyond_base(range(len(widths)), self.sizes, width_size(base))
        self._numbers: dict[tuple[int, str, str], list[list[float]]] = {}
        self._names: dict[tuple[int, str], dict[str, None]] = {}
        self._handed_on: dict[str, str] = {}
        self._readouts: set[str] = set()
        self._last_dims: dict[str, set[int]] = {}
        self._first_dims: dict[str, set[int]] = {}
        self._entries: dict[str, set[int]] = {}
        self._terms: dict[str, dict[int, tuple[float, float]]] = {}

    def add(self, at: int, steps: FirstSteps, plan: Plan, ideal: Plan) -> None:
        """Take in one seed's steps at ``widths[at]`` under ``plan``; ``ideal``: any plan whose roles are right."""
        for step, quantities in steps.looks.items():
            for quantity, numbers in quantities.items():
                for name, value in numbers.items():
                    if quantity == Quantity.GRADIENT:
                        self._add(step, Quantity.EPS_OVER_GRADIENT, name, at, _eps_over(value, plan, name))
                        continue
                    self._add(step, quantity, name, at, value)
                    if not math.isfinite(value):
                        self.diverged.append(self.widths[at])
        for name, s in ideal.items():
            output = steps.outputs.get(owner(name))
            if output is not None and s.role in (Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK):
                self._terms.setdefault(name, {})[at] = _terms(output, plan.shapes[name])
        owners = {owner(name) for name in ideal}
        for module, output in steps.outputs.items():
            self._entries.setdefault(module, set()).add(output.numel())
            if output.ndim:
                self._first_dims.setdefault(module, set()).add(output.shape[0])
                self._last_dims.setdefault(module, set()).add(output.shape[-1])
        # A tied readout that the plan does not know of: no parameter is its own, and its output does not grow.
        tied = {m for m, sizes in self._last_dims.items() if m not in owners and len(sizes) == 1 and m != "model"}
        self._readouts = {m for m in steps.outputs if is_readout(m, ideal)} | tied
        self._handed_on = handed_on(steps.outputs, self._readouts)

    def named(self, step: int, quantity: Quantity) -> list[str]:
        """Modules or parameters of which a quantity was measured at a step."""
        return list(self._names.get((step, quantity), {}))

    def rows(self, step: int, quantity: Quantity, name: str) -> Rows:
        """The numbers themselves, by width and seed."""
        return tuple(map(tuple, self._numbers.get((step, quantity, name), [])))

    @property
    def rounding(self) -> frozenset[str]:
        """Parameters whose gradient is mostly rounding somewhere: how their updates go with width says nothing."""
        return frozenset(
            name
            for name in self.named(0, Quantity.ROUNDING)
            if max(x for row in self.rows(0, Quantity.ROUNDING, name) for x in row) > MOSTLY_ROUNDING
        )

    @property
    def routed(self) -> frozenset[str]:
        """Modules that get another number of examples in every run: SGD's step on an expert goes with its share."""
        return frozenset(module for module, sizes in self._first_dims.items() if len(sizes) > 1)

    def slopes(
        self, step: int, quantity: Quantity, predicted: Mapping[str, float | None] | None = None
    ) -> dict[str, Slope]:
        """The slope of a quantity by module or parameter, where one can be fitted."""
        theory = predicted or {}
        fitted = {name: self._slope(step, quantity, name, theory.get(name)) for name in self.named(step, quantity)}
        return {name: slope for name, slope in fitted.items() if slope is not None}

    def module_slopes(self, step: int, expected: Expected) -> dict[str, dict[str, Slope]]:
        """Slopes by module and quantity, beside what is expected."""
        by_module: dict[str, dict[str, Slope]] = {}
        for quantity in OF_MODULES:
            predicted = {name: _predicted(expected, name, quantity, step) for name in self.named(step, quantity)}
            for name, slope in self.slopes(step, quantity, predicted).items():
                by_module.setdefault(name, {})[quantity] = slope
        return by_module

    def expected(self, plan: Plan, regime: Regime | None) -> Expected:
        """The powers that ``regime`` expects of the modules that were measured."""
        growth = self.sizes[-1] / width_size(plan.base_width)
        finite = frozenset(module for module, counts in self._entries.items() if len(counts) == 1)
        return Expected(plan, regime, self._handed_on, frozenset(self._readouts), finite, growth)

    def unaligned(self) -> dict[str, float]:
        """Powers of width by which what a first step of Adam's kind does to one of many examples fades, by parameter.

        Signs of a gradient over n entries: each of T examples has a share of T^-1/2 in the gradient, with which
        (2 / pi T)^1/2 of them are aligned; the rest adds up at random, to n^-1/2.
        """
        ends = self._fitted[0], self._fitted[-1]
        growth = math.log(self.sizes[ends[1]] / self.sizes[ends[0]])
        found = {}
        for name, terms in self._terms.items():
            if all(end in terms for end in ends):
                first, last = (2 / (math.pi * examples) + 1 / n for examples, n in (terms[end] for end in ends))
                found[name] = max(math.log(first / last) / 2 / growth, 0.0)
        return found

    def _add(self, step: int, quantity: Quantity, name: str, at: int, value: float) -> None:
        self._names.setdefault((step, quantity), {})[name] = None
        self._numbers.setdefault((step, quantity, name), [[] for _ in self.widths])[at].append(value)

    def _slope(self, step: int, quantity: Quantity, name: str, predicted: float | None) -> Slope | None:
        rows = self._numbers[step, quantity, name]
        return fit_slope([self.sizes[i] for i in self._fitted], [rows[i] for i in self._fitted], predicted=predicted)


def _terms(output: Tensor, shape: Sequence[int]) -> tuple[float, float]:
    """How many examples a matrix of this shape made an output of, and how many terms each entry sums."""
    if not output.ndim:
        return 1.0, float(math.prod(shape))
    channels = output.shape[max(output.ndim + 1 - max(2, len(shape)), 0)]  # in front of what a kernel slides over
    return output.numel() / channels, math.prod(shape) / channels


def _predicted(expected: Expected, module: str, quantity: Quantity, step: int) -> float | None:
    if step:
        return expected.of(module, quantity)
    within = expected.at_init(module)
    return None if within is None else within[1]


def _eps_over(gradient: float, plan: Plan, name: str) -> float:
    return plan[name].eps_mult / gradient if name in plan and gradient > 0 else math.nan
