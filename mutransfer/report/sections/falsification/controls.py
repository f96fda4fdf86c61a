"""The network beside its frozen-feature controls: who learned what."""

from __future__ import annotations

import numpy as np

from mutransfer.report.section import Banner, Section
from mutransfer.transfer.falsification.falsify import Falsification
from mutransfer.transfer.falsification.finding import Arm


def controls_section(falsification: Falsification) -> Section:
    """The finding, a row per learner, and what was left out."""
    seeds = ", ".join(map(str, falsification.seeds))
    left_out = tuple(f"Left out, {name}: {why}." for name, why in falsification.left_out.items())
    return Section(
        banner=Banner(headline=str(falsification.finding), sentence=falsification.sentence),
        notes=(
            f"Every learner has the same data, seeds ({seeds}) and steps, and its own best learning rate. A control "
            "explains (I - C) / (I - N) of the improvement: I and N are the network's initial and final loss, C the "
            "control's final one. Intervals are 90 % over seeds.",
        ),
        table=[_row(falsification, arm) for arm in falsification.arms.values()],
        parts=(Section(notes=left_out),),
    )


def _row(falsification: Falsification, arm: Arm) -> dict[str, str]:
    explained = falsification.explained.get(arm.name)
    last = [moments[-1] for moments in arm.moments]
    change = ", ".join(f"{module}: {x:.3g}" for module, x in arm.movement.items())
    return {
        "learner": arm.name,
        "best setting": arm.setting,
        "initial loss": f"{np.mean(arm.initial):.4g}",
        "final loss": f"{np.mean(arm.final):.4g}",
        "explains of the improvement": "-" if explained is None else str(explained),
        "kernel drift": f"{np.mean([m.drift for m in last]):.3g}" if last else "-",
        "kernel distance": f"{np.mean([m.distance for m in last]):.3g}" if last else "-",
        "feature change": change or "-",
    }
