"""The coordinate check as numbers: how activations and their change scale with width over the first steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.errors import ConfigError, ExampleError
from mutransfer.intervals import Slope, fit_slope
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.compare_widths import Overrides
from mutransfer.parameterization.tracing.examples import NOT_SEEN, fresh
from mutransfer.random_state import preserved_random_state
from mutransfer.theory import regimes, rules
from mutransfer.theory.regimes import Kind, Regime
from mutransfer.theory.rules import Family, Parameterization
from mutransfer.training.batches import few_examples
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.first_steps import FirstSteps, attention_logits, first_steps
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import PROBE_SEED, Task, label_of
from mutransfer.training.task_adapters import PartsTask
from mutransfer.transfer.coordinates.causes import TITLES, Causes, reference
from mutransfer.transfer.coordinates.expected import Expected, handed_on, is_readout, owner
from mutransfer.transfer.coordinates.offenders import EARLY, TOLERANCE, Judge, Offender, said, together
from mutransfer.transfer.runs.runner import default_device
from mutransfer.widths import Width, show_width, width_size

LOOKS = (1, 2)  # steps after which there is a look besides the last one
OF_MODULES = ("size", "change", "effective", "propagated")

Rows = tuple[tuple[float, ...], ...]  # width -> seed
Slopes = dict[str, dict[str, Slope]]  # quantity -> module or parameter -> slope


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """Slopes against width per module and step, those that theory expects, and what does not scale.

    Quantities of a module's output on a fixed batch: "size"; its "change" since step 0, which is the sum of the
    "effective" update (W_t - W_0) x_t and of what was "propagated" to it, W_0 (x_t - x_0).
    """

    parameterization: str
    optimizer: str
    regime: Regime | None  # None: not predicted
    widths: tuple[Width, ...]
    steps: int
    slopes: Mapping[str, Mapping[str, Slope]]  # module -> quantity, after ``steps``
    by_step: Mapping[int, Mapping[str, Mapping[str, Slope]]]  # step -> module -> quantity; step 0: "size"
    updates: Mapping[str, Slope]  # parameter -> what its update alone does to its module's output after one step
    sizes: Mapping[str, Mapping[str, Rows]]  # module -> quantity -> width -> seed, after ``steps``
    at_init: Mapping[str, float]  # exponents of the sizes of readouts and bottlenecks before training
    factored: frozenset[str]  # modules whose output is multiplied by a factor that grows: not judged, what follows is
    diverged: tuple[Width, ...]  # widths at which an activation was not finite
    offenders: tuple[Offender, ...]  # causes of what does not scale, first things first

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not scale as it should, a sentence each, causes first; empty where the check passes."""
        found = [f"activations are not finite at width {show_width(w)}" for w in self.diverged]
        if self.regime is not None and self.regime.kind in (Kind.UNSTABLE, Kind.DEGENERATE, Kind.TRIVIAL):
            found.append(f"{self.parameterization} is {self.regime.kind} ({self.regime.binding})")
        found += map(said, together(self.offenders))
        if symptoms := self.symptoms:
            found.append(("in consequence, " if self.offenders else "") + "; ".join(symptoms))
        return tuple(found)

    @property
    def symptoms(self) -> tuple[str, ...]:
        """Modules whose size or change is off after the last step, and which grow too fast at an earlier one."""
        found = []
        for module, quantity, step, slope in self.unexpected():
            when = "" if step == self.steps else f" after step {step}"
            found.append(f"{quantity} of {module} goes like n^{slope}{when}")
        return tuple(found)

    def unexpected(self) -> Iterator[tuple[str, str, int, Slope]]:
        """What ``symptoms`` says, as module, quantity, step and slope."""
        for module, quantities in self.slopes.items():
            for q in ("size", "change"):
                if q in quantities and self._off(module, quantities[q]):
                    yield module, q, self.steps, quantities[q]
                    continue
                for step, modules in self.by_step.items():
                    slope = modules.get(module, {}).get(q)
                    if step and slope is not None and self._off(module, slope, growth=True):
                        yield module, q, step, slope
                        break

    def _off(self, module: str, slope: Slope, *, growth: bool = False) -> bool:
        if module in self.factored:  # what is behind them is
            return False
        if slope.predicted is None:
            return slope.low > TOLERANCE
        # Logits start at their size at initialisation and only later move by the predicted power: in between
        # any slope from the one to the other is right.
        # So does a size where the change fades (the kernel regime) and is most of it at small width.
        changed = self.slopes[module].get("change")
        fading = slope.predicted if changed is None or changed.predicted is None else changed.predicted
        floor = min(slope.predicted, self.at_init.get(module, slope.predicted), fading)
        if rules.family(self.optimizer) is Family.SGD:  # a gradient starts fainter, until what reads it has aligned
            floor -= EARLY
        return slope.low > slope.predicted + TOLERANCE or (not growth and slope.high < floor - TOLERANCE)

    @property
    def passed(self) -> bool:
        """Whether every module scales as predicted and nothing grows without bound."""
        return not self.failures

    def table(self) -> str:
        """One line per module and step, as text."""
        rows = [
            [module if first else "", str(step), *(str(q.get(name, "-")) for name in OF_MODULES)]
            for module in self.slopes
            for first, (step, q) in _numbered((s, m[module]) for s, m in self.by_step.items() if module in m)
        ]
        rows.insert(0, ["module", "step", *OF_MODULES])
        sizes = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(f"{c:{n}}" for c, n in zip(r, sizes, strict=True)).rstrip() for r in rows)


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
    plan: Callable[[Width], Plan] | None = None,
    overrides: Overrides | None = None,
    device: torch.device | str | None = None,
    sink: Sink = silent,
) -> CoordinateCheck:
    """Train a few steps at every width, fit how activations scale, and name what does not scale as it should.

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
    base = ordered[0] if base_width is None else base_width
    task = _task(build_or_task, batch, loss)
    if overrides is None:
        overrides = getattr(build_or_task, "overrides", None)
    where = default_device() if device is None else torch.device(device)
    seed_list = range(seeds) if isinstance(seeds, int) else seeds
    if not seed_list or steps < 1:
        raise ConfigError(f"a coordinate check needs at least one step and one seed, found {steps} and {seeds}")

    def example(model: nn.Module) -> Tensor:
        return task.loss(model, few_examples(task.batch(PROBE_SEED, 0)))

    plans: list[Plan] = [] if plan is None else [plan(width) for width in ordered]
    if plans:
        if base_width is None:
            base = plans[0].base_width
        optimizer = plans[0].optimizer
        if not isinstance(parameterization, Parameterization):
            parameterization = plans[0].parameterization
    lr = lr or optimizer_rule(optimizer).check_lr
    table = rules.parameterization(parameterization)
    if not plans:
        what = {"parameterization": table, "optimizer": optimizer, "overrides": overrides}
        plans = [_plan(task.build, example, width=w, base_width=base, **what) for w in ordered]
    last = plans[-1]
    # Of a plan that was inferred without a word of the user's it is known what an inferred one is.
    right: Plan | None = last
    if plan is not None or overrides:
        right = reference(task.build, last, base, table, overrides if plan is not None else None, example)
    # Whose roles say what is to be expected: overrides are the user's word, an edited plan is what is checked.
    ideal = right if plan is not None and right is not None else last
    attention = _heads_grow(task, ordered)
    looks = tuple(sorted({*(n for n in LOOKS if n < steps), steps}))
    measured = _Measured(ordered, base)
    with preserved_random_state():
        for i, (width, its) in enumerate(zip(ordered, plans, strict=True)):
            specs = _specs(task, its, seed_list, steps, lr)
            for seen in first_steps(specs, task, its, where, looks, attention=attention):
                measured.take(i, seen, its, ideal)
            sink(Note(text=f"coordinate check, {table.name}: width {show_width(width)} done"))
    # The init law of a model that is left as it is was not measured, so nothing can be predicted for it.
    roles = [s.role for s in ideal.values()]
    known = table.corrects_init
    regime = regimes.classify_model(table, roles, optimizer=optimizer, scale_eps=last.scale_eps) if known else None
    expected = measured.expected(ideal, regime)
    by_step = {step: measured.modules(step, expected) for step in (0, *looks)}
    factored = _factored(ideal)
    causes = Causes(last, right, table)
    offenders = Judge(
        plan=last,
        expected=expected,
        causes=causes,
        init={q: measured.slopes(0, q, {}) for q in ("size", "spread", "input", "logits")},
        first={q: measured.slopes(looks[0], q, {}) for q in ("update", "eps over gradient")},
        last={"logits": measured.slopes(steps, "logits", {})},
        factored=factored,
        attention=0.5 - table.attention if attention else None,
    ).offenders()
    named = {show_width(w): p for w, p in zip(ordered, plans, strict=True)}
    if (wrong_base := causes.base(named, base)) is not None:
        offenders.insert(0, Offender(where="the plan", module="", what="its base width", slope=None, cause=wrong_base))
    finals = by_step[steps]
    check = CoordinateCheck(
        parameterization=table.name,
        optimizer=optimizer,
        regime=regime,
        widths=tuple(ordered),
        steps=steps,
        slopes=finals,
        by_step=by_step,
        updates=measured.slopes(looks[0], "update", {n: expected.update(n) for n in last}),
        sizes={m: {q: measured.rows(steps, q, m) for q in OF_MODULES} for m in measured.named(steps, "size")},
        at_init=expected.faint(),
        factored=factored,
        diverged=tuple(dict.fromkeys(map(_hashable, measured.diverged))),
        offenders=tuple(offenders),
    )
    return check if offenders else replace(check, offenders=tuple(_seen_late(check, causes)))


def _seen_late(check: CoordinateCheck, causes: Causes) -> Iterator[Offender]:
    """Where nothing was off at first: what the plan has otherwise than the inferred one where something is later."""
    blamed: set[str] = set()
    for module, quantity, step, slope in check.unexpected():
        for name in causes.plan:
            if owner(name) == module and name not in blamed and causes.differs(name, *TITLES):
                blamed.add(name)
                what = f"{quantity} of its module's output after step {step}"
                yield Offender(
                    where=name, module=module, what=what, slope=slope, cause=causes.of(name, tuple(TITLES), slope.value)
                )


class _Measured:
    """Numbers by step, quantity and name, for every width and seed."""

    def __init__(self, widths: Sequence[Width], base: Width) -> None:
        self.widths = widths
        self.sizes = [width_size(w) for w in widths]
        # Widths of at least twice the base, where small-width corrections have died out, if three remain.
        wide = [i for i, size in enumerate(self.sizes) if size >= 2 * width_size(base)]
        self.keep = wide if len(wide) >= 3 else list(range(len(self.sizes)))
        self.found: dict[tuple[int, str, str], list[list[float]]] = {}
        self.names: dict[tuple[int, str], dict[str, None]] = {}
        self.diverged: list[Width] = []
        self.handed_on: dict[str, str] = {}
        self.readouts: set[str] = set()
        self._last_dims: dict[str, set[int]] = {}

    def take(self, at: int, seen: FirstSteps, plan: Plan, ideal: Plan) -> None:
        """``plan``: of this width; ``ideal``: any whose roles are right."""
        for step, quantities in seen.looks.items():
            for quantity, numbers in quantities.items():
                for name, value in numbers.items():
                    if quantity == "gradient":
                        self._add(step, "eps over gradient", name, at, _eps_ratio(plan, name, value))
                        continue
                    self._add(step, quantity, name, at, value)
                    if not math.isfinite(value):
                        self.diverged.append(self.widths[at])
        outputs = {m: x for m, x in seen.outputs.items() if x.ndim}
        own = {owner(name) for name in ideal}
        for module, output in outputs.items():
            self._last_dims.setdefault(module, set()).add(output.shape[-1])
        # A tied readout that the plan does not know of: no parameter is its own, and its output does not grow.
        tied = {m for m, sizes in self._last_dims.items() if m not in own and len(sizes) == 1 and m != "model"}
        self.readouts = {m for m in seen.outputs if is_readout(m, ideal)} | tied
        self.handed_on = handed_on(seen.outputs, self.readouts)

    def rows(self, step: int, quantity: str, name: str) -> Rows:
        return tuple(map(tuple, self.found.get((step, quantity, name), [])))

    def slopes(self, step: int, quantity: str, predicted: Mapping[str, float | None]) -> dict[str, Slope]:
        fitted = {name: self._slope(step, quantity, name, predicted.get(name)) for name in self.named(step, quantity)}
        return {name: slope for name, slope in fitted.items() if slope is not None}

    def modules(self, step: int, expected: Expected) -> Slopes:
        """Slopes by module and quantity, beside what is expected."""
        found: Slopes = {}
        for quantity in OF_MODULES:
            for name in self.named(step, quantity):
                within = expected.at_init(name) if step == 0 else None
                predicted = within[1] if within is not None else None if step == 0 else expected.of(name, quantity)
                slope = self._slope(step, quantity, name, predicted)
                if slope is not None:
                    found.setdefault(name, {})[quantity] = slope
        return found

    def expected(self, plan: Plan, regime: Regime | None) -> Expected:
        growth = self.sizes[-1] / width_size(plan.base_width)
        return Expected(plan, regime, self.handed_on, frozenset(self.readouts), growth)

    def _add(self, step: int, quantity: str, name: str, at: int, value: float) -> None:
        self.names.setdefault((step, quantity), {})[name] = None
        self.found.setdefault((step, quantity, name), [[] for _ in self.widths])[at].append(value)

    def named(self, step: int, quantity: str) -> list[str]:
        return list(self.names.get((step, quantity), {}))

    def _slope(self, step: int, quantity: str, name: str, predicted: float | None) -> Slope | None:
        rows = self.found[step, quantity, name]
        return fit_slope([self.sizes[i] for i in self.keep], [rows[i] for i in self.keep], predicted=predicted)


def _eps_ratio(plan: Plan, name: str, gradient: float) -> float:
    return plan[name].eps_mult / gradient if name in plan and gradient > 0 else math.nan


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


def _heads_grow(task: Task, widths: Sequence[Width]) -> bool:
    """Whether the size of attention heads differs between the two smallest widths."""
    probe = few_examples(task.batch(PROBE_SEED, 0))
    sizes = [
        {path: size for path, (size, _) in attention_logits(task, fresh(task.build, w), probe).items()}
        for w in widths[:2]
    ]
    return any(sizes[1].get(path, size) != size for path, size in sizes[0].items())


def _numbered(items: Any) -> Any:
    return ((i == 0, item) for i, item in enumerate(items))


def _plan(build: Callable[..., nn.Module], example: Callable[[nn.Module], Tensor], **what: Any) -> Plan:
    try:
        return Plan.infer(build, example=example, **what)
    except ExampleError as error:  # the loss may need more than a few examples
        logging.getLogger("mutransfer").warning("%s. %s", error, NOT_SEEN)
        return Plan.infer(build, **what)


def _factored(plan: Plan) -> frozenset[str]:
    """Where a factor that grows follows: the model's own, or the plan's on queries, meant for their product alone."""
    own = {name.rpartition(".")[0] or "model" for name, s in plan.items() if s.own_mult != 1.0}
    queries = {
        path for path, s in plan.sites.items() if s.kind == "attention logits" and s.mechanism.startswith("output")
    }
    return frozenset(own | queries)


def _task(build_or_task: Any, batch: Any, loss: Callable[[nn.Module, Any], Tensor] | None) -> Task:
    if all(hasattr(build_or_task, m) for m in ("build", "batch", "loss")):
        return build_or_task
    if batch is None:
        raise ConfigError(
            "a coordinate check of a factory needs batch=..., a batch or a function (seed, step) -> batch"
        )
    draw = batch if callable(batch) else lambda seed, step: batch
    return PartsTask(model=build_or_task, data=draw, loss_fn=loss or _own_loss, label="coordinate check")


def _own_loss(model: nn.Module, batch: Any) -> Tensor:
    out = model(**batch) if isinstance(batch, Mapping) else model(*batch) if isinstance(batch, tuple) else model(batch)
    found = out if isinstance(out, Tensor) else getattr(out, "loss", None)
    if found is None and isinstance(out, Mapping):
        found = out.get("loss")
    if not isinstance(found, Tensor) or found.ndim:
        raise ConfigError("the model returns no scalar loss: give loss=..., a function (model, batch) -> scalar")
    return found


def _hashable(width: Width) -> Any:
    return width if isinstance(width, int) else show_width(width)
