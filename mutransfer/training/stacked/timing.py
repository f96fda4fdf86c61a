"""Costs of runs alone and as one program: measured, a few steps each way, before a sweep begins."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.autograd.graph import saved_tensors_hooks

from mutransfer.errors import StackError
from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state
from mutransfer.training.events import silent
from mutransfer.training.out_of_memory import available_bytes, is_out_of_memory
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.costs import Costs
from mutransfer.training.stacked.population import AGREEMENT, Population
from mutransfer.training.task import Task
from mutransfer.training.training_loop import TrainingLoop

SIZES = (8, 32, 128)  # numbers of members that are timed
WORTH = 15  # a sweep is timed where it is that many times the work of timing it
SHORT = 0.1  # seconds: short steps are timed oftener, since a busy machine disturbs them
LONG_STEP = 0.3  # seconds of a single step in which what a stack saves, the calls, no longer counts
CLOSE = 0.6  # ratio of a stack's time to single runs', or its inverse, within which both are timed in turns
MEMORY_PART = 0.5  # of what is free


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
            loop = TrainingLoop(unwatched, first.accumulate, task, plan, device, silent)
            building = time.perf_counter() - started
            loop.course.begin(loop.model)  # the first evaluation of a process may load data
            synchronize(device)
            started = time.perf_counter()
            loop.course.begin(loop.model)
            synchronize(device)
            evaluating = time.perf_counter() - started
            alone = building + evaluating
            saved, loss = _saved_bytes(loop.step)
            single, losses = _timed(loop.step, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return Costs(reason="a run alone needs all the memory")
        if single > LONG_STEP:
            return Costs(
                single=single, start=alone, reason=f"a step takes {single:.2g} s, in which calls no longer count"
            )
        tensors = len(list(loop.model.parameters()))
        state = sum(p.numel() * p.element_size() for p in loop.model.parameters())
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
                synchronize(device)
                starts[size] = time.perf_counter() - started + evaluating * population.n_starts
                first_losses = population.step(0)
                found[size], later = _timed(population.step, device)
                if CLOSE <= found[size] / (size * single) <= 1 / CLOSE:
                    single, found[size] = _in_turns(loop.step, population.step, size, device)
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
    """Bytes that the first step keeps for its backward pass, and its loss."""
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
        synchronize(device)
        started = time.perf_counter()
        losses.append(step(len(seconds) + 1))
        synchronize(device)
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
            synchronize(device)
            started = time.perf_counter()
            for i in range(count):
                step(1 + (turn + i) % 3)
            synchronize(device)
            kept.append((time.perf_counter() - started) / count)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _agree(alone: Sequence[float], together: Sequence[float], tolerance: float) -> bool:
    pairs = zip(alone, together, strict=True)
    return all(abs(a - b) <= tolerance * abs(a) for a, b in pairs if math.isfinite(a) and math.isfinite(b))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
