"""The figures of the report, as SVG text."""

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

from mutransfer.transfer.coordinates.result import CoordinateCheck
from mutransfer.transfer.falsification.result import Falsification
from mutransfer.transfer.verification.result import Verification
from mutransfer.widths import show_width, width_size

STYLE = {
    "svg.fonttype": "none",
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


def loss_curves(found: Verification) -> str:
    """Loss against log2 learning rate, one curve per width, minima marked with their intervals."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(found.sweeps)))
        ceiling = 0.0
        for colour, (key, sweep) in zip(colours, found.sweeps.items(), strict=True):
            curve = sweep.curve
            mean = {x: [v for v in losses if math.isfinite(v)] for x, losses in curve.items()}
            points = {x: float(np.exp(np.mean(np.log(v)))) for x, v in mean.items() if len(v) == len(curve[x])}
            axes.plot(list(points), list(points.values()), "-o", ms=3, lw=1.2, color=colour, label=f"{key}")
            for x, values in mean.items():
                axes.plot([x] * len(values), values, ".", ms=2, alpha=0.4, color=colour)
            best = found.optima[key]
            axes.plot([best.low, best.high], [best.loss] * 2, lw=3, alpha=0.5, color=colour, solid_capstyle="butt")
            axes.plot(best.log2_lr, best.loss, "*", ms=11, color=colour, mec="white", mew=0.6, zorder=5)
            ceiling = max(ceiling, sweep.ceiling)
        axes.axvline(found.transferred_log2_lr, color="0.4", ls="--", lw=1)
        _log_values(axes)
        axes.set_ylim(top=min(axes.get_ylim()[1], 2 * ceiling))
        axes.set(xlabel="log2 learning rate (at base width)", ylabel="loss", title=found.parameterization)
        axes.legend(title="width", ncols=2, fontsize=8)

    return _svg(draw, 5.2, 3.6)


def optimum_against_width(verifications: dict[str, Verification]) -> str:
    """The optimum of log2 learning rate against width, with intervals, all parameterizations in one figure."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (name, found) in enumerate(verifications.items()):
            sizes = np.array([width_size(s.template.width) for s in found.sweeps.values()]) * 1.02**i
            centre = np.array([o.log2_lr for o in found.optima.values()])
            low = centre - [o.low for o in found.optima.values()]
            high = np.array([o.high for o in found.optima.values()]) - centre
            axes.errorbar(sizes, centre, yerr=[low, high], fmt="-o", ms=4, lw=1.2, capsize=3, label=name)
        _log2_axis(axes, next(iter(verifications.values())))
        axes.set(xlabel="width", ylabel="optimal log2 learning rate", title="optimum against width")
        axes.legend()

    return _svg(draw, 5.2, 3.2)


def feature_movement(found: Verification) -> str:
    """Relative feature change against width, log-log, each module with its fitted slope and theory's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        modules = list(found.feature_change)[:8]
        for i, module in enumerate(modules):
            rows = found.feature_change[module]
            sizes = np.array([width_size(found.sweeps[key].template.width) for key in rows])
            mean = np.array([_mean(v) for v in rows.values()])
            slope = found.features.get(module)
            label = module if slope is None else f"{module}: n^{slope.value:+.2f}"
            axes.plot(sizes, mean, "-o", ms=3, lw=1.2, color=f"C{i}", label=label)
            if slope is not None and slope.predicted is not None and i == len(modules) - 1:
                theory = mean[-1] * (sizes / sizes[-1]) ** slope.predicted
                axes.plot(sizes, theory, "--", lw=1, color="0.4", label=f"theory: n^{slope.predicted:+.1f}")
        _log_values(axes)
        _log2_axis(axes, found)
        axes.set(xlabel="width", ylabel="relative feature change", title=found.parameterization)
        axes.legend(fontsize=7)

    return _svg(draw, 5.2, 3.2)


def kernel_drift(found: Verification) -> str:
    """Relative drift of the tangent kernel against width, log-log, a dot per seed, with fitted slope and theory's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = found.over_training.kernel_drift
        sizes = np.array([width_size(found.sweeps[key].template.width) for key in rows])
        mean = np.array([_mean(v) for v in rows.values()])
        slope = found.over_training.kernel_slope
        axes.plot(sizes, mean, "-o", ms=3, lw=1.2, label="" if slope is None else f"n^{slope.value:+.2f}")
        for size, values in zip(sizes, rows.values(), strict=True):
            axes.plot([size] * len(values), values, ".", ms=2, alpha=0.5, color="C0")
        if slope is not None and slope.predicted is not None:
            theory = mean[-1] * (sizes / sizes[-1]) ** slope.predicted
            axes.plot(sizes, theory, "--", lw=1, color="0.4", label=f"theory: n^{slope.predicted:+.1f}")
        _log_values(axes)
        _log2_axis(axes, found)
        axes.set(xlabel="width", ylabel="relative kernel drift", title=found.parameterization)
        if slope is not None:
            axes.legend(fontsize=7)

    return _svg(draw, 5.2, 3.2)


def coordinate_sizes(check: CoordinateCheck) -> str:
    """Change of every module's activations against width after the check's last step."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sizes = [width_size(w) for w in check.widths]
        for module in list(check.sizes)[:10]:
            rows = check.sizes[module]["change"]
            axes.plot(
                sizes,
                [_mean(r) for r in rows],
                "-o",
                ms=3,
                lw=1.2,
                label=module,
            )
        _log_values(axes)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [show_width(w) for w in check.widths])
        axes.set(xlabel="width", ylabel=f"change after {check.steps} steps", title=check.parameterization)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=7, ncols=2)

    return _svg(draw, 5.2, 3.2)


def losses_over_time(found: Falsification) -> str:
    """Evaluation loss of every learner against steps, a thin line per seed; the kernel predictor where it ends."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (name, arm) in enumerate(found.arms.items()):
            if arm.curves:
                _per_seed(axes, [dict(curve) for curve in arm.curves], f"C{i}", name)
            else:
                axes.axhline(_mean(arm.final), ls=":", lw=1.2, color=f"C{i}", label=name)
        _log_values(axes)
        axes.set(xlabel="steps", ylabel="loss", title="loss against time")
        axes.legend(fontsize=8)

    return _svg(draw, 5.2, 3.4)


def kernel_over_time(found: Falsification, measure: str) -> str:
    """Of the networks' tangent kernels against steps: the kernel ``distance`` or the target ``alignment``."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (name, arm) in enumerate(found.arms.items()):
            if arm.moments:
                pairs = zip(arm.curves, arm.moments, strict=True)
                rows = [
                    {step: getattr(m, measure) for (step, _), m in zip(curve, seen, strict=True)}
                    for curve, seen in pairs
                ]
                _per_seed(axes, rows, f"C{i}", name)
        axes.set(xlabel="steps", ylabel=f"kernel {measure}", title=f"kernel {measure} against time")
        axes.legend(fontsize=8)

    return _svg(draw, 5.2, 3.2)


def _per_seed(axes: Axes, rows: Sequence[dict[int, float]], colour: str, label: str) -> None:
    """Curves of single seeds, and their mean over the steps that all reached."""
    for row in rows:
        axes.plot(list(row), list(row.values()), lw=0.7, alpha=0.4, color=colour)
    steps = [step for step in rows[0] if all(step in row for row in rows)]
    axes.plot(steps, [float(np.mean([r[step] for r in rows])) for step in steps], "-o", ms=3, color=colour, label=label)


def _mean(values: Sequence[float]) -> float:
    """The geometric mean, a gap where a value has no logarithm."""
    return math.exp(np.mean(np.log(values))) if all(0 < v < math.inf for v in values) else math.nan


def _log_values(axes: Axes) -> None:
    """A log y axis with plain numbers on it, also where it spans less than a decade."""
    if not math.isfinite(axes.dataLim.minposy):
        return  # nothing to show: every value diverged
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _log2_axis(axes: Axes, found: Verification) -> None:
    widths = [s.template.width for s in found.sweeps.values()]
    axes.set_xscale("log", base=2)
    axes.set_xticks([width_size(w) for w in widths], [show_width(w) for w in widths])


def _svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height))
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
        plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
