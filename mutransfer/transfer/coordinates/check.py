"""The coordinate check as numbers: how activations and their change scale with width over the first steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.errors import BuildError, ConfigError, ExampleError
from mutransfer.intervals import Slope
from mutransfer.parameterization.judging.causes import Causes
from mutransfer.parameterization.judging.expected import Expected, factored_modules, without_growth
from mutransfer.parameterization.judging.faint_sources import (
    FAINT,
    cosine_logits,
    faint_modules,
    faint_sources,
    faint_starts,
    transient_changes,
)
from mutransfer.parameterization.judging.judge import Judge, late_offenders
from mutransfer.parameterization.judging.measured import Measurements
from mutransfer.parameterization.judging.offenders import EARLY, EPS_GROWTH, Offender
from mutransfer.parameterization.measuring.quantities import OF_MODULES, Quantity
from mutransfer.parameterization.measuring.watcher import attention_logits
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.factory import fresh
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import Overrides
from mutransfer.parameterization.tracing.examples import Traces, observe
from mutransfer.random_state import preserved_random_state
from mutransfer.theory.rules import Parameterization
from mutransfer.training.batches import example_batches
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.first_steps import first_steps
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.out_of_memory import free_memory, is_out_of_memory
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.training.task_plan import loss_on
from mutransfer.transfer.coordinates.checked_plans import CheckedPlans, plans_to_check
from mutransfer.transfer.coordinates.factory_task import as_task
from mutransfer.transfer.coordinates.result import CoordinateCheck
from mutransfer.transfer.runs.runner import default_device
from mutransfer.transfer.runs.seeds import seed_tuple
from mutransfer.widths import Width, show_width, width_key, width_size

AT_INIT = (Quantity.SIZE, Quantity.SPREAD, Quantity.INPUT, Quantity.LOGITS)
AT_FIRST_STEP = (Quantity.UPDATE, Quantity.EPS_OVER_GRADIENT)
LOOKS = (1, 2)  # steps after which there is a look besides the last one


def coordinate_check(
    build_or_task: Task | Callable[..., nn.Module],
    *,
    widths: Sequence[Width],
    base_width: Width | None = None,
    parameterization: str | Parameterization = "mup",
    optimizer: str = "adamw",
    lr: float | None = None,
    steps: int = 5,
    seeds: int | Sequence[int] = 3,
    batch: Any = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    example: Any = None,
    plan: Callable[[Width], Plan] | None = None,
    overrides: Overrides | None = None,
    device: torch.device | str | None = None,
    sink: Sink = silent,
) -> CoordinateCheck:
    """Train a few steps at every width, fit how activations scale, and name what does not scale as it should.

    A width that the memory does not hold is left out with those beyond it, and told in ``left_out``.

    Measured are sizes before training, and sizes, changes and their two parts after steps 1, 2 and ``steps``; after the
    first step also what each parameter's own update does. Blamed is the first that is off: initial values and
    multipliers, then single updates, then eps; the cause is read from a comparison of the plan with the one that would
    be inferred.

    Args:
        build_or_task: a Task, or a factory together with ``batch`` and ``loss``.
        widths: at least two, spanning a factor of 8 or more for slopes to mean something.
        base_width: None takes the smallest of ``widths``.
        lr: base learning rate; None takes 0.1 for SGD and 2**-8 for the Adam family.
        batch: with a factory: a batch, or a function (seed, step) -> batch.
        loss: with a factory: (model, batch) -> scalar; None where the model itself returns a loss.
        example: with a factory: a small batch that ``loss`` takes, to see with what the model does. None cuts a few
            examples from a batch along the first dimension, and takes a whole one where those do not run (graphs, say).
            A task may have it as an attribute of this name.
        plan: a function from width to the Plan to check there, one that you edited say; ``parameterization`` (but for a
            table of your own) and ``optimizer`` are then the plan's. None infers plans.
        overrides: as of :meth:`Plan.infer`; what ``plan`` was made with, if that needed any.

    Example::

        check = mt.coordinate_check(build, widths=[64, 128, 256, 512], batch=(x, y), loss=loss)
        assert check.passed, check.failures
    """
    ordered = sorted(widths, key=width_size)
    if len({width_size(w) for w in ordered}) < 2:
        raise ConfigError(f"a coordinate check needs at least two widths, found {list(widths)}")
    task = as_task(build_or_task, batch, loss, example)
    seed_list = seed_tuple(seeds)
    if not seed_list or steps < 1:
        raise ConfigError(f"a coordinate check needs at least one step and one seed, found {steps} and {seeds}")
    checked = plans_to_check(
        task,
        ordered,
        base_width=base_width,
        parameterization=parameterization,
        optimizer=optimizer,
        plan=plan,
        overrides=getattr(build_or_task, "overrides", None) if overrides is None else overrides,
    )
    attention = _heads_grow(task, ordered)
    looks = tuple(sorted({*(n for n in LOOKS if n < steps), steps}))
    device = default_device() if device is None else torch.device(device)
    measured, fits = Measurements(ordered, checked.base_width), 0
    with preserved_random_state():
        for i, (width, its) in enumerate(zip(ordered, checked.plans, strict=True)):
            specs = _specs(task, its, seed_list, steps, lr or optimizer_rule(checked.optimizer).check_lr)
            try:
                for one_seed in first_steps(specs, task, its, device, looks, attention=attention):
                    measured.add(i, one_seed, its, checked.ideal)
            except (RuntimeError, MemoryError, BuildError) as error:
                if not is_out_of_memory(error):
                    raise
                break
            fits = i + 1
            sink(Note(text=f"coordinate check, {checked.table.name}: width {show_width(width)} done"))
    if fits < len(ordered):
        free_memory()
        if fits < 2:
            raise ConfigError(
                f"the memory does not hold a coordinate check of width {show_width(ordered[fits])}, and it needs at "
                "least two widths: choose smaller ones, or smaller batches"
            )
        check = coordinate_check(
            build_or_task,
            widths=ordered[:fits],
            base_width=base_width,
            parameterization=parameterization,
            optimizer=optimizer,
            lr=lr,
            steps=steps,
            seeds=seeds,
            batch=batch,
            loss=loss,
            example=example,
            plan=plan,
            overrides=overrides,
            device=device,
        )
        return replace(check, left_out=(*map(width_key, ordered[fits:]), *check.left_out))
    regime = checked.regime
    expected = measured.expected(checked.ideal, without_growth(regime))
    smallest = None if checked.smallest_right is None else (checked.plans[0], checked.smallest_right)
    causes = Causes(checked.largest, checked.right, checked.table, smallest)
    by_step = {step: measured.module_slopes(step, expected) for step in (0, *looks)}
    traces = None if causes.right is None else _observed(task, ordered)
    sources = "" if traces is None else faint_sources(checked.ideal, traces)
    judge = _judge(checked, causes, measured, expected, looks, attention, sources, traces)
    starts, faint = list(faint_starts(judge, sources)), faint_modules(judge)
    check = CoordinateCheck(
        parameterization=checked.table.name,
        optimizer=checked.optimizer,
        regime=regime,
        widths=tuple(ordered),
        steps=steps,
        slopes=by_step[steps],
        by_step=by_step,
        updates=_first_slopes(measured, looks[0], Quantity.UPDATE, {n: expected.update(n) for n in checked.largest}),
        sizes={m: {q: measured.rows(steps, q, m) for q in OF_MODULES} for m in measured.named(steps, Quantity.SIZE)},
        at_init=dict.fromkeys(faint, -FAINT) | expected.faint(),
        transient=transient_changes(judge) if sources else {},
        factored=factored_modules(checked.ideal),
        diverged=tuple(dict.fromkeys(map(width_key, measured.diverged))),
        offenders=tuple(_offenders(checked, causes, measured, judge)),
        limits=tuple(starts) if sources else (),
    )
    check = replace(check, limits=(*check.limits, *check.late_limits(sources)))
    return check if check.offenders else replace(check, offenders=tuple(late_offenders(check.unexpected(), causes)))


def _judge(
    checked: CheckedPlans,
    causes: Causes,
    measured: Measurements,
    expected: Expected,
    looks: Sequence[int],
    attention: bool,
    sources: str,
    traces: Traces | None,
) -> Judge:
    cosines = set() if traces is None else cosine_logits(traces)

    def logits(step: int) -> dict[str, Slope]:
        return {path: slope for path, slope in measured.slopes(step, Quantity.LOGITS).items() if path not in cosines}

    return Judge(
        plan=checked.largest,
        expected=expected,
        causes=causes,
        init={quantity: measured.slopes(0, quantity) for quantity in AT_INIT} | {Quantity.LOGITS: logits(0)},
        first={quantity: _first_slopes(measured, looks[0], quantity) for quantity in AT_FIRST_STEP},
        last={Quantity.LOGITS: logits(looks[-1])},
        factored=factored_modules(checked.ideal),
        routed=measured.routed,
        attention=dict.fromkeys(logits(looks[-1]) if attention else (), 0.5 - checked.table.attention),
        fades=bool(sources),
        early=(EARLY, EARLY + FAINT if sources else EARLY),
        eps_growth=EPS_GROWTH + FAINT if sources else EPS_GROWTH,
    )


def _offenders(checked: CheckedPlans, causes: Causes, measured: Measurements, judge: Judge) -> list[Offender]:
    """Offenders from the start, causes first; before all others a base width that is not one and the same."""
    offenders = judge.offenders()
    named = {show_width(width): plan for width, plan in zip(measured.widths, checked.plans, strict=True)}
    if (wrong_base := causes.base(named, checked.base_width)) is not None:
        offenders.insert(0, Offender(where="the plan", module="", what="its base width", slope=None, cause=wrong_base))
    return offenders


def _first_slopes(
    measured: Measurements, step: int, quantity: Quantity, predicted: Mapping[str, float | None] | None = None
) -> dict[str, Slope]:
    """Slopes by parameter after the first step, less those whose gradient is rounding."""
    slopes = measured.slopes(step, quantity, predicted)
    return {name: slope for name, slope in slopes.items() if name not in measured.rounding}


def _specs(task: Task, plan: Plan, seeds: Sequence[int], steps: int, lr: float) -> list[RunSpec]:
    template = RunSpec(
        task=label_of(task),
        width=plan.width,
        base_width=plan.base_width,
        hyperparameters={"lr": lr},
        parameterization=plan.parameterization,
        optimizer=plan.optimizer,
        form=plan.form,
        wd_policy=plan.wd_policy,
        scale_eps=plan.scale_eps,
        steps=steps,
    )
    return [replace(template, seed=seed) for seed in seeds]


def _observed(task: Task, widths: Sequence[Width]) -> Traces | None:
    """What forward passes at the two smallest widths show; None where the loss runs on none of the examples."""
    for batch in example_batches(task):
        try:
            return observe(Builds(task.build, base=widths[0], target=widths[1]), loss_on(task, batch))
        except ExampleError:
            continue
    return None


def _heads_grow(task: Task, widths: Sequence[Width]) -> bool:
    """Whether the size of attention heads differs between the two smallest widths."""
    for batch in example_batches(task):
        run = loss_on(task, batch)
        first, second = (
            {path: size for path, (size, _) in attention_logits(fresh(task.build, w), run).items()} for w in widths[:2]
        )
        if first and second:
            return any(second.get(path, size) != size for path, size in first.items())
    return False
