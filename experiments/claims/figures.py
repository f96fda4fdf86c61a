"""Figures of the claims: small files, and ticks that can be read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter
from PIL import Image

FEW = 7  # measured values that fit along an axis as its ticks
ROOM = 0.09  # of an axis that a label needs


def save(figure: Figure, path: Path) -> None:
    """As PNG, of 128 colours: less than half the bytes."""
    full = io.BytesIO()
    figure.savefig(full, dpi=90)
    Image.open(full).convert("RGB").quantize(128).save(path, optimize=True)


def plain_ticks(axes: Axes) -> None:
    """Logarithmic axes: ticks at the measured values across, where these are few, else at decades or round numbers."""
    curves = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) > 2]  # two: a line across
    values = sorted({float(x) for curve in curves for x in curve})
    for axis, (low, high), across in (
        (axes.xaxis, axes.get_xlim(), values if len(values) <= FEW else []),
        (axes.yaxis, axes.get_ylim(), []),
    ):
        if axis.get_scale() != "log":
            continue
        decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        if across:
            axis.set_major_locator(FixedLocator(apart(across, ROOM * np.log(high / low))))
        elif sum(low <= 10**d <= high for d in decades) >= 2:
            axis.set_major_locator(LogLocator(numticks=6))
            axis.set_minor_formatter(NullFormatter())
            continue
        else:
            round_numbers = [m * 10**d for d in decades for m in (1, 2, 5) if low <= m * 10**d <= high]
            axis.set_major_locator(FixedLocator(round_numbers) if len(round_numbers) > 1 else MaxNLocator(4))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())


def apart(values: Sequence[float], room: float) -> list[float]:
    """Sorted values without those that lie within ``room`` of the one before, in logarithms."""
    kept = [values[0]]
    for value in values[1:]:
        if np.log(value / kept[-1]) >= room:
            kept.append(value)
    return kept
