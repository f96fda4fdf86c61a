"""The transfer check: widths x learning rates x seeds, optimum and regret with intervals, feature movement, verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mutransfer.errors import ConfigError
from mutransfer.measure.slopes import Slope, fit_slope
from mutransfer.parameterization import regimes, rules
from mutransfer.parameterization.building import Width, show_width
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.regimes import Kind
from mutransfer.parameterization.rules import Parameterization
from mutransfer.training.events import Sink, silent
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task
from mutransfer.transfer.estimate import Interval, Optimum
from mutransfer.transfer.evidence import weigh
from mutransfer.transfer.features import beyond_base, feature_change, is_input, overall_slope
from mutransfer.transfer.over_training import OverTraining, over_training
from mutransfer.transfer.study import Record, Runner, width_size
from mutransfer.transfer.sweep import Sweep, sweep
from mutransfer.transfer.tuner import TuneResult, make_template
from mutransfer.transfer.verdict import (
    Movement,
    Verdict,
    exit_code,
    headline,
    judge_movement,
    judge_transfer,
    sentence,
)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict for one parameterization and everything behind it; keys of mappings are widths."""

    parameterization: str
    verdict: Verdict
    reason: str
    movement: Movement
    movement_reason: str
    optima: Mapping[str | int, Optimum]
    drift: Slope | None  # octaves per doubling
    regret: Mapping[str | int, Interval]  # log loss at the transferred learning rate minus the width's best
    tolerance: float  # regret that is called small, in log loss
    drift_tolerance: float  # drift that costs no more than that at the largest width
    transferred_log2_lr: float
    sweeps: Mapping[str | int, Sweep]
    features: Mapping[str, Slope]  # module -> slope of relative feature change
    feature_change: Mapping[str, Mapping[str | int, tuple[float, ...]]]  # module -> width -> per seed
    overall_features: Slope | None
    over_training: OverTraining  # kernel drift, alignment and refined coordinate check at the transferred rate

    @property
    def headline(self) -> str:
        return headline(self.verdict, self.movement)

    @property
    def exit_code(self) -> int:
        return exit_code(self.verdict, self.movement)

    @property
    def sentence(self) -> str:
        keys = list(self.optima)
        return sentence(
            self.verdict,
            self.movement,
            parameterization=self.parameterization,
            base=str(keys[0]),
            largest=str(keys[-1]),
            drift=self.drift,
        )


