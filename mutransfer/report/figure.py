"""The look of figures: one style, axes in powers of two, SVG text that is the same every time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from mutransfer.report.numbers import geometric_mean
from mutransfer.widths import Width, show_width, width_size

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollars
    "svg.hashsalt": "mutransfer",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # it would name web pages, and the day


def svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """The SVG element that ``draw`` makes of an empty figure of that size in inches."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height))
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
        plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def colours(n: int) -> np.ndarray:
    """One colour per width, dark to light."""
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.85, n))


def log_values(axes: Axes) -> None:
    """A log y axis with plain numbers on it, also where it spans less than a decade."""
    if not math.isfinite(axes.dataLim.minposy):
        return  # nothing to show: every value diverged
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def log2_widths(axes: Axes, widths: Sequence[Width]) -> None:
    """A log x axis with a tick per width."""
    axes.set_xscale("log", base=2)
    axes.set_xticks([width_size(w) for w in widths], [show_width(w) for w in widths])


def geometric_mean_or_gap(values: Sequence[float]) -> float:
    """The geometric mean; NaN, which leaves a gap in a line, where a value has no logarithm."""
    return geometric_mean(values) if all(0 < v < math.inf for v in values) else math.nan
