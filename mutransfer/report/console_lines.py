"""A run, a sweep and its curve, each in one line of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mutransfer.training.events import RunFinished, SweepFinished
from mutransfer.training.spec import Outcome
from mutransfer.widths import Width, show_width

BARS = "▁▂▃▄▅▆▇█"


def run_line(event: RunFinished) -> str:
    """A finished run in one line."""
    spec, result = event.spec, event.result
    loss = f"loss {result.final_loss:.4g}" if result.outcome is Outcome.OK else str(result.outcome)
    return (
        f"{spec.parameterization} width {show_width(spec.width)} lr 2^{math.log2(spec.lr):.2f} seed {spec.seed}: "
        f"{loss} ({result.seconds:.2f} s on {result.device})"
    )


def sweep_line(event: SweepFinished) -> str:
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


def widths_text(widths: Sequence[Width]) -> str:
    """Widths in a row, with commas."""
    return ", ".join(show_width(w) for w in widths)
