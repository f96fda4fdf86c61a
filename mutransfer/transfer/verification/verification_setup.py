"""The setup of a verification: transferred values at base width, where they were searched, and how widths are swept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mutransfer.errors import ConfigError
from mutransfer.theory.content import named_by_content
from mutransfer.theory.rules import Parameterization
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.transfer.runs.seeds import seed_tuple
from mutransfer.transfer.search.space import Axis, Choice, Value
from mutransfer.transfer.search.tune import TuneResult, make_template
from mutransfer.transfer.verification.optimum_by_step import changed_settings
from mutransfer.widths import Width


@dataclass(frozen=True, kw_only=True)
class VerificationSetup:
    """Transferred values at base width, where they were searched, and how every width is swept."""

    template: RunSpec  # at base width
    table: Parameterization
    axes: Mapping[str, Axis]  # where values were searched
    searched: tuple[str, ...]
    grid: Sequence[float]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()  # what differs from tuning

    @property
    def transferred(self) -> float:
        """The transferred learning rate, log2."""
        return _log2_lr(self.template)


def setup_from_search(
    task: Task,
    tuned: TuneResult,
    parameterization: str | Parameterization | None,
    grid: Sequence[float] | None,
    seeds: int | Sequence[int] | None,
    training: Mapping[str, Any],
) -> VerificationSetup:
    """The setup that goes on where a search stopped; None: as when tuning.

    Raises ConfigError for what is no training setting.
    """
    table = tuned.table if parameterization is None else named_by_content(parameterization)
    template = _retrained(replace(tuned.template, task=label_of(task)), training)
    template = replace(template, parameterization=table.name)
    lr = tuned.space.get("lr")
    assert not isinstance(lr, Choice)
    if grid is None:
        grid = _around(_log2_lr(template)) if lr is None else lr.grid()
    return VerificationSetup(
        template=template,
        table=table,
        axes=tuned.space,
        searched=tuple(tuned.space),
        grid=grid,
        seeds=tuned.seeds if seeds is None else seed_tuple(seeds),
        notes=changed_settings(tuned.template, template),
    )


def setup_from_values(
    task: Task,
    values: Mapping[str, Value],
    base_width: Width | None,
    parameterization: str | Parameterization | None,
    grid: Sequence[float] | None,
    seeds: int | Sequence[int] | None,
    training: Mapping[str, Any],
) -> VerificationSetup:
    """The setup of values that came from elsewhere.

    Raises ConfigError without a base width, or for what is no training setting.
    """
    if base_width is None:
        raise ConfigError("verify needs base_width where tuned is a mapping of hyperparameters")
    table = named_by_content("mup" if parameterization is None else parameterization)
    template = make_template(task, base_width=base_width, parameterization=table, point=values, **training)
    return VerificationSetup(
        template=template,
        table=table,
        axes={},
        searched=tuple(values),
        grid=_around(_log2_lr(template)) if grid is None else grid,
        seeds=seed_tuple(3 if seeds is None else seeds),
    )


def _log2_lr(spec: RunSpec) -> float:
    """The learning rate of a spec as a point of a grid."""
    return round(math.log2(spec.lr), 6)


def _around(log2_lr: float) -> list[float]:
    """A grid of whole octaves around a learning rate that nothing else is known of."""
    return [log2_lr + i for i in range(-4, 5)]


def _retrained(template: RunSpec, training: Mapping[str, Any]) -> RunSpec:
    try:
        return replace(template, **training)
    except TypeError as error:
        raise ConfigError(f"not a training setting: {error}") from None
