"""Loss against learning rate, a figure per parameterization."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from mutransfer.report.figure import colours, log_values, svg
from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification


def loss_curves_section(study: FinishedStudy) -> Section:
    """The curves of every parameterization side by side."""
    return Section(
        title="Loss against learning rate",
        caption="One curve per width, geometric mean over seeds, dots are single runs. A star marks each width's "
        "optimum, the bar its interval, the dashed line the transferred learning rate.",
        figures=tuple(loss_curves_figure(v) for v in study.verifications.values()),
    )


def loss_curves_figure(verification: Verification) -> str:
    """Loss against log2 learning rate, one curve per width, minima marked with their intervals."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ceiling = 0.0
        sweeps = verification.sweeps
        for colour, (key, sweep) in zip(colours(len(sweeps)), sweeps.items(), strict=True):
            curve = sweep.curve
            finite = {x: [v for v in losses if math.isfinite(v)] for x, losses in curve.items()}
            points = {x: float(np.exp(np.mean(np.log(v)))) for x, v in finite.items() if len(v) == len(curve[x])}
            axes.plot(list(points), list(points.values()), "-o", ms=3, lw=1.2, color=colour, label=f"{key}")
            for x, values in finite.items():
                axes.plot([x] * len(values), values, ".", ms=2, alpha=0.4, color=colour)
            best = verification.optima[key]
            axes.plot([best.low, best.high], [best.loss] * 2, lw=3, alpha=0.5, color=colour, solid_capstyle="butt")
            axes.plot(best.log2_lr, best.loss, "*", ms=11, color=colour, mec="white", mew=0.6, zorder=5)
            ceiling = max(ceiling, sweep.ceiling)
        axes.axvline(verification.transferred_log2_lr, color="0.4", ls="--", lw=1)
        log_values(axes)
        axes.set_ylim(top=min(axes.get_ylim()[1], 2 * ceiling))
        axes.set(xlabel="log2 learning rate (at base width)", ylabel="loss", title=verification.parameterization)
        axes.legend(title="width", ncols=2, fontsize=8)

    return svg(draw, 5.2, 3.6)
