"""A value with a 90 % interval: of a mean, of an estimate, and the slope of a log quantity against log width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

CONFIDENCE = 0.9


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with a 90 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, kw_only=True)
class Slope(Interval):
    """d log(quantity) / d log(width) with a 90 % interval, and what theory predicts (None: nothing)."""

    predicted: float | None = None
    degrees: int = 1  # of freedom, from which the interval's width was estimated

    def __str__(self) -> str:
        text = f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"
        return text if self.predicted is None else f"{text} (theory {self.predicted:+.2f})"


@cache
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Standard errors from a value to either end of the interval that holds so often."""
    from scipy.stats import t  # here: wrapping a model needs no scipy

    return float(t.ppf((1 + confidence) / 2, degrees))


def t_interval(value: float, error: float, degrees: int) -> Interval:
    """Student's interval of a value with standard error ``error``, estimated with ``degrees`` of freedom.

    >>> print(t_interval(1.0, 0.1, 4))
    1 [0.787, 1.21]
    """
    half = float(t_quantile(degrees) * error)
    return Interval(value=value, low=value - half, high=value + half)


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of independent values with its t-interval; at least two values."""
    mean, n = float(np.mean(values)), len(values)
    half = float(t_quantile(n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(value=mean, low=mean - half, high=mean + half)


def fit_slope(
    widths: Sequence[float], values: Sequence[Sequence[float]], *, predicted: float | None = None
) -> Slope | None:
    """Least squares of log(values) on log(widths); ``values[i]`` holds one number per seed at ``widths[i]``.

    The interval is a t-interval whose residuals carry seed noise and departure from a power law alike. Values
    that are not positive and finite are left out; None where fewer than two widths or three points remain.

    >>> fit_slope([64, 128, 256], [[1.0, 1.0], [0.5, 0.5], [0.25, 0.25]]).value
    -1.0
    """
    x, y = [], []
    for width, per_seed in zip(widths, values, strict=True):
        for value in per_seed:
            if np.isfinite(value) and value > 0:
                x.append(np.log(width))
                y.append(np.log(value))
    if len(set(x)) < 2 or len(x) < 3:
        return None
    centred = np.array(x) - np.mean(x)
    slope = round(float(centred @ np.array(y) / (centred @ centred)), 12)
    residuals = np.array(y) - np.mean(y) - slope * centred
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / (centred @ centred))
    fitted = t_interval(slope, float(error), len(x) - 2)
    return Slope(value=slope, low=fitted.low, high=fitted.high, predicted=predicted, degrees=len(x) - 2)


def at_confidence(slope: Slope, confidence: float) -> Slope:
    """The slope with an interval that holds so often instead of in 90 % of cases; 0: none, its value alone.

    >>> slope = fit_slope([64, 128, 256], [[1.0, 1.1], [0.5, 0.55], [0.25, 0.3]])
    >>> at_confidence(slope, 0.0).low == slope.value, at_confidence(slope, 0.999).low < slope.low
    (True, True)
    """
    wider = t_quantile(slope.degrees, confidence) / t_quantile(slope.degrees)
    half = (slope.high - slope.low) / 2 * wider
    return replace(slope, low=slope.value - half, high=slope.value + half)
