"""The transfer check: widths x learning rates x seeds, optimum and regret with intervals, feature movement, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mutransfer.errors import ConfigError
from mutransfer.theory.rules import Parameterization
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.flops import flops_per_step
from mutransfer.training.run import infer_plan
from mutransfer.training.task import Task
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.space import Value
from mutransfer.transfer.search.sweep import Sweep, at_lr, sweep
from mutransfer.transfer.search.tune import TuneResult
from mutransfer.transfer.verification.budget import Budget, Spending, sequential_sweeps, with_perturbations
from mutransfer.transfer.verification.optimum_by_step import courses_of
from mutransfer.transfer.verification.procedure import Judgement
from mutransfer.transfer.verification.result import Verification, judge
from mutransfer.transfer.verification.sensitivity import neighbours, sensitivities
from mutransfer.transfer.verification.verdict import Movement, Verdict
from mutransfer.transfer.verification.verification_setup import VerificationSetup, setup_from_search, setup_from_values
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
    check: bool = True,
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
        check: whether to measure the plan of the largest width on small models before anything is trained.

    Returns a :class:`Verification` with ``.verdict``, ``.movement``, ``.optima``, ``.drift``, ``.regret``,
    ``.sensitivity`` (of the other hyperparameters) and ``.courses`` (the optimum against the training step).
    """
    if isinstance(tuned, TuneResult):
        setup = setup_from_search(task, tuned, parameterization, grid, seeds, training)
    else:
        setup = setup_from_values(task, tuned, base_width, parameterization, grid, seeds, training)
    template, table, transferred = setup.template, setup.table, setup.transferred
    runner = Runner(task, record=record, device=device, sink=sink, tables=[table], members=members)
    ordered = _ordered(template.base_width, widths)
    if check and ordered[-1] != template.base_width:
        infer_plan(replace(template, width=ordered[-1]), task, table=table, check=True)
    spending = None
    if sequential or budget:
        sweeps, spending = _sequential(runner, setup, ordered, budget or Budget())
    else:
        sweeps = {width_key(width): _full_sweep(runner, setup, width) for width in ordered}
    largest = list(sweeps.values())[-1].template
    verification = judge(table, sweeps, transferred, runner.plan(largest))
    names = [n for n in (setup.searched if perturb is None else perturb) if n != "lr"]
    if verification.verdict is Verdict.UNSTABLE:  # nothing is learnt from neighbours of a run that diverges
        names = []
    perturbed = largest.width if perturb_width is None else perturb_width
    if spending is not None:
        if names:
            spending = _pay_for_perturbing(runner, setup, spending, names, perturbed, sweeps.get(width_key(perturbed)))
            names = [n for n in names if n not in spending.not_perturbed]
        sink(Note(text=f"{table.name}: {spending}"))
    for note in setup.notes:
        sink(Note(text=f"{table.name}: {note}"))
    at = {width_key(w): at_lr(replace(template, width=w), transferred, 0) for w in (template.base_width, perturbed)}
    tolerance = verification.tolerance
    return replace(
        verification,
        sensitivity=sensitivities(runner, at, setup.axes, names, seeds=setup.seeds, tolerance=tolerance),
        courses=courses_of(sweeps, [width_key(template.base_width), width_key(largest.width)]),
        notes=setup.notes,
        spending=spending,
    )


def _full_sweep(runner: Runner, setup: VerificationSetup, width: Width) -> Sweep:
    return sweep(
        runner,
        replace(setup.template, width=width),
        setup.grid,
        setup.seeds,
        title=f"{setup.table.name}, width {show_width(width)}",
        also=[setup.transferred],
    )


def _sequential(
    runner: Runner, setup: VerificationSetup, ordered: Sequence[Width], budget: Budget
) -> tuple[dict[WidthKey, Sweep], Spending]:
    """The base width in full, then at wider ones as few runs as decide."""

    def judgement_so_far(sweeps: Mapping[WidthKey, Sweep]) -> Judgement:
        plan = runner.plan(list(sweeps.values())[-1].template)
        return _judgement(judge(setup.table, sweeps, setup.transferred, plan))

    base, *wider = ordered
    return sequential_sweeps(
        runner,
        _full_sweep(runner, setup, base),
        {width_key(width): replace(setup.template, width=width) for width in wider},
        base_key=width_key(base),
        transferred=setup.transferred,
        grid=setup.grid,
        seeds=setup.seeds,
        judge=judgement_so_far,
        budget=budget,
        title=setup.table.name,
    )


def _pay_for_perturbing(
    runner: Runner,
    setup: VerificationSetup,
    spending: Spending,
    names: Sequence[str],
    width: Width,
    swept: Sweep | None,
) -> Spending:
    """``spending`` with what of ``names`` its room pays for moving at ``width``, where ``swept`` was run already."""
    spec = replace(setup.template, width=width)
    run = spec.steps * flops_per_step(spec, runner.task, runner.plan(spec), runner.device)
    costs = {name: run * len(setup.seeds) * len(neighbours(spec, name, setup.axes.get(name))) for name in names}
    missing = len(setup.seeds) - (len(swept.seeds) if swept is not None else 0)
    return with_perturbations(spending, costs, reference=run * missing)


def _judgement(so_far: Verification) -> Judgement:
    """The judgement that is decided once nothing is open: optima bracketed, regret decided, movement clear."""
    if so_far.verdict is Verdict.UNSTABLE:
        return Judgement(verdict=str(so_far.verdict))
    settled = so_far.verdict in (Verdict.TRANSFERS, Verdict.DRIFTS) and so_far.movement is not Movement.UNCLEAR
    return Judgement(
        verdict=f"{so_far.verdict}, {so_far.movement}" if settled else None,
        edges={key: o.at_edge for key, o in so_far.optima.items() if o.at_edge},
    )


def _ordered(base: Width, widths: Sequence[Width]) -> list[Width]:
    rest = sorted((w for w in widths if w != base), key=width_size)
    if not rest:
        raise ConfigError(f"verify needs at least one width besides the base {show_width(base)}, found {list(widths)}")
    return [base, *rest]
