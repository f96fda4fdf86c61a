"""Sinks for a person at a terminal, for a log file, and for a program (JSON lines)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mutransfer.report.console_lines import run_line, sweep_line
from mutransfer.report.text import for_terminal
from mutransfer.report.time_left import Clock, duration
from mutransfer.training.events import (
    Event,
    Note,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    Sink,
    SweepFinished,
)
from mutransfer.training.spec import Outcome, RunSpec


class TerminalSink:
    """A progress bar per phase with done, diverged and time left, then the curve in one line."""

    def __init__(self, console: Console) -> None:
        self.console, self.clock = console, Clock()
        self._progress: Progress | None = None
        self._queued: list[RunSpec] = []
        self._done = self._diverged = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._start(event)
        elif isinstance(event, RunFinished) and self._progress is not None:
            self._advance(event)
        elif isinstance(event, PhaseFinished):
            self.close()
        elif isinstance(event, SweepFinished):
            self.console.print(for_terminal(f"  {sweep_line(event)}"), highlight=False, markup=False)
        elif isinstance(event, Note):
            self.console.print(for_terminal(event.text), highlight=False, markup=False)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self, event: PhaseStarted) -> None:
        self.close()
        self._queued, self._done, self._diverged = list(event.queued), 0, 0
        if not event.queued:
            return
        self._progress = Progress(
            TextColumn("  {task.description:28}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task(for_terminal(event.title), total=len(self._queued), status="")
        self._progress.start()

    def _advance(self, event: RunFinished) -> None:
        assert self._progress is not None
        self._done += 1
        self._diverged += event.result.outcome is not Outcome.OK
        self.clock.add(event.spec, event.result.seconds)
        left = self.clock.left(self._queued[self._done :])
        eta = "" if left is None else f"  about {duration(left)} left"
        status = f"{self._diverged} diverged  on {event.result.device}{eta}"
        self._progress.update(self._task, completed=self._done, status=status)


class PlainSink:
    """One line per event, for files and pipes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self._done = self._total = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._done, self._total = 0, len(event.queued)
            done = f", {event.already_done} already in the record" if event.already_done else ""
            if self._total:
                self.write(f"{event.title}: {self._total} runs{done}")
        elif isinstance(event, RunFinished):
            self._done += 1
            self.write(f"{self._done}/{self._total} {run_line(event)}")
        elif isinstance(event, SweepFinished):
            self.write(sweep_line(event))
        elif isinstance(event, Note):
            self.write(event.text)


class JsonSink:
    """The same events as JSON lines; numbers that JSON has no word for are null."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._emit("phase", title=event.title, queued=len(event.queued), already_done=event.already_done)
        elif isinstance(event, RunFinished):
            spec, result = event.spec, event.result
            self._emit(
                "run",
                parameterization=spec.parameterization,
                width=spec.width,
                hyperparameters=dict(spec.hyperparameters),
                seed=spec.seed,
                outcome=str(result.outcome),
                loss=result.final_loss,
                seconds=result.seconds,
                device=result.device,
            )
        elif isinstance(event, SweepFinished):
            self._emit("sweep", title=event.title, log2_lr=event.log2_lr, low=event.low, high=event.high)
        elif isinstance(event, Note):
            self._emit("note", text=event.text, **event.data)

    def _emit(self, kind: str, **fields: Any) -> None:
        self.write(json.dumps({"event": kind, **_finite(fields)}))


def fan_out(*sinks: Sink) -> Sink:
    """One sink that passes every event to all of them."""

    def send(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return send


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
