"""Statements of a paper beside their measurement, with an interval that decides whether they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from experiments.pages import markdown
from mutransfer.measure.slopes import Slope

VERDICTS = {True: "holds", False: "does not hold", None: "undecided"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One statement beside its measurement."""

    statement: str
    published: str
    measured: str
    holds: bool | None  # None: the interval leaves it open
    remark: str = ""

    @property
    def verdict(self) -> str:
        return VERDICTS[self.holds]


def judged(
    statement: str,
    published: str,
    value: float,
    low: float,
    high: float,
    *,
    within: tuple[float, float],
    measured: str = "",
    remark: str = "",
) -> Finding:
    """A finding that holds where the whole interval lies in ``within`` and fails where all of it lies outside."""
    holds = False if high < within[0] or low > within[1] else True if within[0] <= low and high <= within[1] else None
    measured = measured or f"{value:.3g} [{low:.3g}, {high:.3g}]"
    return Finding(statement=statement, published=published, measured=measured, holds=holds, remark=remark)


def of_slope(
    statement: str, published: str, slope: Slope | None, *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """A power of width, or of another scale."""
    if slope is None:
        return Finding(statement=statement, published=published, measured="too few points", holds=None, remark=remark)
    low, high = slope.low, slope.high
    plain = str(Slope(value=slope.value, low=low, high=high))
    return judged(statement, published, slope.value, low, high, within=within, measured=plain, remark=remark)


def of_seeds(
    statement: str, published: str, values: Sequence[float], *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """The mean of one value per seed, with a t-interval."""
    value, low, high = mean_interval(values)
    return judged(statement, published, value, low, high, within=within, remark=remark)


def of_ratios(
    statement: str, published: str, ratios: Sequence[float], *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """The geometric mean of one positive ratio per seed, with a t-interval of the logarithms."""
    value, low, high = (float(np.exp(v)) for v in mean_interval(np.log(ratios)))
    return judged(statement, published, value, low, high, within=within, remark=remark)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 90 % t-interval."""
    mean, half = float(np.mean(values)), float(stats.t.ppf(0.95, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def as_data(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(f) | {"verdict": f.verdict} for f in found]


def table_of(found: Sequence[Mapping[str, Any]]) -> str:
    """Findings as a table in Markdown."""
    rows = [
        [f["statement"], f["published"], f["measured"], f["verdict"] + (f": {f['remark']}" if f["remark"] else "")]
        for f in found
    ]
    return markdown(("statement", "published", "measured (90 % interval)", "verdict"), rows)
