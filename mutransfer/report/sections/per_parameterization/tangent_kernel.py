"""How far the tangent kernel drifts over training at every width."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mutransfer.report.figure import geometric_mean_or_gap, log2_widths, log_values, svg
from mutransfer.report.numbers import bounds
from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification
from mutransfer.widths import width_size


def tangent_kernel_section(verification: Verification) -> Section:
    """The slope after every step at which runs were watched, in a sentence."""
    over = verification.over_training
    slopes = "; ".join(f"n^{slope} after step {step}" for step, slope in over.kernel_slopes.items())
    return Section(
        notes=(f"Relative drift of the tangent kernel against width: {slopes}.",) if slopes else (),
        data={
            "kernel_drift_slope": bounds(over.kernel_slope),
            "kernel_drift": {str(key): list(seeds) for key, seeds in over.kernel_drift.items()},
        },
    )


def kernel_drift_figure(verification: Verification) -> str:
    """Relative drift of the tangent kernel against width, log-log, a dot per seed, with fitted slope and theory's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        drift = verification.over_training.kernel_drift
        sizes = np.array([width_size(verification.sweeps[key].template.width) for key in drift])
        mean = np.array([geometric_mean_or_gap(seeds) for seeds in drift.values()])
        slope = verification.over_training.kernel_slope
        axes.plot(sizes, mean, "-o", ms=3, lw=1.2, label="" if slope is None else f"n^{slope.value:+.2f}")
        for size, seeds in zip(sizes, drift.values(), strict=True):
            axes.plot([size] * len(seeds), seeds, ".", ms=2, alpha=0.5, color="C0")
        if slope is not None and slope.predicted is not None:
            theory = mean[-1] * (sizes / sizes[-1]) ** slope.predicted
            axes.plot(sizes, theory, "--", lw=1, color="0.4", label=f"theory: n^{slope.predicted:+.1f}")
        log_values(axes)
        log2_widths(axes, [sweep.template.width for sweep in verification.sweeps.values()])
        axes.set(xlabel="width", ylabel="relative kernel drift", title=verification.parameterization)
        if slope is not None:
            axes.legend(fontsize=7)

    return svg(draw, 5.2, 3.2)