def verify(
    task: Task,
    tuned: TuneResult | Mapping[str, float],
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

    Returns a :class:`Verification` with ``.verdict``, ``.movement``, ``.optima``, ``.drift`` and ``.regret``.
    """
    if isinstance(tuned, TuneResult):
        template, table = _retrained(tuned.template, training), tuned.table
        seed_list: Sequence[int] = tuned.seeds if seeds is None else _seeds(seeds)
        lr_range = tuned.space.get("lr")
    else:
        if base_width is None:
            raise ConfigError("verify needs base_width where tuned is a mapping of hyperparameters")
        template = make_template(
            task,
            base_width=base_width,
            parameterization=parameterization or "mup",
            hyperparameters=dict(tuned),
            **training,
        )
        table = rules.parameterization("mup")
        seed_list, lr_range = _seeds(3 if seeds is None else seeds), None
    if parameterization is not None:
        table = rules.parameterization(parameterization)
    template = replace(template, parameterization=table.name)
    transferred = round(math.log2(template.lr), 6)
    if grid is None:
        grid = lr_range.grid() if lr_range else [transferred + i for i in range(-4, 5)]
    runner = Runner(task, record=record, device=device, sink=sink, tables=[table], members=members)
    ordered = _ordered(template.base_width, widths)
    sweeps = {
        _key(width): sweep(
            runner,
            replace(template, width=width),
            grid,
            seed_list,
            title=f"{table.name}, width {show_width(width)}",
            also=[transferred],
        )
        for width in ordered
    }
    plan = runner.plan(replace(template, width=ordered[-1]))
    return judge(table, sweeps, transferred, plan)


def judge(table: Parameterization, sweeps: Mapping[str | int, Sweep], transferred: float, plan: Plan) -> Verification:
    """The verification that finished sweeps amount to, base width first and largest last; no run is made."""
    keys = list(sweeps)
    largest = sweeps[keys[-1]]
    sizes = [width_size(s.template.width) for s in sweeps.values()]
    optimizer, roles = plan.optimizer, [s.role for s in plan.values()]
    known = table.corrects_init  # the init law of a model left as it is was not measured, so nothing is predicted
    regime = regimes.classify_model(table, roles, optimizer=optimizer) if known else None
    predicted_drift = regimes.drift(table, optimizer=optimizer, depth=regimes.depth_of(roles)) if known else None
    # What is unstable is predicted for the first step alone; nothing is, for the end of training.
    change_law = regime.change if regime is not None and regime.kind in (Kind.KERNEL, Kind.FEATURE_LEARNING) else None
    found = weigh(
        {key: s.curve for key, s in sweeps.items()},
        {key: s.ceiling for key, s in sweeps.items()},
        sizes,
        transferred,
        predicted_drift=predicted_drift,
    )
    verdict, reason = judge_transfer(
        regret={str(key): r for key, r in found.regret.items()},
        tolerance=found.tolerance,
        drift=found.drift,
        drift_tolerance=found.drift_tolerance,
        diverged={str(key): n for key, s in sweeps.items() if (n := s.diverged_at(transferred))},
        edges={str(key): o.at_edge for key, o in found.optima.items() if o.at_edge},
        base=str(keys[0]),
        seeds=len(largest.seeds),
        points=len(largest.results),
    )
    too_large = [str(key) for key, s in sweeps.items() if s.out_of_memory_at(transferred)]
    if too_large and verdict is not Verdict.UNSTABLE:
        verdict, reason = Verdict.INCONCLUSIVE, f"the memory does not hold width {', '.join(too_large)}"
    change = feature_change(sweeps, transferred, plan)
    fitted = beyond_base(keys, sizes)
    features = {}
    for module, by_width in change.items():
        predicted = None if change_law is None else change_law[0 if is_input(module, plan) else 1]
        slope = fit_slope([sizes[keys.index(k)] for k in fitted], [by_width[k] for k in fitted], predicted=predicted)
        if slope is not None:
            features[module] = slope
    overall = overall_slope(change, fitted, sizes, keys, None if change_law is None else change_law[1])
    movement, movement_reason = judge_movement(overall)
    return Verification(
        parameterization=table.name,
        verdict=verdict,
        reason=reason,
        movement=movement,
        movement_reason=movement_reason,
        optima=found.optima,
        drift=found.drift,
        regret=found.regret,
        tolerance=found.tolerance,
        drift_tolerance=found.drift_tolerance,
        transferred_log2_lr=transferred,
        sweeps=sweeps,
        features=features,
        feature_change=change,
        overall_features=overall,
        over_training=over_training(sweeps, transferred, plan, regime, sizes),
    )


def _ordered(base: Width, widths: Sequence[Width]) -> list[Width]:
    rest = sorted((w for w in widths if w != base), key=width_size)
    if not rest:
        raise ConfigError(f"verify needs at least one width besides the base {show_width(base)}, found {list(widths)}")
    return [base, *rest]


def _key(width: Width) -> str | int:
    return width if isinstance(width, int) else show_width(width)


def _retrained(template: RunSpec, training: Mapping[str, Any]) -> RunSpec:
    try:
        return replace(template, **training)
    except TypeError as error:
        raise ConfigError(f"not a training setting: {error}") from None


def _seeds(seeds: int | Sequence[int]) -> Sequence[int]:
    return range(seeds) if isinstance(seeds, int) else seeds
