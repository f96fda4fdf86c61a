"""Everything that a report tells, as one value, and its Markdown and HTML."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch

from mutransfer.intervals import Interval
from mutransfer.parameterization.plan import Plan
from mutransfer.report import plots
from mutransfer.transfer.coordinates.result import CoordinateCheck
from mutransfer.transfer.curves.optimum import Optimum
from mutransfer.transfer.search.space import Value
from mutransfer.transfer.search.tune import TuneResult
from mutransfer.transfer.verification.budget import Spending
from mutransfer.transfer.verification.result import Verification
from mutransfer.transfer.verification.sensitivity import Sensitivity


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A finished study. ``verifications`` holds the one under study first, then the controls."""

    title: str
    config_text: str
    command: str
    plan: Plan  # of the parameterization under study, at the largest width
    regime: str
    checks: Mapping[str, CoordinateCheck]
    tuned: TuneResult
    verifications: Mapping[str, Verification]
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Verification:
        return next(iter(self.verifications.values()))

    def verdict_line(self, found: Verification) -> str:
        return f"{found.headline}: {found.sentence}"

    def tolerances(self, found: Verification) -> str:
        """What the verdict calls small, and what a flat optimum is."""
        flat = "; flat: over two octaves and more the loss is within a run's seed noise of its lowest"
        return (
            f"Called small: up to {100 * math.expm1(found.tolerance):.1f} % of loss, and a drift of up to "
            f"{found.drift_tolerance:.2f} octaves per doubling"
            f"{flat if any(o.flat for o in found.optima.values()) else ''}."
        )

    def rows(self, found: Verification) -> list[dict[str, str]]:
        """The table of one verification, a row per width."""
        rows = []
        for key, sweep in found.sweeps.items():
            best = found.optima[key]
            at = [r.final_loss for r in sweep.results[found.transferred_log2_lr]]
            regret = found.regret.get(key)
            runs = [r for results in sweep.results.values() for r in results]
            change = [values[key] for values in found.feature_change.values() if key in values]
            moved = (
                math.exp(sum(math.log(v) for c in change for v in c) / sum(map(len, change))) if change else math.nan
            )
            rows.append(
                {
                    "width": str(key),
                    "parameters": f"{max(r.n_parameters for r in runs):,}",
                    "log2 lr": f"{best.log2_lr:.2f} [{best.low:.2f}, {best.high:.2f}]{_kind(best)}",
                    "loss at transferred lr": f"{_geometric_mean(at):.4g}",
                    "loss at its best lr": f"{best.loss:.4g}",
                    "regret": "-" if regret is None else _regret(regret.value, regret.low, regret.high),
                    "feature change": f"{moved:.3g}",
                    "kernel drift": _geometric(found.over_training.kernel_drift.get(key)),
                    "alignment with targets": _before_and_after(found.over_training.target_alignment.get(key)),
                    "runs": f"{len(runs)} ({sum(r.final_loss == math.inf for r in runs)} diverged)",
                }
            )
        return rows

    def parts(self, found: Verification) -> list[dict[str, str]]:
        """The refined coordinate check over training, a row per module, slopes against width."""
        over = found.over_training
        return [
            {
                "module": module,
                "effective update": str(slope),
                "propagated": str(over.propagated.get(module, "-")),
                "alignment of update and input": ", ".join(
                    f"{x:.2f}" for x in over.update_alignment.get(module, {}).values()
                )
                or "-",
            }
            for module, slope in over.effective.items()
        ]

    def sensitivity_rows(self, found: Verification) -> list[dict[str, str]]:
        """A row per perturbed hyperparameter and width."""
        return [
            {
                "hyperparameter": f"{name} = {_value(s.value)}",
                "width": str(key),
                "loss against the transferred value": "; ".join(
                    f"{_value(x)}: {_change(gain)}" for x, gain in s.gain[key].items()
                ),
                "regret": _regret(regret.value, regret.low, regret.high),
                "finding": s.finding,
            }
            for name, s in found.sensitivity.items()
            for key, regret in s.regret.items()
        ]

    def course_rows(self, found: Verification) -> list[dict[str, str]]:
        """The optimum against the training step, a row per width."""
        return [
            {
                "losses": course.source,
                "width": str(key),
                "log2 lr after steps": "; ".join(
                    f"{step}: {o.log2_lr:.2f}{' (border)' if o.at_edge else ''}" for step, o in course.optima.items()
                ),
                "octaves per doubling of steps": "-" if course.slope is None else f"{course.slope:+.2f}",
            }
            for key, course in found.courses.items()
        ]

    def markdown(self) -> str:
        return _render("report.md.j2", self, figures={})

    def html(self) -> str:
        figures: dict[str, Any] = {
            "curves": {name: plots.loss_curves(v) for name, v in self.verifications.items()},
            "features": {n: plots.feature_movement(v) for n, v in self.verifications.items() if v.feature_change},
            "kernels": {
                n: plots.kernel_drift(v) for n, v in self.verifications.items() if v.over_training.kernel_drift
            },
            "optimum": plots.optimum_against_width(dict(self.verifications)),
            "coordinates": {name: plots.coordinate_sizes(c) for name, c in self.checks.items()},
        }
        return _render("report.html.j2", self, figures=figures)

    def data(self) -> dict[str, Any]:
        """The verdicts and their numbers, for machines."""
        return {
            name: {
                "headline": v.headline,
                "exit_code": v.exit_code,
                "verdict": str(v.verdict),
                "movement": str(v.movement),
                "reason": v.reason,
                "movement_reason": v.movement_reason,
                "drift_octaves_per_doubling": _triple(v.drift),
                "feature_slope": _triple(v.overall_features),
                "feature_slopes": {module: _triple(slope) for module, slope in v.features.items()},
                "kernel_drift_slope": _triple(v.over_training.kernel_slope),
                "kernel_drift": {str(k): list(xs) for k, xs in v.over_training.kernel_drift.items()},
                "transferred_log2_lr": v.transferred_log2_lr,
                "tolerance_log_loss": v.tolerance,
                "tolerance_octaves_per_doubling": v.drift_tolerance,
                "optima": {str(k): [o.log2_lr, o.low, o.high] for k, o in v.optima.items()},
                "flat": [str(k) for k, o in v.optima.items() if o.flat],
                "at_edge": {str(k): o.at_edge for k, o in v.optima.items() if o.at_edge},
                "regret_log_loss": {str(k): [r.value, r.low, r.high] for k, r in v.regret.items()},
                "sensitivity": {name: _perturbed(s) for name, s in v.sensitivity.items()},
                "optimum_by_step": {
                    str(k): {str(step): [o.log2_lr, o.low, o.high] for step, o in c.optima.items()}
                    for k, c in v.courses.items()
                },
                "notes": list(v.notes),
                "spending": None if v.spending is None else _spending(v.spending),
            }
            for name, v in self.verifications.items()
        }

    def write(self, folder: Path) -> Path:
        """Write report.html, report.md and verdict.json into ``folder``; returns the HTML file."""
        page = folder / "report.html"
        page.write_text(self.html(), encoding="utf-8")
        (folder / "report.md").write_text(self.markdown(), encoding="utf-8")
        (folder / "verdict.json").write_text(json.dumps(self.data(), indent=2) + "\n", encoding="utf-8")
        return page


