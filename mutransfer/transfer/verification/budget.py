"""A sequential verification carried out: the runs that its procedure (``procedure.py``) asks for, within a budget."""

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
    CostEstimate,
    Judgement,
    Procedure,
    Request,
    Stop,
    affordable,
    estimate_cost,
)
from mutransfer.widths import WidthKey, width_size

FIRST_SEEDS = 2  # at the largest width


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a verification may cost beyond the base width; None: no limit."""

    flops: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"budget: {name} must be positive, found {value}")


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Expected and actual cost of a sequential verification beyond the base width.

    FLOPs are those of training steps that were done, so that a run which diverged costs what it took. Runs that an
    earlier call left in the record count too. The budget pays for the learning rate first, and for moving other
    hyperparameters with what is left.
    """

    estimate: CostEstimate  # FLOPs
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
        """The share spent of the full grid's FLOPs, had no run of it diverged."""
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
    ledger = _ledger(runner, base, budget)
    keys = _affordable_keys(run_flops, ledger.room(), grid=len(grid), first=first, most=most)
    expected = estimate_cost([run_flops[key] for key in keys], grid=len(grid), first=first, most=most)
    runner.sink(Note(text=f"{title}: {expected}, about {expected.usual:.2g} FLOPs", data={"flops": expected.usual}))
    procedure = Procedure(
        keys=[base_key, *keys],
        octaves=[0.0, *(math.log2(width_size(wider[key].width) / width_size(base.template.width)) for key in keys)],
        transferred=transferred,
        spacing=(max(grid) - min(grid)) / (len(grid) - 1) if len(grid) > 1 else 1.0,
        first=first,
        most=most,
        ceilings=dict.fromkeys([base_key, *keys], base.ceiling),
    )
    sweeps: dict[WidthKey, Sweep] = {base_key: base}

    def ordered() -> dict[WidthKey, Sweep]:
        return {key: sweeps[key] for key in procedure.keys if key in sweeps}

    def next_runs() -> Request | Stop:
        step = procedure.next_runs({key: s.curve for key, s in sweeps.items()}, lambda _: judge(ordered()))
        if isinstance(step, Stop) or _missing(step, sweeps.get(step.key)) * run_flops[step.key] <= ledger.room():
            return step
        return Stop(reason="the budget is used up")

    while isinstance(step := next_runs(), Request):
        key = step.key
        before = sweeps.get(key, Sweep(template=wider[key], seeds=(), results={}))
        sweeps[key], new = _done(runner, step, before, seeds, f"{title}, width {key}", watched=transferred)
        ledger.pay(new, step_flops[key])
    return ordered(), Spending(
        estimate=expected,
        runs=ledger.runs,
        flops=ledger.spent_flops,
        seconds=ledger.spent_seconds,
        reason=step.reason,
        left_out=tuple(key for key in wider if key not in keys),
        room=ledger.room(),
    )


def _affordable_keys(
    run_flops: Mapping[WidthKey, float], room: float, *, grid: int, first: int, most: int
) -> list[WidthKey]:
    """The widths, smallest first, that ``room`` pays for; ConfigError where there is none."""
    n = affordable(list(run_flops.values()), room, first=first, most=most)
    if not n:
        needed = estimate_cost(list(run_flops.values())[:1], grid=grid, first=first, most=most)
        raise ConfigError(
            f"the budget does not pay for the smallest width beyond the base: about {needed.usual:.2g} FLOPs are "
            f"needed, {room:.2g} are there"
        )
    return list(run_flops)[:n]


def with_perturbations(spending: Spending, costs: Mapping[str, float], *, reference: float) -> Spending:
    """Add what moving hyperparameters costs, in order and as far as the room left pays, and name those it does not pay.

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


def _ledger(runner: Runner, base: Sweep, budget: Budget) -> _Ledger:
    """A ledger without expenses, whose pace is that of the base width's runs."""
    runs = [r for results in base.results.values() for r in results]
    step_flops = flops_per_step(base.template, runner.task, runner.plan(base.template), runner.device)
    return _Ledger(budget, seconds=sum(r.seconds for r in runs), flops=step_flops * sum(map(_steps, runs)))


class _Ledger:
    """Expenses so far, and what the budget leaves, in FLOPs at the pace seen so far."""

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


def _missing(step: Request, before: Sweep | None) -> int:
    there = {} if before is None else before.results
    return sum(max(0, step.seeds - len(there.get(round(x, 6), ()))) for x in step.points)


def _done(
    runner: Runner, step: Request, before: Sweep, seeds: Sequence[int], title: str, *, watched: float
) -> tuple[Sweep, list[RunResult]]:
    """``before`` with what ``step`` asks for, and the results that are new; ``watched``: the learning rate of looks."""
    results, new = dict(before.results), []
    first_seeds = tuple(seeds[: step.seeds])
    points = [round(x, 6) for x in step.points]
    specs = [replace(at_lr(before.template, x, seed), watched=x == watched) for x in points for seed in first_seeds]
    performed = iter(runner.perform(specs, title))
    for x in points:
        old = results.get(x, [])
        added = [next(performed) for _ in first_seeds][len(old) :]
        results[x] = [*old, *added]
        new += added
    return replace(before, seeds=first_seeds, results=results), new
