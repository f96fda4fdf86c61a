"""Search spaces: ranges on a log2 axis unless they include zero, and choices; and points of them put into a spec."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna

from mutransfer.errors import ConfigError
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.spec import RunSpec

Value = float | int | str
FIELDS = ("batch_size", "warmup_steps", "schedule", "clip_norm")  # of RunSpec, searched like hyperparameters
INTEGER = ("batch_size", "warmup_steps")


@dataclass(frozen=True, kw_only=True)
class Range:
    """Values from ``low`` to ``high``; ``spacing`` is the grid's, in octaves on a log axis."""

    low: float
    high: float
    log: bool = True
    spacing: float = 1.0

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf or (self.log and self.low <= 0):
            raise ConfigError(
                f"a range needs finite low < high{' and low > 0 on a log axis' if self.log else ''}, "
                f"found {self.low} .. {self.high}"
            )
        if not self.spacing > 0:
            raise ConfigError(f"spacing must be positive, found {self.spacing}")

    def grid(self) -> list[float]:
        """Even grid from low to high, in log2 units on a log axis.

        >>> Range(low=2**-3, high=0.5).grid()
        [-3.0, -2.0, -1.0]
        """
        low, high = (math.log2(self.low), math.log2(self.high)) if self.log else (self.low, self.high)
        steps = max(1, round((high - low) / self.spacing))
        return [low + i * (high - low) / steps for i in range(steps + 1)]

    @property
    def start(self) -> float:
        return self.low

    def unit(self, value: float) -> float:
        """Position in the range, from 0 to 1."""
        low, high, at = (
            (math.log(self.low), math.log(self.high), math.log(value)) if self.log else (self.low, self.high, value)
        )
        return (at - low) / (high - low)

    def columns(self, value: Value) -> list[float]:
        """Coordinates in which near values train alike, each from 0 to 1."""
        return [self.unit(float(value))]

    def distribution(self) -> optuna.distributions.FloatDistribution:
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of several values: numbers, which have an order, or names such as schedules.

    >>> Choice((16, 64, 32)).columns(32)
    [0.5]
    >>> Choice(("linear", "cosine")).columns("cosine")
    [0.0, 1.0]
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if len(set(self.values)) < 2 or len(set(self.values)) < len(self.values):
            raise ConfigError(f"a choice needs at least two different values, found {list(self.values)}")

    @property
    def ordered(self) -> bool:
        return not any(isinstance(value, str) for value in self.values)

    @property
    def start(self) -> Value:
        return self.values[0]

    def columns(self, value: Value) -> list[float]:
        """Coordinates in which near values train alike: the rank of a number, a column per name."""
        if self.ordered:
            return [sorted(map(float, self.values)).index(float(value)) / (len(self.values) - 1)]
        return [float(value == other) for other in self.values]

    def distribution(self) -> optuna.distributions.CategoricalDistribution:
        return optuna.distributions.CategoricalDistribution(self.values)


Axis = Range | Choice
Space = Mapping[str, "Range | Choice | Sequence[float]"]


def parse_space(space: Space) -> dict[str, Axis]:
    """Axes from ``{"lr": (low, high)}``, ``{"lr": Range(...)}`` or ``{"schedule": Choice(("linear", "cosine"))}``.

    A pair is on a log axis unless low is 0.
    """
    if not space:
        raise ConfigError("the search space is empty: expected at least {'lr': (low, high)}")
    ranges: dict[str, Axis] = {}
    for name, value in space.items():
        if name in INTEGER and not isinstance(value, Choice):
            raise ConfigError(f"space[{name!r}]: whole numbers are searched by Choice((16, 32, 64)), found {value!r}")
        if isinstance(value, Range | Choice):
            ranges[name] = value
            continue
        try:
            low, high = map(float, value)
        except (TypeError, ValueError):
            raise ConfigError(f"space[{name!r}]: expected (low, high) or Range(...), found {value!r}") from None
        ranges[name] = Range(low=low, high=high, log=low > 0)
    lr = ranges.get("lr")
    if lr is not None and not (isinstance(lr, Range) and lr.log):
        raise ConfigError(f"space['lr']: the learning rate is searched on a log2 axis, which needs low > 0; found {lr}")
    return ranges


def at_point(template: RunSpec, point: Mapping[str, Value]) -> RunSpec:
    """The template with the values of a point: hyperparameters, and fields such as batch size, warmup and schedule.

    Raises ConfigError where the optimizer has no such hyperparameter, or a value is not possible.
    """
    fields, hyperparameters = split_point(point)
    return replace(template, hyperparameters={**template.hyperparameters, **hyperparameters}, **fields)


def split_point(point: Mapping[str, Value]) -> tuple[dict[str, Any], dict[str, float]]:
    """(fields of RunSpec, hyperparameters) of a point."""
    fields = {n: int(x) if n in INTEGER else x for n, x in point.items() if n in FIELDS}
    odd = {n: x for n, x in point.items() if n not in FIELDS and isinstance(x, str)}
    if odd:
        raise ConfigError(f"{', '.join(odd)}: expected a number, found {', '.join(map(repr, odd.values()))}")
    return fields, {n: float(x) for n, x in point.items() if n not in FIELDS}


def value_at(spec: RunSpec, name: str) -> Value:
    """The value of one name in a spec; a multiplier that is not there is 1, others have their optimizer's default."""
    if name in FIELDS:
        return getattr(spec, name)
    return spec.hyperparameters.get(name, optimizer_rule(spec.optimizer).default(name))


def unit_points(axes: Mapping[str, Axis], points: Sequence[Mapping[str, Value]]) -> np.ndarray:
    """Array (n points, n columns) in the unit cube."""
    return np.array([[x for name, axis in axes.items() for x in axis.columns(p[name])] for p in points])
