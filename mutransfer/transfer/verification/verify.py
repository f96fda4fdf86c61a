"""The transfer check: widths x learning rates x seeds, optimum and regret with intervals, feature movement, verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mutransfer.errors import ConfigError
from mutransfer.theory import rules
from mutransfer.theory.rules import Parameterization
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.flops import flops_per_step
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.space import Axis, Choice, Value
from mutransfer.transfer.search.sweep import Sweep, at_lr, sweep
from mutransfer.transfer.search.tune import TuneResult, make_template
from mutransfer.transfer.verification.budget import Budget, perturbing, sequential_sweeps
from mutransfer.transfer.verification.optimum_by_step import courses_of, differences
from mutransfer.transfer.verification.procedure import Judgement
from mutransfer.transfer.verification.result import Verification, judge
from mutransfer.transfer.verification.sensitivity import neighbours, sensitivities
from mutransfer.transfer.verification.verdict import Movement, Verdict
from mutransfer.widths import Width, WidthKey, show_width, width_key, width_size


def verify(
    task: Task,
    tuned: TuneResult | Mapping[str, Value],
    *,
    widths: Sequence[Width],
    parameterization: str | Parameterization | None = None,
    base_width: Width | None = None,
    grid: Sequence[float] | None = None,
    seeds: int | Sequence[int] | None = None,
    record: Record | None = None,
    device: torch.device | str | None = None,
    sink: Sink = silent,
    members: int | None = None,
    perturb: Sequence[str] | None = None,
    perturb_width: Width | None = None,
    sequential: bool = False,
    budget: Budget | None = None,
    **training: Any,
) -> Verification:
    """Check at larger widths that the tuned learning rate is still right, and whether features move.

    Args:
        tuned: what :func:`~mutransfer.tune` returned, or hyperparameters at ``base_width`` (then give the
            ``training`` settings: optimizer, steps, ...).
        widths: where to check; the base width is added.
        parameterization: None takes that of ``tuned``.
        grid: log2 learning rates; None takes the tuner's. It is extended where the minimum lies on its border.
        seeds: None takes the tuner's. At least two.
        members: the most runs to train as one program; None: what is fastest and fits; 1: one by one.
        perturb: hyperparameters besides the learning rate to move one step down and up; None: all that were tuned.
        perturb_width: where, besides at base width; None: the largest of ``widths``.
        sequential: run at each width what decides the verdict, and stop when it is decided, instead of the full grid.
        budget: the most that this may cost beyond the base width; sequential then. What the learning rate leaves of
            it pays for perturbing, hyperparameter by hyperparameter.

    Returns a :class:`Verification` with ``.verdict``, ``.movement``, ``.optima``, ``.drift``, ``.regret``,
    ``.sensitivity`` (of the other hyperparameters) and ``.courses`` (the optimum against the training step).
    """
    axes: Mapping[str, Axis] = {}
    before: RunSpec | None = None
    if isinstance(tuned, TuneResult):
        axes, before, searched = tuned.space, tuned.template, list(tuned.space)
        template, table = _retrained(replace(before, task=label_of(task)), training), tuned.table
        seed_list: Sequence[int] = tuned.seeds if seeds is None else _seeds(seeds)
        lr_range = tuned.space.get("lr")
        assert not isinstance(lr_range, Choice)
    else:
        if base_width is None:
            raise ConfigError("verify needs base_width where tuned is a mapping of hyperparameters")
        template = make_template(
            task,
            base_width=base_width,
            parameterization=parameterization or "mup",
            point=tuned,
            **training,
        )
        table, searched = rules.parameterization("mup"), list(tuned)
        seed_list, lr_range = _seeds(3 if seeds is None else seeds), None
    if parameterization is not None:
        table = rules.parameterization(parameterization)
    template = replace(template, parameterization=table.name)
    transferred = round(math.log2(template.lr), 6)
    if grid is None:
        grid = lr_range.grid() if lr_range else [transferred + i for i in range(-4, 5)]
    runner = Runner(task, record=record, device=device, sink=sink, tables=[table], members=members)
    ordered = _ordered(template.base_width, widths)
    full = [template.base_width] if sequential or budget else ordered
    sweeps = {
        width_key(width): sweep(
            runner,
            replace(template, width=width),
            grid,
            seed_list,
            title=f"{table.name}, width {show_width(width)}",
            also=[transferred],
        )
        for width in full
    }

    def verdict_so_far(some: Mapping[WidthKey, Sweep]) -> Judgement:
        return _judgement(judge(table, some, transferred, runner.plan(list(some.values())[-1].template)))

    spending = None
    if sequential or budget:
        sweeps, spending = sequential_sweeps(
            runner,
            sweeps[width_key(template.base_width)],
            {width_key(width): replace(template, width=width) for width in ordered[1:]},
            base_key=width_key(template.base_width),
            transferred=transferred,
            grid=grid,
            seeds=seed_list,
            judge=verdict_so_far,
            budget=budget or Budget(),
            title=table.name,
        )
        ordered = [s.template.width for s in sweeps.values()]
    plan = runner.plan(replace(template, width=ordered[-1]))
    found = judge(table, sweeps, transferred, plan)
    names = [n for n in (searched if perturb is None else perturb) if n != "lr"]
    if found.verdict is Verdict.UNSTABLE:  # nothing is learnt from neighbours of a run that diverges
        names = []
    width = ordered[-1] if perturb_width is None else perturb_width
    if spending is not None and names:
        at_large = replace(template, width=width)
        known = sweeps[width_key(width)].seeds if width_key(width) in sweeps else ()
        cost = at_large.steps * flops_per_step(at_large, task, runner.plan(at_large), runner.device)
        moved = {n: cost * len(seed_list) * len(neighbours(at_large, n, axes.get(n))) for n in names}
        spending = perturbing(spending, moved, reference=cost * (len(seed_list) - len(known)))
        names = [n for n in names if n not in spending.not_perturbed]
    if spending is not None:
        sink(Note(text=f"{table.name}: {spending}"))
    at = {width_key(w): at_lr(replace(template, width=w), transferred, 0) for w in (template.base_width, width)}
    courses = courses_of(sweeps, [width_key(ordered[0]), width_key(ordered[-1])])
    notes = () if before is None else differences(before, template)
    for note in notes:
        sink(Note(text=f"{table.name}: {note}"))
    return replace(
        found,
        sensitivity=sensitivities(runner, at, axes, names, seeds=seed_list, tolerance=found.tolerance),
        courses=courses,
        notes=notes,
        spending=spending,
    )


def _judgement(found: Verification) -> Judgement:
    """Decided where nothing is open: the optima bracketed, the regret decided, the movement clear."""
    if found.verdict is Verdict.UNSTABLE:
        return Judgement(verdict=str(found.verdict))
    settled = found.verdict in (Verdict.TRANSFERS, Verdict.DRIFTS) and found.movement is not Movement.UNCLEAR
    return Judgement(
        verdict=f"{found.verdict}, {found.movement}" if settled else None,
        edges={key: o.at_edge for key, o in found.optima.items() if o.at_edge},
    )


def _ordered(base: Width, widths: Sequence[Width]) -> list[Width]:
    rest = sorted((w for w in widths if w != base), key=width_size)
    if not rest:
        raise ConfigError(f"verify needs at least one width besides the base {show_width(base)}, found {list(widths)}")
    return [base, *rest]


def _retrained(template: RunSpec, training: Mapping[str, Any]) -> RunSpec:
    try:
        return replace(template, **training)
    except TypeError as error:
        raise ConfigError(f"not a training setting: {error}") from None


def _seeds(seeds: int | Sequence[int]) -> Sequence[int]:
    return range(seeds) if isinstance(seeds, int) else seeds
