"""A plan measured before it is handed over: small models under it, one step, and what does not go as its table says.

Roles and multipliers come from rules, and rules meet models that they do not know. A second look that knows none of
them: at a few small widths the plan is applied, and the sizes of outputs and of attention's logits before training, and
what each parameter's own first update does, are compared with the powers of width that the table predicts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
from torch import nn

from mutransfer.errors import MutransferError
from mutransfer.intervals import Slope, at_confidence
from mutransfer.parameterization.judging.causes import Causes
from mutransfer.parameterization.judging.expected import factored_modules
from mutransfer.parameterization.judging.faint_sources import cosine_logits, faint_sources
from mutransfer.parameterization.judging.judge import Judge
from mutransfer.parameterization.judging.measured import Measurements
from mutransfer.parameterization.judging.offenders import TOLERANCE, Offender, grouped_by_cause, sentence_for
from mutransfer.parameterization.judging.small_models import at_width, small_widths, some_of_equal
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.parameterization.measuring.first_update import measurable, take_step
from mutransfer.parameterization.measuring.gradients import gradients_of, rounding_shares, trained
from mutransfer.parameterization.measuring.probe_loss import probe_loss
from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.measuring.updates import own_updates
from mutransfer.parameterization.measuring.watcher import FirstSteps, Watcher
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.install import install
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.theory.regimes import Kind, regime_of
from mutransfer.theory.rules import Parameterization
from mutransfer.widths import Width, show_width

SECONDS = 2.0  # spent at most, or
SHARE = 0.1  # of the time to build the target, whichever is more
ENTRIES_PER_SECOND = 2e7  # of parameters: drawn, stepped and compared; a slow machine's
FAINTER = 0.25  # by a power of up to this a first update of SGD may be fainter; behind attention by any, as values are
SEEDS = 2  # to begin with
SURE = 0.999  # there are many slopes, and a plan is refused by one: the confidence of their intervals
DOUBT = 0.5  # of the tolerance: from there on more seeds are asked
LEAST_SEEDS, MOST_SEEDS = 4, 12  # where something seems off, whatever that takes, and within the time


@dataclass(frozen=True, kw_only=True)
class PlanMeasurement:
    """What was found: the widths, the seeds, and what does not scale; ``reason`` where nothing could be measured."""

    widths: tuple[Width, ...] = ()
    seeds: int = 0
    offenders: tuple[Offender, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"not measured: {self.reason}"
        listed = ", ".join(map(show_width, self.widths))
        found = "; ".join(map(sentence_for, grouped_by_cause(self.offenders)))
        return f"measured at widths {listed}: {found or 'as the table predicts'}"


def measure_plan(builds: Builds, plan: Plan, table: Parameterization, traces: Traces | None) -> PlanMeasurement:
    """Build the model at small widths, put ``plan`` on it, take one step and compare with what ``table`` predicts.

    ``traces``: what a forward pass has shown, with the example; None: there is none. Takes 2 s or a tenth of the time
    to build the target, whichever is more. The random state is left as it was.
    """
    if find_spec("scipy") is None:
        return PlanMeasurement(reason="scipy, which intervals are made with, is not installed")
    if traces is None:
        return PlanMeasurement(reason="no inputs were found that the model runs on; give example=")
    if builds.base == builds.target:
        return PlanMeasurement(reason="at base width every plan is the model's own")
    if not table.corrects_init:
        return PlanMeasurement(reason=f"{table.name} leaves the model's initialisation as it is and predicts nothing")
    entries = sum(math.prod(shape) for shape in plan.shapes.values())
    budget = max(SECONDS, SHARE * entries / ENTRIES_PER_SECOND)
    widths = small_widths(builds, int(budget * ENTRIES_PER_SECOND / SEEDS / 2))
    if not widths:
        return PlanMeasurement(reason="the factory builds no small models at widths in proportion")
    plans = [at_width(plan, builds, width) for width in widths]
    measured = Measurements(widths, builds.base)
    logits = _logits(traces, table)
    judged = partial(_offenders, plan, plans, table, measured, traces, logits)
    stop, seeds, doubts, offenders = time.process_time() + budget, 0, False, ()
    while seeds < SEEDS or (doubts and seeds < (MOST_SEEDS if time.process_time() < stop else LEAST_SEEDS)):
        try:
            for i, (width, its) in enumerate(zip(widths, plans, strict=True)):
                model = builds.fresh(width, seeds)
                measured.add(
                    i, _one_seed(model, its, traces.example, attention=bool(logits), first=not seeds), its, plan
                )
        except MutransferError:
            raise
        except Exception as error:  # whatever the user's code does in a backward pass, or in modules run alone
            return PlanMeasurement(reason=f"{type(error).__name__}: {error}")
        seeds += 1
        doubts = seeds >= SEEDS and any(judged(sure=False))
        if doubts and seeds >= LEAST_SEEDS and (offenders := tuple(judged(sure=True))):
            break
    return PlanMeasurement(widths=tuple(widths), seeds=seeds, offenders=offenders)


def _one_seed(model: nn.Module, plan: Plan, example: Example, *, attention: bool, first: bool) -> FirstSteps:
    """Measurements of a fresh model before and after its first step under ``plan``; of the ``first`` rounding too."""
    install(model, plan)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(plan[name].init_mult)
    parameters = trained(model)
    loss = partial(probe_loss, example=example)
    watcher = Watcher(model, loss, attention=attention, only=some_of_equal(model))
    with evaluating(model), torch.enable_grad():
        value = loss(model)
        gradients = gradients_of(value, parameters)
        rounding = rounding_shares(value, parameters, gradients) if first else {}
    watcher.note(0, watcher.at_start(model) | {Quantity.ROUNDING: rounding})
    if measurable(plan):
        take_step(parameters, gradients, plan)
        watcher.note(1, {Quantity.UPDATE: own_updates(model, watcher.start)})
    return watcher.steps_taken


def _offenders(
    plan: Plan,
    plans: Sequence[Plan],
    table: Parameterization,
    measured: Measurements,
    traces: Traces,
    logits: Mapping[str, float],
    *,
    sure: bool,
) -> Iterator[Offender]:
    """What is off; unless it must be ``sure``, what seems to be, by the slopes' values and with some doubt."""
    regime = regime_of(plan, table)
    expected = measured.expected(plans[-1], regime)
    sizes = {name: _predicted(expected.at_init(name)) for name in measured.named(0, Quantity.SIZE)}
    theory = {
        Quantity.SIZE: sizes,
        Quantity.SPREAD: sizes,
        Quantity.UPDATE: {name: expected.update(name) for name in plan},
    }

    def slopes(step: int, quantity: Quantity) -> dict[str, Slope]:
        fitted = measured.slopes(step, quantity, theory.get(quantity))
        sound = {name: slope for name, slope in fitted.items() if name not in measured.rounding}
        return {name: at_confidence(slope, SURE if sure else 0.0) for name, slope in sound.items()}

    init: dict[str, dict[str, Slope]] = {
        q: slopes(0, q) for q in (Quantity.SIZE, Quantity.SPREAD, Quantity.INPUT, Quantity.LOGITS)
    }
    # A bias would hide that what is multiplied with a matrix fades; where the whole grows, it is itself too large.
    grown = {m for m, slope in init[Quantity.SIZE].items() if slope.value > TOLERANCE and m not in expected.readouts}
    init[Quantity.SIZE] |= {
        m: slope for m, slope in init[Quantity.SPREAD].items() if f"{m}.bias" in plan and m not in grown
    }
    yield from Judge(
        plan=plans[-1],
        expected=expected,
        causes=Causes(plan, None, table),
        init=init,
        first={} if regime is None or regime.kind is Kind.UNSTABLE else {Quantity.UPDATE: slopes(1, Quantity.UPDATE)},
        last={Quantity.LOGITS: init[Quantity.LOGITS]},
        factored=factored_modules(plans[-1]),
        routed=measured.routed,
        attention=logits,
        logit_tolerance=TOLERANCE,
        fades=bool(faint_sources(plan, traces)),
        early=(0.0, math.inf if traces.base.attention else FAINTER),
        unaligned=measured.unaligned(),
        bounded=0.0,
        slack=1.0 if sure else DOUBT,
    ).offenders()


def _logits(traces: Traces, table: Parameterization) -> dict[str, float]:
    """The power that the logits of each attention start with whose heads grow, and which are no cosines."""
    cosines = cosine_logits(traces)
    return {
        path: 0.5 - table.attention
        for path, attention in traces.target.attention.items()
        if (first := traces.base.attention.get(path)) is not None
        and first.head_size != attention.head_size
        and path not in cosines
    }


def _predicted(within: tuple[float, float] | None) -> float | None:
    return None if within is None else within[1]
