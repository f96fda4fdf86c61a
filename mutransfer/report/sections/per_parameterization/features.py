"""How far the features of every module move at every width."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mutransfer.report.figure import geometric_mean_or_gap, log2_widths, log_values, svg
from mutransfer.report.numbers import bounds
from mutransfer.report.section import Section
from mutransfer.transfer.verification.result import Verification
from mutransfer.widths import width_size

MODULES = 8  # as many as a legend can hold


def features_section(verification: Verification) -> Section:
    """A row per module with its slope; the figure stands with the other figures against width."""
    slopes = verification.features
    note = "Slope of relative feature change against width, at the transferred learning rate:"
    return Section(
        notes=(note,) if slopes else (),
        table=[{"module": module, "slope": str(slope)} for module, slope in slopes.items()],
        data={"feature_slopes": {module: bounds(slope) for module, slope in slopes.items()}},
    )


def feature_change_figure(verification: Verification) -> str:
    """Relative feature change against width, log-log, each module with its fitted slope and theory's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        modules = list(verification.feature_change)[:MODULES]
        for i, module in enumerate(modules):
            change = verification.feature_change[module]
            sizes = np.array([width_size(verification.sweeps[key].template.width) for key in change])
            mean = np.array([geometric_mean_or_gap(seeds) for seeds in change.values()])
            slope = verification.features.get(module)
            label = module if slope is None else f"{module}: n^{slope.value:+.2f}"
            axes.plot(sizes, mean, "-o", ms=3, lw=1.2, color=f"C{i}", label=label)
            if slope is not None and slope.predicted is not None and i == len(modules) - 1:
                theory = mean[-1] * (sizes / sizes[-1]) ** slope.predicted
                axes.plot(sizes, theory, "--", lw=1, color="0.4", label=f"theory: n^{slope.predicted:+.1f}")
        log_values(axes)
        log2_widths(axes, [sweep.template.width for sweep in verification.sweeps.values()])
        axes.set(xlabel="width", ylabel="relative feature change", title=verification.parameterization)
        axes.legend(fontsize=7)

    return svg(draw, 5.2, 3.2)
