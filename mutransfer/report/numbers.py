"""Numbers in the words of a report and in the shape of verdict.json."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mutransfer.intervals import Interval, Slope


def bounds(interval: Interval | Slope | None) -> list[float] | None:
    """[value, low, high], as JSON has it."""
    return None if interval is None else [interval.value, interval.low, interval.high]


def loss_change(log_loss: Interval) -> str:
    """A difference of log loss as per cent of the loss.

    >>> loss_change(Interval(value=0.0, low=-0.1, high=0.1))
    '+0 % [-10, +11]'
    """
    value, low, high = (100 * math.expm1(x) for x in (log_loss.value, log_loss.low, log_loss.high))
    return f"{value:+.0f} % [{low:+.0f}, {high:+.0f}]"


def geometric_mean(values: Iterable[float]) -> float:
    """The exponential of the mean logarithm, as curves are fitted to logarithms; 0 where a value is not positive.

    >>> geometric_mean([1.0, 4.0]), geometric_mean([0.0, 4.0])
    (2.0, 0.0)
    """
    logs = [-math.inf if value <= 0 else math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))
