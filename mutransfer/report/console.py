"""Sinks for a person at a terminal, for a log file, and for a program (JSON lines)."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
from mutransfer.widths import Width, show_width

BARS = "▁▂▃▄▅▆▇█"


class Clock:
    """Time left from work left: seconds per run differ by width, so they are learned per width."""

    def __init__(self) -> None:
        self._seconds: dict[Any, list[float]] = defaultdict(list)

    def saw(self, spec: RunSpec, seconds: float) -> None:
        self._seconds[self._key(spec)].append(seconds)

    def left(self, queued: Sequence[RunSpec]) -> float | None:
        """Seconds for ``queued``, None where no run of such a width has been seen."""
        total = 0.0
        for spec in queued:
            seen = self._seconds.get(self._key(spec))
            if not seen:
                return None
            total += sum(seen[-8:]) / len(seen[-8:])
        return total

    @staticmethod
    def _key(spec: RunSpec) -> tuple[str, int]:
        return show_width(spec.width), spec.steps


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
            self.console.print(f"  {describe_sweep(event)}", highlight=False, markup=False)
        elif isinstance(event, Note):
            self.console.print(event.text, highlight=False, markup=False)

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
            TextColumn("  {task.description:28}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task(event.title, total=len(self._queued), status="")
        self._progress.start()

    def _advance(self, event: RunFinished) -> None:
        assert self._progress is not None
        self._done += 1
        self._diverged += event.result.outcome is not Outcome.OK
        self.clock.saw(event.spec, event.result.seconds)
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
            found = f", {event.already_done} already in the record" if event.already_done else ""
            if self._total:
                self.write(f"{event.title}: {self._total} runs{found}")
        elif isinstance(event, RunFinished):
            self._done += 1
            self.write(f"{self._done}/{self._total} {describe(event)}")
        elif isinstance(event, SweepFinished):
            self.write(describe_sweep(event))
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


def describe(event: RunFinished) -> str:
    """A finished run in one line."""
    spec, result = event.spec, event.result
    loss = f"loss {result.final_loss:.4g}" if result.outcome is Outcome.OK else str(result.outcome)
    return (
        f"{spec.parameterization} width {show_width(spec.width)} lr 2^{math.log2(spec.lr):.2f} seed {spec.seed}: "
        f"{loss} ({result.seconds:.2f} s on {result.device})"
    )


def describe_sweep(event: SweepFinished) -> str:
    """A width's curve and its optimum in one line."""
    best = f"best 2^{event.log2_lr:.2f} [{event.low:.2f}, {event.high:.2f}]"
    return f"{event.title:28} {spark(event.curve)}  {best}"


def spark(losses: Mapping[float, Sequence[float]]) -> str:
    """A loss-versus-log2-LR curve as one line of bars, low is good; x marks where every seed diverged.

    >>> spark({-3.0: [1.0], -2.0: [0.1], -1.0: [float("inf")]})
    '2^-3 █▁x 2^-1'
    """
    points = sorted(losses)
    finite = [[v for v in losses[x] if math.isfinite(v) and v > 0] for x in points]
    dead = [not values for values in finite]
    logs = [sum(map(math.log, values)) / max(len(values), 1) for values in finite]
    alive = [y for y, gone in zip(logs, dead, strict=True) if not gone]
    low, high = (min(alive), max(alive)) if alive else (0.0, 0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    cells = ["x" if gone else BARS[round((y - low) * scale)] for y, gone in zip(logs, dead, strict=True)]
    return f"2^{points[0]:g} {''.join(cells)} 2^{points[-1]:g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(5), duration(100), duration(7300)
    ('5 s', '1 min 40 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __str__(self) -> str:
        return duration(time.perf_counter() - self._start)


def widths_text(widths: Sequence[Width]) -> str:
    return ", ".join(show_width(w) for w in widths)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
