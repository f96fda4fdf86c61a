"""Which part of a network's improvement a frozen-feature control explains, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from mutransfer.intervals import Interval, mean_interval
from mutransfer.transfer.falsification.kernel_movement import Moment

SUFFICES = 0.8  # part of the improvement; see falsify
UNBRACKETED = 0.05  # part of the improvement that the last step of a grid may bring at its border
TWIN, KERNEL = "linearised twin", "kernel predictor"


class Finding(StrEnum):
    """Whether the improvement needs features that move."""

    FEATURES_NEEDED = "FEATURES_NEEDED"
    FROZEN_SUFFICES = "FROZEN_SUFFICES"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One learner at its own best setting; sequences have an entry per seed."""

    name: str
    setting: str  # of its grid: the learning rate, or when the kernel predictor stopped
    initial: tuple[float, ...]
    final: tuple[float, ...]  # of a run that diverged: its initial loss
    last_gain: float = 0.0  # loss that the last step of the grid still brought, where the best lies on its border
    curves: tuple[tuple[tuple[int, float], ...], ...] = ()  # (steps done, evaluation)
    moments: tuple[tuple[Moment, ...], ...] = ()  # of the kernel, at the steps of the curve
    movement: Mapping[str, float] = field(default_factory=dict)  # module -> relative change, mean over seeds


def explained_part(network: Arm, control: Arm) -> Interval:
    """(I - C) / (I - N) per seed: mean and 90 % t-interval; NaN where the network did not improve with every seed."""
    start, end, reached = (np.array(x) for x in (network.initial, network.final, control.final))
    if not (start > end).all():
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    return mean_interval((start - reached) / (start - end))


def allowed_gain(network: Arm) -> float:
    """Loss that the last step of a grid may bring without leaving the best setting unbracketed."""
    return UNBRACKETED * float(np.mean(network.initial) - np.mean(network.final))


def judge(network: Arm, frozen: Sequence[Arm], explained: Mapping[str, Interval]) -> tuple[Finding, str]:
    """The finding and its reason, from the frozen control that explains most."""
    if not (np.array(network.initial) > np.array(network.final)).all():
        return Finding.INCONCLUSIVE, "the network itself does not improve with every seed: more steps, or another grid"
    best = max(frozen, key=lambda arm: explained[arm.name].value)
    part = explained[best.name]
    numbers = f"its {best.name} explains {_percent(part)} of the improvement"
    allowed = allowed_gain(network)
    if part.low <= SUFFICES <= part.high:
        return Finding.INCONCLUSIVE, f"{numbers}, and {SUFFICES:.0%} is the limit; more seeds"
    if part.high < SUFFICES:
        if short := [arm.name for arm in frozen if arm.last_gain > allowed]:
            return Finding.INCONCLUSIVE, f"{numbers}, but the best setting of {', '.join(short)} was not bracketed"
        return Finding.FEATURES_NEEDED, numbers
    if network.last_gain > allowed:
        return Finding.INCONCLUSIVE, f"{numbers}, but the network's learning rate was not bracketed"
    return Finding.FROZEN_SUFFICES, numbers


def best_setting(curve: Mapping[float, Sequence[float]]) -> tuple[float, float]:
    """The setting of the lowest mean loss, and what the last step towards it brought where it lies on the border.

    >>> best_setting({-2.0: [3.0], -1.0: [1.0], 0.0: [2.0]})
    (-1.0, 0.0)
    >>> best_setting({-2.0: [3.0], -1.0: [2.0]})
    (-1.0, 1.0)
    """
    mean = {x: float(np.mean(curve[x])) for x in sorted(curve)}
    best = min(mean, key=lambda x: mean[x])
    points = list(mean)
    if len(points) < 2 or best not in (points[0], points[-1]):
        return best, 0.0
    return best, mean[points[1] if best == points[0] else points[-2]] - mean[best]


def _percent(part: Interval) -> str:
    return f"{100 * part.value:.0f} % [{100 * part.low:.0f}, {100 * part.high:.0f}]"
