"""A sequential verification done: the runs that its procedure (``procedure.py``) asks for, within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mutransfer.errors import ConfigError
from mutransfer.training.events import Note
from mutransfer.training.flops import flops_per_step
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.sweep import Sweep, at_lr
from mutransfer.transfer.verification.procedure import (
    Estimate,
    Judgement,
    Procedure,
    Request,
    Stop,
    affordable,
    estimate,
)
from mutransfer.widths import WidthKey, width_size

FIRST_SEEDS = 2  # at the largest width


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a verification may cost beyond the base width; None: no limit."""

    flops: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"budget: {name} must be positive, found {value}")


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a sequential verification was expected to cost beyond the base width, and what it did cost.

    FLOPs are those of training steps that were done, so that a run which diverged costs what it took. Runs that an
    earlier call left in the record count too. The budget pays for the learning rate first, and for moving other
    hyperparameters with what is left.
    """

    estimate: Estimate  # FLOPs
    runs: int
    flops: float
    seconds: float
    reason: str  # why it stopped
    left_out: tuple[WidthKey, ...] = ()  # widths that the budget does not pay for
    room: float = math.inf  # FLOPs that the budget leaves
    perturbing: float = 0.0  # FLOPs, at most, of moving other hyperparameters at the large width, on top
    not_perturbed: tuple[str, ...] = ()  # hyperparameters that the budget does not pay for moving

    @property
    def part(self) -> float:
        """Of the full grid's FLOPs, had no run of it diverged."""
        return self.flops / self.estimate.full

    def __str__(self) -> str:
        out = f"; the budget does not pay for width {', '.join(map(str, self.left_out))}" if self.left_out else ""
        if self.perturbing:
            out += f"; moving other hyperparameters took up to {self.perturbing:.3g} FLOPs more"
        if self.not_perturbed:
            out += f"; the budget does not pay for moving {', '.join(self.not_perturbed)}"
        return (
            f"{self.runs} runs beyond the base width, {self.flops:.3g} FLOPs in {self.seconds:.3g} s: {self.part:.0%} "
            f"of the full grid's (expected {self.estimate.usual / self.estimate.full:.0%}); stopped: {self.reason}{out}"
        )


def sequential_sweeps(
    runner: Runner,
    base: Sweep,
    wider: Mapping[WidthKey, RunSpec],
    *,
    base_key: WidthKey,
    transferred: float,
    grid: Sequence[float],
    seeds: Sequence[int],
    judge: Callable[[Mapping[WidthKey, Sweep]], Judgement],
    budget: Budget,
    title: str,
) -> tuple[dict[WidthKey, Sweep], Spending]:
    """Sweeps of the widths beyond the base, as few runs as decide, and what they cost.

    Args:
        base: the finished sweep at base width, with runs at ``transferred``.
        wider: templates by width, the largest last.
        grid: what a full sweep would run; its spacing is the bracket's.
        seeds: the most; the largest width begins with two.
        judge: of the sweeps so far, base first.

    Raises ConfigError where the budget does not pay for the smallest width.
    """
    step_flops = {key: flops_per_step(t, runner.task, runner.plan(t), runner.device) for key, t in wider.items()}
    run_flops = {key: step_flops[key] * t.steps for key, t in wider.items()}
    first, most = min(FIRST_SEEDS, len(seeds)), len(seeds)
    known = [r for runs in base.results.values() for r in runs]
    base_flops = flops_per_step(base.template, runner.task, runner.plan(base.template), runner.device)
    ledger = _Ledger(budget, seconds=sum(r.seconds for r in known), flops=base_flops * sum(map(_steps, known)))
    n = affordable(list(run_flops.values()), ledger.room(), first=first, most=most)
    if not n:
        needed = estimate(list(run_flops.values())[:1], grid=len(grid), first=first, most=most)
        raise ConfigError(
            f"the budget does not pay for the smallest width beyond the base: about {needed.usual:.2g} FLOPs are "
            f"needed, {ledger.room():.2g} are there"
        )
    keys = list(wider)[:n]
    expected = estimate([run_flops[key] for key in keys], grid=len(grid), first=first, most=most)
    runner.sink(Note(text=f"{title}: {expected}, about {expected.usual:.2g} FLOPs", data={"flops": expected.usual}))
    spacing = (max(grid) - min(grid)) / (len(grid) - 1) if len(grid) > 1 else 1.0
    octaves = [math.log2(width_size(t.width) / width_size(base.template.width)) for t in wider.values()][:n]
    procedure = Procedure(
        keys=[base_key, *keys],
        octaves=[0.0, *octaves],
        transferred=transferred,
        spacing=spacing,
        first=first,
        most=most,
        ceilings=dict.fromkeys([base_key, *keys], base.ceiling),
    )
    sweeps: dict[WidthKey, Sweep] = {base_key: base}

    def ordered() -> dict[WidthKey, Sweep]:
        return {key: sweeps[key] for key in [base_key, *keys] if key in sweeps}

    while True:
        curves = {key: s.curve for key, s in sweeps.items()}
        step = procedure.next_runs(curves, lambda _: judge(ordered()))
        if isinstance(step, Stop):
            break
        missing = _missing(step, sweeps.get(step.key))
        if missing * run_flops[step.key] > ledger.room():
            step = Stop(reason="the budget is used up")
            break
        before = sweeps.get(step.key)
        after = _done(runner, step, before, wider[step.key], seeds, f"{title}, width {step.key}", transferred)
        sweeps[step.key] = after
        old = set() if before is None else {id(r) for runs in before.results.values() for r in runs}
        new = [r for runs in after.results.values() for r in runs if id(r) not in old]
        ledger.pay(new, step_flops[step.key])
    done = ordered()
    spent = Spending(
        estimate=expected,
        runs=ledger.runs,
        flops=ledger.spent_flops,
        seconds=ledger.spent_seconds,
        reason=step.reason,
        left_out=tuple(list(wider)[n:]),
        room=ledger.room(),
    )
    return done, spent


