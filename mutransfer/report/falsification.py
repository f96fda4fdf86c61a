"""The page of the frozen-feature control: falsify.html and falsify.json in the run directory."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import numpy as np

from mutransfer.report import plots
from mutransfer.transfer.falsification.finding import Arm
from mutransfer.transfer.falsification.result import Falsification


def write_falsification(found: Falsification, folder: Path) -> Path:
    """Write falsify.html and falsify.json into ``folder``; returns the HTML file."""
    (folder / "falsify.json").write_text(json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n", "utf-8")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mutransfer.report"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    figures = [plots.losses_over_time(found)]
    if any(arm.moments for arm in found.arms.values()):
        figures += [plots.kernel_over_time(found, name) for name in ("distance", "alignment")]
    page = folder / "falsify.html"
    template = environment.get_template("falsify.html.j2")
    page.write_text(template.render(f=found, rows=[_row(found, arm) for arm in found.arms.values()], figures=figures))
    return page


def _row(found: Falsification, arm: Arm) -> dict[str, str]:
    """The table's row of one learner."""
    part = found.explained.get(arm.name)
    last = [moments[-1] for moments in arm.moments]
    changed = ", ".join(f"{name}: {x:.3g}" for name, x in arm.movement.items())
    return {
        "learner": arm.name,
        "best setting": arm.setting,
        "initial loss": f"{np.mean(arm.initial):.4g}",
        "final loss": f"{np.mean(arm.final):.4g}",
        "explains of the improvement": "-" if part is None else str(part),
        "kernel drift": f"{np.mean([m.drift for m in last]):.3g}" if last else "-",
        "kernel distance": f"{np.mean([m.distance for m in last]):.3g}" if last else "-",
        "feature change": changed or "-",
    }
