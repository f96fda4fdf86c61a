"""The coordinate check as numbers: how activations and their change scale with width over the first steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.errors import ConfigError, ExampleError
from mutransfer.measure.probes import changes, rms
from mutransfer.measure.slopes import Slope, fit_slope
from mutransfer.parameterization import regimes, rules
from mutransfer.parameterization.axes import Overrides
from mutransfer.parameterization.building import Width, preserved_random_state, show_width
from mutransfer.parameterization.examples import NOT_SEEN
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.regimes import Kind, Regime
from mutransfer.parameterization.rules import Family, Parameterization, Role
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.short import activations_around
from mutransfer.training.spec import HYPERPARAMETERS, RunSpec
from mutransfer.training.task import PROBE_SEED, PartsTask, Task, few, label_of
from mutransfer.transfer.study import default_device, width_size

TOLERANCE = 0.15  # on exponents; what finite widths leave over at ratios of 16 (theory: 0 or -1/2)
DEFAULT_LR = {Family.SGD: 0.1, Family.ADAM: 2.0**-8}


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """Slopes against width per module: "size" of the activation and its "change" since step 0, after ``steps``."""

    parameterization: str
    regime: Regime | None  # None: not predicted
    widths: tuple[Width, ...]
    steps: int
    slopes: Mapping[str, Mapping[str, Slope]]
    sizes: Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]]  # module -> quantity -> width -> seed
    at_init: Mapping[str, float]  # exponents of the sizes of readouts and bottlenecks before training
    factored: frozenset[str]  # modules whose output is multiplied by a factor that grows: not judged, what follows is
    diverged: tuple[Width, ...]  # widths at which an activation was not finite

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not scale as it should, a sentence each; empty where the check passes."""
        found = [f"activations are not finite at width {show_width(w)}" for w in self.diverged]
        if self.regime is not None and self.regime.kind in (Kind.UNSTABLE, Kind.DEGENERATE, Kind.TRIVIAL):
            found.append(f"{self.parameterization} is {self.regime.kind} ({self.regime.binding})")
        for module, quantities in self.slopes.items():
            found += [f"{q} of {module} goes like n^{s}" for q, s in quantities.items() if self._off(module, s)]
        return tuple(found)

    def _off(self, module: str, slope: Slope) -> bool:
        if module in self.factored:  # what is behind them is
            return False
        if slope.predicted is None:
            return slope.low > TOLERANCE
        # Logits start at their size at initialisation and only later move by the predicted power: in between
        # any slope from the one to the other is right.
        floor = min(slope.predicted, self.at_init.get(module, slope.predicted))
        return slope.low > slope.predicted + TOLERANCE or slope.high < floor - TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether every module scales as predicted and nothing grows without bound."""
        return not self.failures

    def table(self) -> str:
        """One line per module, as text."""
        width = max(len(m) for m in self.slopes) if self.slopes else 6
        lines = [f"{'module':{width}}  {'size':40}  change"]
        for module, q in self.slopes.items():
            cells = [str(q[name]) if name in q else "-" for name in ("size", "change")]
            lines.append(f"{module:{width}}  {cells[0]:40}  {cells[1]}")
        return "\n".join(lines)


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
    overrides: Overrides | None = None,
    device: torch.device | str | None = None,
    sink: Sink = silent,
) -> CoordinateCheck:
    """Train a few steps at every width and fit how activations scale.

    Args:
        build_or_task: a Task, or a factory together with ``batch`` and ``loss``.
        widths: at least two, spanning a factor of 8 or more for slopes to mean something.
        base_width: None takes the smallest of ``widths``.
        lr: base learning rate; None takes 0.1 for SGD and 2**-8 for the Adam family.
        batch: with a factory: a batch, or a function (seed, step) -> batch.
        loss: with a factory: (model, batch) -> scalar; None where the model itself returns a loss.

    Example::

        check = mt.coordinate_check(build, widths=[64, 128, 256, 512], batch=(x, y), loss=loss)
        assert check.passed, check.failures
    """
    ordered = sorted(widths, key=width_size)
    if len({width_size(w) for w in ordered}) < 2:
        raise ConfigError(f"a coordinate check needs at least two widths, found {list(widths)}")
    base = ordered[0] if base_width is None else base_width
    task = _task(build_or_task, batch, loss)
    table, kind = rules.parameterization(parameterization), rules.family(optimizer)
    if overrides is None:
        overrides = getattr(build_or_task, "overrides", None)
    where = default_device() if device is None else torch.device(device)
    seed_list = range(seeds) if isinstance(seeds, int) else seeds
    if not seed_list or steps < 1:
        raise ConfigError(f"a coordinate check needs at least one step and one seed, found {steps} and {seeds}")
    if optimizer not in HYPERPARAMETERS:
        raise ConfigError(f"optimizer must be one of {', '.join(HYPERPARAMETERS)}, found {optimizer!r}")
    measured: dict[str, dict[str, list[list[float]]]] = {}
    handed_on: dict[str, str] = {}
    diverged: list[Width] = []
    plan: Plan | None = None
    for i, width in enumerate(ordered):
        plan = _plan(
            task.build,
            lambda model: task.loss(model, few(task.batch(PROBE_SEED, 0))),
            width=width,
            base_width=base,
            parameterization=table,
            optimizer=optimizer,
            overrides=overrides,
        )
        for found, same in _runs(task, plan, seed_list, steps, lr or DEFAULT_LR[kind], where):
            handed_on |= same
            for module, quantities in found.items():
                for quantity, value in quantities.items():
                    rows = measured.setdefault(module, {}).setdefault(quantity, [[] for _ in ordered])
                    rows[i].append(value)
                    if value != value or value == float("inf"):
                        diverged.append(width)
        sink(Note(text=f"coordinate check, {table.name}: width {show_width(width)} done"))
    assert plan is not None
    roles = [s.role for s in plan.values()]
    # The init law of a model that is left as it is was not measured, so nothing can be predicted for it.
    regime = regimes.classify_model(table, roles, optimizer=optimizer) if table.corrects_init else None
    sizes = [width_size(w) for w in ordered]
    keep = [i for i, size in enumerate(sizes) if size >= 2 * width_size(base)]
    keep = keep if len(keep) >= 3 else list(range(len(sizes)))
    slopes: dict[str, dict[str, Slope]] = {}
    for module, quantities in measured.items():
        for quantity, rows in quantities.items():
            slope = fit_slope(
                [sizes[i] for i in keep],
                [rows[i] for i in keep],
                predicted=_predicted(handed_on.get(module, module), quantity, plan, regime),
            )
            if slope is not None:
                slopes.setdefault(module, {})[quantity] = slope
    return CoordinateCheck(
        parameterization=table.name,
        regime=regime,
        widths=tuple(ordered),
        steps=steps,
        slopes=slopes,
        sizes={m: {q: tuple(map(tuple, rows)) for q, rows in qs.items()} for m, qs in measured.items()},
        at_init=_at_init({m: handed_on.get(m, m) for m in measured}, plan, regime),
        factored=_factored(plan),
        diverged=tuple(dict.fromkeys(map(_hashable, diverged))),
    )


def _plan(build: Callable[..., nn.Module], example: Callable[[nn.Module], Tensor], **what: Any) -> Plan:
    try:
        return Plan.infer(build, example=example, **what)
    except ExampleError as error:  # the loss may need more than a few examples
        logging.getLogger("mutransfer").warning("%s. %s", error, NOT_SEEN)
        return Plan.infer(build, **what)


def _runs(
    task: Task, plan: Plan, seeds: Sequence[int], steps: int, lr: float, device: torch.device
) -> Iterator[tuple[dict[str, dict[str, float]], dict[str, str]]]:
    """For every seed: size and change of every module's output, and the modules that hand on a readout's."""
    template = RunSpec(
        task=label_of(task),
        width=plan.width,
        base_width=plan.base_width,
        hyperparameters={"lr": lr},
        parameterization=plan.parameterization,
        optimizer=plan.optimizer,
        steps=steps,
    )
    with preserved_random_state():
        for before, after in activations_around([replace(template, seed=seed) for seed in seeds], task, plan, device):
            moved = changes(before, after)
            found = {m: {"size": rms(after[m]), "change": moved[m]} for m in moved}
            yield found, {m: inner for m in moved if (inner := _handed_on(m, before, plan)) is not None}


def _handed_on(module: str, outputs: Mapping[str, Tensor], plan: Plan) -> str | None:
    """The readout whose output this module hands on: a head around it, or the model itself."""
    within = "" if module == "model" else f"{module}."
    inside = [m for m in outputs if m != module and m.startswith(within) and _is_readout(m, plan)]
    return next((m for m in inside if torch.equal(outputs[m], outputs[module])), None)


def _predicted(module: str, quantity: str, plan: Plan, regime: Regime | None) -> float | None:
    if regime is None or regime.kind in (Kind.UNSTABLE, Kind.DEGENERATE):
        return None
    roles = _roles(module, plan)
    if _is_readout(module, plan):
        change = regime.change[2]
        return change if quantity == "change" else max(change, regime.logits_at_init)
    if Role.BOTTLENECK in roles:  # fades at init, then moves: between the two is right
        change = regime.bottleneck_change
        return change if quantity == "change" or change is None else max(change, regime.bottleneck_at_init or 0.0)
    change = regime.change[0] if Role.INPUT in roles else regime.change[1]
    return change if quantity == "change" else 0.0


def _at_init(modules: Mapping[str, str], plan: Plan, regime: Regime | None) -> dict[str, float]:
    """Of readouts and bottlenecks, which under mup are fainter before training than in it.

    So are the siblings of a bottleneck that come after it, which it may feed: the output projection behind values with
    a fixed number of heads. ``modules`` names for each the one whose output it hands on, itself as a rule.
    """
    if regime is None:
        return {}
    start, faint = {}, set()
    for module, inner in modules.items():
        parent = module.rpartition(".")[0]
        if Role.BOTTLENECK in _roles(module, plan):
            faint.add(parent)
        if parent in faint and regime.bottleneck_at_init is not None:
            start[module] = regime.bottleneck_at_init
        if _is_readout(inner, plan):
            start[module] = regime.logits_at_init
    return start


def _factored(plan: Plan) -> frozenset[str]:
    """Where a factor that grows follows: the model's own, or the plan's on queries, meant for their product alone."""
    own = {name.rpartition(".")[0] or "model" for name, s in plan.items() if s.own_mult != 1.0}
    queries = {
        path for path, s in plan.sites.items() if s.kind == "attention logits" and s.mechanism.startswith("output")
    }
    return frozenset(own | queries)


def _roles(module: str, plan: Plan) -> set[Role]:
    return {s.role for name, s in plan.items() if (name.rpartition(".")[0] or "model") == module}


def _is_readout(module: str, plan: Plan) -> bool:
    tied = module in plan.sites and plan.sites[module].kind == "tied readout"
    return tied or Role.OUTPUT in _roles(module, plan)


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
