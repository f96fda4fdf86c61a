"""How many runs to train as one program: measured, a few steps each way, before a sweep begins."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.autograd.graph import saved_tensors_hooks

from mutransfer.errors import StackError
from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state
from mutransfer.training.events import silent
from mutransfer.training.out_of_memory import available_bytes, is_out_of_memory
from mutransfer.training.run import Attempt
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.population import AGREEMENT, Population
from mutransfer.training.task import Task

SIZES = (8, 32, 128)  # numbers of members that are timed
WORTH = 15  # a sweep is timed where it is that many times the work of timing it
SHORT = 0.1  # seconds: short steps are timed oftener, since a busy machine disturbs them
LONG_STEP = 0.3  # seconds of a single step in which what a stack saves, the calls, no longer counts
CLOSE = 0.6  # ratio of a stack's time to single runs', or its inverse, within which both are timed in turns
MARGIN = 0.95  # a stack is taken where it needs at most that part of the time
MEMORY_PART = 0.5  # of what is free
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
        """How ``runs`` runs of ``steps`` steps will be done, and what that saves, in a sentence."""
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
        """Of ``runs`` runs in stacks of ``members``, one after the other, up to their last step."""
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


def measure_costs(
    specs: Sequence[RunSpec], task: Task, *, plan: Plan, device: torch.device, most: int | None = None
) -> Costs:
    """Time a few steps of a run and of stacks of it. The global random state is left untouched.

    Args:
        specs: all runs that are to be done, alike but for hyperparameters, schedule and seed.
        most: members that a stack may have; None: as many as fit into half of the free memory.

    A sweep too small to be worth timing, a long step, too little memory and a model that cannot be stacked come back
    as a reason and no stack.
    """
    runs, first = len(specs), specs[0]
    if runs < 2 or most == 1:
        return Costs(reason="there is one run to do" if runs < 2 else "one at a time was asked for")
    if runs * first.steps < WORTH * 3 * (1 + min(runs, SIZES[0])):
        return Costs(reason=f"{runs} runs of {first.steps} steps are too short to be worth timing")
    with preserved_random_state():
        try:
            unwatched = replace(first, watched=False)
            started = time.perf_counter()
            attempt = Attempt(unwatched, first.accumulate, task, plan, device, silent)
            building = time.perf_counter() - started
            attempt.course.begin(attempt.model)  # the first evaluation of a process may load data
            wait(device)
            started = time.perf_counter()
            attempt.course.begin(attempt.model)
            wait(device)
            evaluating = time.perf_counter() - started
            alone = building + evaluating
            saved, loss = _saved_bytes(attempt.step)
            single, losses = _timed(attempt.step, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return Costs(reason="a run alone needs all the memory")
        if single > LONG_STEP:
            return Costs(
                single=single, start=alone, reason=f"a step takes {single:.2g} s, in which calls no longer count"
            )
        tensors = len(list(attempt.model.parameters()))
        state = sum(p.numel() * p.element_size() for p in attempt.model.parameters())
        room = available_bytes(device)
        fits = runs if room is None else int(MEMORY_PART * room / (6 * state + 2 * saved))
        limit = min(runs, fits, most or runs)
        if limit < 2:
            return Costs(single=single, start=alone, reason="the memory holds one run at a time")
        found: dict[int, float] = {}
        starts: dict[int, float] = {}
        for size in [size for size in SIZES if size <= limit] or [limit]:
            work = 3 * (1 + sum(s for s in SIZES if s <= size))
            if found and (runs * first.steps < WORTH * work or min(t / s for s, t in found.items()) > 1.3 * single):
                break  # not worth the timing; or wide models, which fall out of the cache
            try:
                started = time.perf_counter()
                population = Population(specs[:size], task, plan=plan, device=device)
                wait(device)
                starts[size] = time.perf_counter() - started + evaluating * population.n_starts
                first_losses = population.step(0)
                found[size], later = _timed(population.step, device)
                if CLOSE <= found[size] / (size * single) <= 1 / CLOSE:
                    single, found[size] = _in_turns(attempt.step, population.step, size, device)
            except StackError as error:
                return Costs(single=single, start=alone, reason=str(error))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                break
            together = [float(x[0]) for x in (first_losses, *later)]
            if not _agree([float(x) for x in (loss, *losses)], together, AGREEMENT[first.precision]):
                reason = "a member of a stack does not train as it does alone: does the model keep state of its own?"
                return Costs(single=single, start=alone, reason=reason)
    return Costs(single=single, stacked=found, start=alone, stacked_start=starts, tensors=tensors)


def _saved_bytes(step: Callable[[int], torch.Tensor]) -> tuple[int, torch.Tensor]:
    """What the first step keeps for its backward pass, and its loss."""
    saved: dict[int, int] = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(note, lambda x: x):
        loss = step(0)
    return sum(saved.values()), loss


def _timed(step: Callable[[int], torch.Tensor], device: torch.device) -> tuple[float, list[torch.Tensor]]:
    """Seconds of the fastest of steps 1 to 3, of short ones more, and the losses of those three."""
    seconds: list[float] = []
    losses: list[torch.Tensor] = []
    while len(seconds) < 3 or (len(seconds) < 12 and sum(seconds) < SHORT):
        wait(device)
        started = time.perf_counter()
        losses.append(step(len(seconds) + 1))
        wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds), losses[:3]


def _in_turns(
    alone: Callable[[int], torch.Tensor], together: Callable[[int], torch.Tensor], size: int, device: torch.device
) -> tuple[float, float]:
    """Seconds per step alone and of a stack of ``size``, each of as much work, in turns: medians of three.

    The fastest of many short steps is luckier on a busy machine than that of a few long ones.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(3):
        for kept, step, count in ((seconds[0], alone, size), (seconds[1], together, 1)):
            wait(device)
            started = time.perf_counter()
            for i in range(count):
                step(1 + (turn + i) % 3)
            wait(device)
            kept.append((time.perf_counter() - started) / count)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _agree(alone: Sequence[float], together: Sequence[float], tolerance: float) -> bool:
    pairs = zip(alone, together, strict=True)
    return all(abs(a - b) <= tolerance * abs(a) for a, b in pairs if math.isfinite(a) and math.isfinite(b))


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
