"""Feature movement over a verification: how each module's relative change at the transferred rate depends on width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from mutransfer.intervals import Slope, fit_slope
from mutransfer.parameterization.judging.expected import roles_of
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.plan import Plan
from mutransfer.theory.rules import Role
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.widths import WidthKey, beyond_base


def feature_change(
    sweeps: Mapping[WidthKey, Sweep], transferred: float, plan: Plan
) -> dict[str, dict[WidthKey, tuple[float, ...]]]:
    """Relative change at the transferred learning rate of every module whose output grows with width.

    One that does not change at all (a frozen first layer) is no feature and left out.
    """
    growing = {owner(name) for name, s in plan.items() if s.m_out > 1}
    runs = {key: s.results[transferred] for key, s in sweeps.items()}
    modules = [m for m in next(iter(runs.values()))[0].movement if m in growing]
    change = {
        module: {key: tuple(_movement(r, module) for r in results) for key, results in runs.items()}
        for module in modules
    }
    return {module: rows for module, rows in change.items() if 0.0 not in chain.from_iterable(rows.values())}


def _movement(result: RunResult, module: str) -> float:
    """The relative change of a module; nan for a run that diverged, of which nothing is said."""
    return result.movement.get(module, math.nan) if result.outcome is Outcome.OK else math.nan


def overall_slope(
    change: Mapping[str, Mapping[WidthKey, Sequence[float]]],
    fitted: Sequence[WidthKey],
    sizes: Sequence[float],
    keys: Sequence[WidthKey],
    predicted: float | None,
) -> Slope | None:
    """The slope of the median module, each module relative to its own mean at base width.

    The median, because branches of a residual network that start near zero change by many times their own size.
    """
    if not change:
        return None
    modules = [by_width for by_width in change.values() if np.isfinite(by_width[keys[0]]).any()]
    if not modules:  # every run at base width diverged
        return None
    rows = []
    for key in fitted:
        logs = [np.log(by_width[key]) - np.nanmean(np.log(by_width[keys[0]])) for by_width in modules]
        rows.append(np.exp(np.median(logs, axis=0)).tolist())
    return fit_slope([sizes[keys.index(key)] for key in fitted], rows, predicted=predicted)


def module_slopes(
    change: Mapping[str, Mapping[WidthKey, Sequence[float]]],
    sizes: Mapping[WidthKey, float],
    plan: Plan,
    change_law: Sequence[float] | None,
) -> dict[str, Slope]:
    """The slope of every module's relative change, where one can be fitted.

    Args:
        change: {module: {width: values, one per seed}}.
        sizes: one number per width, the base first.
        change_law: predicted powers of width, of modules that read the input and of others; None: not predicted.
    """
    base = next(iter(sizes.values()))
    fitted = beyond_base(list(sizes), list(sizes.values()), base)
    slopes = {}
    for module, by_width in change.items():
        predicted = None
        if change_law is not None:
            predicted = change_law[0 if Role.INPUT in roles_of(module, plan) else 1]
        slope = fit_slope([sizes[key] for key in fitted], [by_width[key] for key in fitted], predicted=predicted)
        if slope is not None:
            slopes[module] = slope
    return slopes
