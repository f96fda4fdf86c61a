"""The optimum, feature change and kernel drift against width, in figures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mutransfer.report.figure import log2_widths, svg
from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section
from mutransfer.report.sections.per_parameterization.features import feature_change_figure
from mutransfer.report.sections.per_parameterization.tangent_kernel import kernel_drift_figure
from mutransfer.transfer.verification.result import Verification
from mutransfer.widths import width_size


def against_width_section(study: FinishedStudy) -> Section:
    """The optima of all parameterizations in one figure, features and kernels in one per parameterization."""
    verifications = study.verifications.values()
    return Section(
        title="Optimum and features against width",
        figures=(
            optimum_figure(study.verifications),
            *(feature_change_figure(v) for v in verifications if v.feature_change),
            *(kernel_drift_figure(v) for v in verifications if v.over_training.kernel_drift),
        ),
    )


def optimum_figure(verifications: Mapping[str, Verification]) -> str:
    """The optimum of log2 learning rate against width, with intervals, all parameterizations in one figure."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (name, verification) in enumerate(verifications.items()):
            optima = verification.optima.values()
            widths = [s.template.width for s in verification.sweeps.values()]
            sizes = np.array([width_size(w) for w in widths]) * 1.02**i  # side by side
            centre = np.array([o.log2_lr for o in optima])
            low = centre - [o.low for o in optima]
            high = np.array([o.high for o in optima]) - centre
            axes.errorbar(sizes, centre, yerr=[low, high], fmt="-o", ms=4, lw=1.2, capsize=3, label=name)
        first = next(iter(verifications.values()))
        log2_widths(axes, [s.template.width for s in first.sweeps.values()])
        axes.set(xlabel="width", ylabel="optimal log2 learning rate", title="optimum against width")
        axes.legend()

    return svg(draw, 5.2, 3.2)
