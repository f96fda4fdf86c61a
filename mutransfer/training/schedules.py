"""Learning-rate schedules."""

from __future__ import annotations

import math


def lr_factor(step: int, *, steps: int, schedule: str, warmup_steps: int) -> float:
    """The learning rate of a step over its peak: linear warmup, then constant, or decay towards 0 at ``steps``.

    >>> [lr_factor(s, steps=4, schedule="linear", warmup_steps=0) for s in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / (steps - warmup_steps)
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0
