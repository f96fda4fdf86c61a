"""Events of a running job. Lower rooms emit them into a sink that is passed in; `report` shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mutransfer.training.spec import RunResult, RunSpec


@dataclass(frozen=True, kw_only=True)
class PhaseStarted:
    """A batch of runs is about to be done: what is left of it, and how many are in the record already."""

    title: str
    queued: Sequence[RunSpec] = ()
    already_done: int = 0


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    spec: RunSpec


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """Values of one step of one run, e.g. {"train/loss": 0.3}."""

    spec: RunSpec
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    spec: RunSpec
    result: RunResult


@dataclass(frozen=True, kw_only=True)
class PhaseFinished:
    title: str


@dataclass(frozen=True, kw_only=True)
class SweepFinished:
    """The curve of one width is known: losses per log2 learning rate, and the optimum with its interval."""

    title: str
    curve: Mapping[float, Sequence[float]]
    log2_lr: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence for the person watching; ``data`` for machines."""

    text: str
    data: Mapping[str, object] = field(default_factory=dict)


Event = PhaseStarted | RunStarted | Scalars | RunFinished | PhaseFinished | SweepFinished | Note
Sink = Callable[[Event], None]


def silent(event: Event) -> None:
    """The sink that drops everything."""
