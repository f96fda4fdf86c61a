"""Parity and in-context copying: networks under mup and ntk beside their frozen-feature controls, by ``mt.falsify``."""

from __future__ import annotations

import numpy as np

import mutransfer as mt
from experiments.claims.claim import main
from experiments.claims.findings import judged
from mutransfer.training.tasks.induction import InductionAttention
from mutransfer.training.tasks.parity import ParityMLP

TASKS = {"parity": ParityMLP, "induction": InductionAttention}
NAMES = {"parity": "parity of bits", "induction": "in-context copying"}


def measure(settings):
    return {
        name: summary(mt.falsify(kind(**settings[name]["args"]), optimizer="adam", **settings[name]["falsify"]))
        for name, kind in TASKS.items()
    }


def summary(found):
    return {
        "finding": str(found.finding),
        "sentence": found.sentence,
        "width": found.width,
        "base_width": found.base_width,
        "explained": {
            name: [part.value, part.low, part.high]
            for name, part in found.explained.items()
            if np.isfinite([part.value, part.low, part.high]).all()
        },
        "left_out": dict(found.left_out),
        "arms": {
            name: {
                "setting": arm.setting,
                "initial": arm.initial,
                "final": arm.final,
                "curve": np.mean(arm.curves, axis=0).tolist() if arm.curves else [],
                "drift": [np.mean([m.drift for m in moments]) for moments in zip(*arm.moments, strict=True)],
            }
            for name, arm in found.arms.items()
        },
    }


def findings(data):
    found = []
    for name, title in NAMES.items():
        task = data[name]
        losses = ", ".join(f"{arm} {np.mean(a['final']):.3g}" for arm, a in task["arms"].items())
        for control, published, within in (
            ("linearised twin", "far below 100: features are needed", (-100.0, 80.0)),
            ("kernel predictor", "far below 100", (-100.0, 80.0)),
            ("ntk", "below 100", (-100.0, 100.0)),
        ):
            if control not in task["explained"]:
                continue
            value, low, high = (100 * v for v in task["explained"][control])
            found.append(
                judged(
                    f"{title}, width {task['width']}: part of mup's improvement that its {control} reaches, percent",
                    published,
                    value,
                    low,
                    high,
                    within=within,
                    remark=f"final losses: {losses}; {task['finding']}" if control == "linearised twin" else "",
                )
            )
    return found


def draw(data, figure):
    for axis, (name, title) in zip(figure.subplots(1, 2), NAMES.items(), strict=True):
        for arm, a in data[name]["arms"].items():
            if a["curve"]:
                axis.plot(*zip(*a["curve"], strict=True), ".-", label=arm)
            else:
                axis.axhline(np.mean(a["final"]), color="grey", ls="--", label=arm)
        axis.set(xlabel="step", ylabel="test loss", title=title)
        axis.legend(fontsize=7)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
