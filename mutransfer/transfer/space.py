"""Search spaces: ranges of hyperparameters, on a log2 axis unless they include zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna

from mutransfer.errors import ConfigError


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

    def unit(self, value: float) -> float:
        """Position in the range, from 0 to 1."""
        low, high, at = (
            (math.log(self.low), math.log(self.high), math.log(value)) if self.log else (self.low, self.high, value)
        )
        return (at - low) / (high - low)

    def distribution(self) -> optuna.distributions.FloatDistribution:
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)


Space = Mapping[str, "Range | Sequence[float]"]


def parse_space(space: Space) -> dict[str, Range]:
    """Ranges from ``{"lr": (low, high)}`` or ``{"lr": Range(...)}``; a pair is on a log axis unless low is 0."""
    if not space:
        raise ConfigError("the search space is empty: expected at least {'lr': (low, high)}")
    ranges = {}
    for name, value in space.items():
        if isinstance(value, Range):
            ranges[name] = value
            continue
        try:
            low, high = map(float, value)
        except (TypeError, ValueError):
            raise ConfigError(f"space[{name!r}]: expected (low, high) or Range(...), found {value!r}") from None
        ranges[name] = Range(low=low, high=high, log=low > 0)
    if "lr" in ranges and not ranges["lr"].log:
        raise ConfigError(
            f"space['lr']: the learning rate is searched on a log2 axis, which needs low > 0; found {ranges['lr']}"
        )
    return ranges
