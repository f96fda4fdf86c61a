"""The coordinate check of every parameterization: whether it passes, what does not scale, and its slopes."""

from __future__ import annotations

from matplotlib.figure import Figure

from mutransfer.report.figure import geometric_mean_or_gap, log2_widths, log_values, svg
from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section
from mutransfer.transfer.coordinates.check import CoordinateCheck
from mutransfer.widths import width_size

MODULES = 10  # as many as a legend can hold


def coordinates_section(study: FinishedStudy) -> Section:
    """Figures side by side, then a part per parameterization."""
    return Section(
        title="Coordinate check",
        figures=tuple(coordinates_figure(check) for check in study.checks.values()),
        parts=tuple(
            Section(
                title=f"{name}: {'passes' if check.passed else 'does not pass'}",
                points=check.failures,
                code=check.table(),
            )
            for name, check in study.checks.items()
        ),
    )


def coordinates_figure(check: CoordinateCheck) -> str:
    """Change of every module's activations against width after the check's last step."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sizes = [width_size(w) for w in check.widths]
        for module in list(check.sizes)[:MODULES]:
            change = [geometric_mean_or_gap(seeds) for seeds in check.sizes[module]["change"]]
            axes.plot(sizes, change, "-o", ms=3, lw=1.2, label=module)
        log_values(axes)
        log2_widths(axes, check.widths)
        axes.set(xlabel="width", ylabel=f"change after {check.steps} steps", title=check.parameterization)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=7, ncols=2)

    return svg(draw, 5.2, 3.2)
