"""Costs of a step, alone and stacked, and the number of members that gets a sweep done soonest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

MARGIN = 0.95  # a stack is taken where it needs at most that part of the time
COMPILED_GAIN = 1.5  # of compiled over eager stacks in the benchmark: 2.4 at small widths, falling towards 1
LEAST_GAIN = 1.25  # of that in the benchmark, where eager stacks lose
SECONDS_PER_TENSOR = 2.5  # to compile, per parameter tensor: 15 s for three layers, a minute for a small transformer


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds per step: of one run, and of stacks by their number of members; ``reason`` where there are none.

    ``start`` and ``stacked_start``: seconds before the first step, of building models and evaluating them; those that
    start alike are built once in a stack, which counts where runs are short.
    """

    single: float = math.nan
    stacked: Mapping[int, float] = field(default_factory=dict)
    start: float = 0.0
    stacked_start: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    tensors: int = 0  # parameters of the model

    @property
    def known(self) -> bool:
        """Whether anything was timed."""
        return math.isfinite(self.single)

    def describe(self, runs: int, steps: int) -> str:
        """A sentence: how ``runs`` runs of ``steps`` steps will be done, and what that saves."""
        members = self.members(runs, steps)
        singly = f"{1e3 * self.single:.3g} ms per step"
        if not self.stacked:
            return f"runs are trained one by one, {singly}: {self.reason}"
        if members == 1:
            timed = ", ".join(f"{1e3 * t:.3g} ms for {size} at once" for size, t in self.stacked.items())
            return f"runs are trained one by one, {singly}, which is faster than together ({timed})"
        if not self.eager_pays(runs, members, steps):
            return (
                f"runs are trained up to {members} at once, compiled, which is predicted to be faster than one by one "
                f"({singly}) beyond about {self.break_even(members):.1g} steps"
            )
        gain = self.seconds(runs, 1, steps) / self.seconds(runs, members, steps)
        return (
            f"runs are trained up to {members} at once, {gain:.1f}x faster than one by one ({singly}); compiling them "
            f"would pay beyond about {self.break_even(members):.1g} steps"
        )

    def break_even(self, members: int) -> float:
        """Steps of a stack from which on compiling it is predicted to pay; infinite where it never does."""
        saved = min(self.of(members), members * self.single) - self.compiled(members)
        return SECONDS_PER_TENSOR * self.tensors / saved if saved > 0 else math.inf

    def compiled(self, members: int) -> float:
        """Predicted seconds per step of a compiled stack."""
        eager = self.of(members)
        return eager / (COMPILED_GAIN if eager <= members * self.single else LEAST_GAIN)

    def of(self, members: int) -> float:
        """Seconds per step of a stack, interpolated between those that were timed."""
        return _between(self.stacked, members)

    def members(self, runs: int, steps: int) -> int:
        """The number of members per stack that gets ``runs`` runs of ``steps`` steps done soonest; 1: one at a time.

        Where stacks lose to single runs, those that win once they are compiled, if the sweep is long enough for that.
        """
        if not self.stacked or runs < 2:
            return 1
        sizes = {min(size, runs) for size in (*self.stacked, max(self.stacked) * 3 // 2)}
        best = min(sizes, key=lambda size: self.seconds(runs, size, steps))
        if self.eager_pays(runs, best, steps):
            return best
        compiling = SECONDS_PER_TENSOR * self.tensors * len(set(even_parts(runs, best)))
        compiled = self._total(runs, best, steps, self.compiled)
        return best if compiled + compiling <= MARGIN * self.seconds(runs, 1, steps) else 1

    def eager_pays(self, runs: int, members: int, steps: int) -> bool:
        """Whether stacks that are not compiled are faster than single runs."""
        return self.seconds(runs, members, steps) <= MARGIN * self.seconds(runs, 1, steps)

    def seconds(self, runs: int, members: int, steps: int) -> float:
        """Seconds of ``runs`` runs in stacks of ``members``, one after the other, up to their last step."""
        return self._total(runs, members, steps, self.of)

    def _total(self, runs: int, members: int, steps: int, per_step: Callable[[int], float]) -> float:
        """``per_step``: of a stack by its size."""
        alone = self.start + steps * self.single
        return sum(
            _between(self.stacked_start, size) + steps * per_step(size) if size > 1 else alone
            for size in even_parts(runs, members)
        )


def _between(times: Mapping[int, float], members: int) -> float:
    """Interpolated between the numbers of members that were timed."""
    sizes = sorted(times)
    if not sizes:
        return 0.0
    if len(sizes) == 1:  # what a call costs is not known apart: at least half as much
        return times[sizes[0]] * max(0.5, members / sizes[0])
    least, more = times[sizes[0]], times[sizes[1]]
    slope = max(0.0, (more - least) / (sizes[1] - sizes[0]))
    if members <= sizes[0]:
        return max(least - slope * (sizes[0] - members), least * members / sizes[0])
    if members >= sizes[-1]:
        return times[sizes[-1]] * members / sizes[-1]
    return float(np.interp(members, sizes, [times[size] for size in sizes]))


def even_parts(runs: int, members: int) -> list[int]:
    """``runs`` in as few parts of at most ``members`` as there can be, as equal as they can be.

    >>> even_parts(33, 8)
    [7, 7, 7, 6, 6]
    """
    parts = math.ceil(runs / members)
    return [runs // parts + (i < runs % parts) for i in range(parts)]
