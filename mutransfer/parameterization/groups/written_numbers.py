"""The numbers of a group as they were when it was made under a plan, by which later changes are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mutransfer.parameterization.groups.tensor_access import may_read

# Entries of a group, floats like torch's own, so that checkpoints of every kind keep them.
WRITTEN = "planned_{}"
_KEYS = ("lr", "weight_decay", "eps")


def write_numbers(group: dict[str, Any]) -> None:
    """Remember in ``group`` its learning rate, weight decay and eps."""
    for key in _KEYS:
        if (number := number_of(group, key)) is not None:
            group[WRITTEN.format(key)] = number


def number_of(group: dict[str, Any], key: str) -> float | None:
    """The entry as a float; of Adafactor's eps the second. None where there is none, or where it cannot be read now."""
    value = group.get(key)
    if isinstance(value, tuple | list):
        value = value[-1]
    return None if value is None or not may_read(value) else float(value)


def proportional(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether every first is the same multiple of its second; what was 0 stays 0, and what is 0 now is let be."""
    ratios = [now / made for now, made in pairs if now and made]
    if any(now and not made for now, made in pairs):
        return False
    return not ratios or math.isclose(min(ratios), max(ratios), rel_tol=1e-6)
