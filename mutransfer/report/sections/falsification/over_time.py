"""Losses and kernels of the learners over training, in figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mutransfer.report.figure import geometric_mean_or_gap, log_values, svg
from mutransfer.report.section import Section
from mutransfer.transfer.falsification.falsify import Falsification


def over_time_section(falsification: Falsification) -> Section:
    """The losses, and where kernels were measured their distance and alignment."""
    figures = [losses_over_time_figure(falsification)]
    if any(arm.moments for arm in falsification.arms.values()):
        figures += [kernel_over_time_figure(falsification, measure) for measure in ("distance", "alignment")]
    return Section(figures=tuple(figures))


def losses_over_time_figure(falsification: Falsification) -> str:
    """Evaluation loss of every learner against steps, a thin line per seed; the kernel predictor where it ends."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (name, arm) in enumerate(falsification.arms.items()):
            if arm.curves:
                _plot_seeds(axes, [dict(curve) for curve in arm.curves], f"C{i}", name)
            else:
                axes.axhline(geometric_mean_or_gap(arm.final), ls=":", lw=1.2, color=f"C{i}", label=name)
        log_values(axes)
        axes.set(xlabel="steps", ylabel="loss", title="loss against time")
        axes.legend(fontsize=8)

    return svg(draw, 5.2, 3.4)


def kernel_over_time_figure(falsification: Falsification, measure: str) -> str:
    """The ``distance`` or ``alignment`` with targets of the networks' tangent kernels against steps."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (name, arm) in enumerate(falsification.arms.items()):
            if arm.moments:
                rows = [
                    {step: getattr(m, measure) for (step, _), m in zip(curve, moments, strict=True)}
                    for curve, moments in zip(arm.curves, arm.moments, strict=True)
                ]
                _plot_seeds(axes, rows, f"C{i}", name)
        axes.set(xlabel="steps", ylabel=f"kernel {measure}", title=f"kernel {measure} against time")
        axes.legend(fontsize=8)

    return svg(draw, 5.2, 3.2)


def _plot_seeds(axes: Axes, rows: Sequence[dict[int, float]], colour: str, label: str) -> None:
    """Plot curves of single seeds, and their mean over the steps that all reached."""
    for row in rows:
        axes.plot(list(row), list(row.values()), lw=0.7, alpha=0.4, color=colour)
    steps = [step for step in rows[0] if all(step in row for row in rows)]
    axes.plot(steps, [float(np.mean([r[step] for r in rows])) for step in steps], "-o", ms=3, color=colour, label=label)