def perturbing(spending: Spending, costs: Mapping[str, float], *, reference: float) -> Spending:
    """With the hyperparameters, by name and in order, that the room left pays for moving, and the others named.

    ``reference``: FLOPs of what all of them are compared with, as far as it was not run.
    """
    spent, dear = 0.0, []
    for name, cost in costs.items():
        cost += 0.0 if spent else reference
        if spent + cost > spending.room:
            dear.append(name)
        else:
            spent += cost
    return replace(spending, perturbing=spent, not_perturbed=tuple(dear))


class _Ledger:
    """What was spent, and what the budget leaves, in FLOPs at the pace seen so far."""

    def __init__(self, budget: Budget, *, seconds: float, flops: float) -> None:
        self.budget, self._seconds, self._flops = budget, seconds, flops  # of runs that tell the pace
        self.spent_flops, self.spent_seconds, self.runs = 0.0, 0.0, 0

    def pay(self, results: Sequence[RunResult], step_flops: float) -> None:
        flops, seconds = step_flops * sum(map(_steps, results)), sum(r.seconds for r in results)
        if not self.runs:
            self._seconds, self._flops = 0.0, 0.0  # the base width's pace, calls mostly, is not that of wider models
        self._seconds, self._flops = self._seconds + seconds, self._flops + flops
        self.spent_flops, self.spent_seconds = self.spent_flops + flops, self.spent_seconds + seconds
        self.runs += len(results)

    def room(self) -> float:
        rooms = [math.inf]
        if self.budget.flops is not None:
            rooms.append(self.budget.flops - self.spent_flops)
        if self.budget.minutes is not None:
            pace = self._flops / self._seconds if self._seconds else math.inf
            rooms.append((60 * self.budget.minutes - self.spent_seconds) * pace)
        return min(rooms)


def _steps(result: RunResult) -> int:
    return len(result.train_curve)


def _missing(step: Request, known: Sweep | None) -> int:
    there = {} if known is None else known.results
    return sum(max(0, step.seeds - len(there.get(round(x, 6), ()))) for x in step.points)


def _done(
    runner: Runner,
    step: Request,
    known: Sweep | None,
    template: RunSpec,
    seeds: Sequence[int],
    title: str,
    watched: float,
) -> Sweep:
    """``known`` with what ``step`` asks for; runs at the learning rate ``watched`` are watched on the way."""
    results = {} if known is None else dict(known.results)
    some = tuple(seeds[: step.seeds])
    points = [round(x, 6) for x in step.points]
    specs = [replace(at_lr(template, x, seed), watched=x == watched) for x in points for seed in some]
    found = runner.perform(specs, title)
    for i, x in enumerate(points):
        new = found[i * len(some) : (i + 1) * len(some)]
        old = results.get(x, [])
        results[x] = [*old, *new[len(old) :]]
    return (
        replace(known, seeds=some, results=results) if known else Sweep(template=template, seeds=some, results=results)
    )