def _geometric_mean(losses: list[float]) -> float:
    """Of losses, as the fitted curves are of their logarithms."""
    return math.exp(sum(math.log(x) if x > 0 else -math.inf for x in losses) / len(losses))


def _geometric(values: Sequence[float] | None) -> str:
    return "-" if not values or min(values) <= 0 else f"{math.exp(sum(map(math.log, values)) / len(values)):.3g}"


def _before_and_after(pairs: Sequence[tuple[float, float]] | None) -> str:
    if not pairs:
        return "-"
    return " to ".join(f"{sum(column) / len(pairs):.2f}" for column in zip(*pairs, strict=True))


def _kind(optimum: Optimum) -> str:
    """What a reader of an optimum must know."""
    edge = f", at the {optimum.at_edge} end of the grid" if optimum.at_edge else ""
    return edge + (", flat" if optimum.flat else "")


def _triple(slope: Any) -> list[float] | None:
    return None if slope is None else [slope.value, slope.low, slope.high]


def _perturbed(s: Sensitivity) -> dict[str, Any]:
    return {
        "value": s.value,
        "finding": s.finding,
        "regret_log_loss": {str(k): [r.value, r.low, r.high] for k, r in s.regret.items()},
        "gain_log_loss": {
            str(k): {str(x): [g.value, g.low, g.high] for x, g in gains.items()} for k, gains in s.gain.items()
        },
    }


def _spending(s: Spending) -> dict[str, Any]:
    return {
        "runs": s.runs,
        "flops": s.flops,
        "seconds": s.seconds,
        "expected_flops": s.estimate.usual,
        "full_grid_flops": s.estimate.full,
        "stopped": s.reason,
        "widths_left_out": [str(key) for key in s.left_out],
        "perturbing_flops": s.perturbing,
        "not_perturbed": list(s.not_perturbed),
    }


def _value(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _change(gain: Interval) -> str:
    """Of the loss, where log loss gains that much."""
    return _regret(-gain.value, -gain.high, -gain.low)


def _regret(value: float, low: float, high: float) -> str:
    value, low, high = (100 * math.expm1(x) for x in (value, low, high))
    return f"{value:+.0f} % [{low:+.0f}, {high:+.0f}]"


def _render(template: str, summary: Summary, *, figures: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mutransfer.report"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    first = next(iter(summary.main.sweeps.values()))
    device = next(iter(first.results.values()))[0].device
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, device {device}"
    return environment.get_template(template).render(s=summary, figures=figures, versions=versions)
