"""The search that a config asks for, in the values of the tuner: its space, grid and runs."""

from __future__ import annotations

from typing import Any

from mutransfer.config.schema import RangeConfig, StudyConfig
from mutransfer.theory.rules import Parameterization
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task
from mutransfer.transfer.search.space import Axis, Choice, Range
from mutransfer.transfer.search.tune import make_template


def search_space(config: StudyConfig) -> dict[str, Axis]:
    """Axes of the space by hyperparameter."""
    return {name: _axis(given) for name, given in config.space.items()}


def lr_grid(config: StudyConfig) -> list[float]:
    """Learning rates on the grid of the space, log2; nine where the learning rate is not searched on a range."""
    lr = search_space(config).get("lr")
    return lr.grid() if isinstance(lr, Range) else [float(x) for x in range(-4, 5)]


def study_template(config: StudyConfig, task: Task, table: Parameterization) -> RunSpec:
    """The run at base width, at the start of every axis, that all runs of the study vary."""
    start: dict[str, Any] = {name: axis.start for name, axis in search_space(config).items()}
    return make_template(
        task,
        base_width=config.base_width,
        parameterization=table,
        point={"lr": 2.0**-8, **config.fixed, **start},
        optimizer=config.optimizer,
        **config.training.model_dump(),
    )


def _axis(given: RangeConfig) -> Axis:
    if given.log2 is not None:
        return Range(low=2.0 ** given.log2[0], high=2.0 ** given.log2[1], spacing=given.spacing)
    if given.linear is not None:
        return Range(low=given.linear[0], high=given.linear[1], log=False, spacing=given.spacing)
    return Choice(tuple(given.choices or ()))
