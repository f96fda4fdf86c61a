"""Seeds as they are asked for: how many, or which."""

from __future__ import annotations

from collections.abc import Sequence


def seed_tuple(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds 0, 1, ... for a number of them; a sequence's own.

    >>> seed_tuple(3), seed_tuple([5, 7])
    ((0, 1, 2), (5, 7))
    """
    return tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
