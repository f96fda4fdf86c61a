"""Durations: what is left of a phase, and how a person says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mutransfer.training.spec import RunSpec
from mutransfer.widths import show_width

RECENT = 8  # runs whose mean counts


class Clock:
    """Time left from work left: seconds per run differ by width, so they are learned per width."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int], list[float]] = defaultdict(list)

    def add(self, spec: RunSpec, seconds: float) -> None:
        """Take note of a finished run."""
        self._seconds[self._key(spec)].append(seconds)

    def left(self, queued: Sequence[RunSpec]) -> float | None:
        """Seconds for ``queued``, None where no run of such a width has finished yet."""
        total = 0.0
        for spec in queued:
            recent = self._seconds.get(self._key(spec), [])[-RECENT:]
            if not recent:
                return None
            total += sum(recent) / len(recent)
        return total

    @staticmethod
    def _key(spec: RunSpec) -> tuple[str, int]:
        return show_width(spec.width), spec.steps


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(5), duration(100), duration(7300)
    ('5 s', '1 min 40 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
