"""Learning rates against width under mup and sp, for a perceptron and a byte GPT; further hyperparameters under mup."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from claim import Finding, judged, main, of_slope

import mutransfer as mt
from mutransfer.measure.slopes import Slope
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT
from mutransfer.transfer.estimate import find_optimum
from mutransfer.transfer.evidence import weigh
from mutransfer.transfer.study import Runner

TASKS = {"mlp": DigitsMLP, "gpt": SourceBytesGPT}
NAMES = {"mlp": "perceptron on digits", "gpt": "byte GPT"}


SEVERAL = {
    "init_mult": "scale of the weights at initialisation",
    "output_mult": "multiplier of the output",
    "lr_mult_hidden": "learning rate of hidden matrices over the rest",
    "beta1": "1 - beta1 of Adam",
}


def measure(settings):
    found = {}
    for name, kind in TASKS.items():
        s = settings[name]
        low, high = s["log2_lr"]
        record = mt.Record()
        task = kind(**s["args"])
        tuned = mt.tune(
            task,
            base_width=s["base_width"],
            space={"lr": (2.0**low, 2.0**high)},
            optimizer="adam",
            seeds=s["seeds"],
            record=record,
            members=s["members"],
            **s["training"],
        )
        found[name] = {
            p: summary(
                mt.verify(task, tuned, widths=s["widths"], parameterization=p, record=record, members=s["members"])
            )
            for p in s["parameterizations"]
        }
        if name == "mlp":
            found["several"] = several(task, tuned, settings["several"])
    return found


def summary(v):
    """What is kept of a verification."""
    transferred = v.transferred_log2_lr
    return {
        "verdict": str(v.verdict),
        "transferred": transferred,
        "tolerance": v.tolerance,
        "drift": None if v.drift is None else [v.drift.value, v.drift.low, v.drift.high],
        "optima": {str(w): [o.log2_lr, o.low, o.high, o.loss] for w, o in v.optima.items()},
        "regret": {str(w): [r.value, r.low, r.high] for w, r in v.regret.items()},
        "curves": {
            str(w): {f"{x:g}": [min(loss, 1e3) for loss in losses] for x, losses in s.curve.items()}
            for w, s in v.sweeps.items()
        },
        "at_transferred": {str(w): [min(loss, 1e3) for loss in s.curve[transferred]] for w, s in v.sweeps.items()},
    }


def several(task, tuned, settings):
    """Loss against one hyperparameter at a time, the others as tuned at base width, there and at larger widths."""
    base, found = tuned.template, {}
    runner = Runner(task, members=settings["members"])
    for name in SEVERAL:
        curves, ceilings = {}, {}
        for width in settings["widths"]:
            curve, starts = {}, []
            for x in settings[name]:
                value = 1 - 2.0**x if name == "beta1" else 2.0**x
                spec = replace(base, width=width, hyperparameters={**base.hyperparameters, name: value})
                results = runner.perform([replace(spec, seed=seed) for seed in range(settings["seeds"])], name)
                curve[float(x)] = [min(r.final_loss, r.initial_loss) for r in results]
                starts += [r.initial_loss for r in results]
            curves[str(width)], ceilings[str(width)] = curve, float(np.mean(starts))
        found[name] = {"by_width": {}, **weighed(curves, ceilings, settings["widths"])}
        for width, curve in curves.items():
            optimum = find_optimum(curve, ceiling=ceilings[width])
            found[name]["by_width"][width] = {
                "curve": {f"{x:g}": losses for x, losses in curve.items()},
                "optimum": [optimum.log2_lr, optimum.low, optimum.high],
                "draws": list(optimum.draws[:200]),
            }
    return found


def weighed(curves, ceilings, widths):
    """What the best point of the first width costs at the widest, judged as a learning rate would be."""
    first = next(iter(curves.values()))
    best = min(first, key=lambda x: np.mean(first[x]))
    found = weigh(curves, ceilings, widths, best)
    largest = found.regret[str(widths[-1])]
    return {"best": best, "regret": [largest.value, largest.low, largest.high], "tolerance": found.tolerance}


def findings(data):
    found = []
    for name, title in NAMES.items():
        by = data[name]
        base = next(iter(by["mup"]["optima"]))
        largest = list(by["mup"]["optima"])[-1]
        for p, published, within in (
            ("mup", "0: the optimum stays", (-0.25, 0.25)),
            ("sp", "negative: it shifts (-1 in a public 2048-wide LM sweep)", (-float("inf"), -0.25)),
        ):
            if p not in by:
                continue
            drift = by[p]["drift"]
            slope = None if drift is None else Slope(**dict(zip(("value", "low", "high"), drift, strict=True)))
            optima = by[p]["optima"]
            arrow = " → ".join(f"{o[0]:.1f}" for o in optima.values())
            found.append(
                of_slope(
                    f"{title}, {p}: drift of the optimal log2 lr, octaves per doubling of width",
                    published,
                    slope,
                    within=within,
                    remark=f"optima {arrow} at widths {', '.join(optima)}; verdict {by[p]['verdict']}",
                )
            )
        for p, published, within in (
            ("mup", "about 0", (-float("inf"), by["mup"]["tolerance"])),
            ("sp", "large", (by["mup"]["tolerance"], float("inf"))),
        ):
            if p in by and largest in by[p]["regret"]:
                value, low, high = by[p]["regret"][largest]
                found.append(
                    judged(
                        f"{title}, {p}, width {largest}: log loss at the learning rate of width {base} less the best",
                        published,
                        value,
                        low,
                        high,
                        within=within,
                        remark=f"judged against {by['mup']['tolerance']:.2g}: two standard errors, or a tenth of what "
                        "width buys",
                    )
                )
        at = by["mup"]["at_transferred"]
        gains = [
            [a - b for a, b in zip(at[u], at[v], strict=True)] for u, v in zip(list(at), list(at)[1:], strict=False)
        ]
        means = [float(np.mean(g)) for g in gains]
        found.append(
            Finding(
                statement=f"{title}, mup: wider is better at the transferred learning rate",
                published="loss falls with width",
                measured=" → ".join(f"{np.mean(v):.4g}" for v in at.values()),
                holds=True if min(means) > 0 else False if max(means) < 0 else None,
                remark=f"at widths {', '.join(at)}; falls with {sum(x > 0 for g in gains for x in g)} of "
                f"{sum(map(len, gains))} pairs of the same seed",
            )
        )
    for name, what in SEVERAL.items():
        studied = data["several"][name]
        by = studied["by_width"]
        narrowest, *_, widest = by
        value, low, high = studied["regret"]
        found.append(
            judged(
                f"perceptron, mup, width {widest}: log loss at the best {what} of width {narrowest} less the best",
                "about 0",
                value,
                low,
                high,
                within=(-float("inf"), studied["tolerance"]),
                remark=f"judged against {studied['tolerance']:.2g}, as learning rates are",
            )
        )
        trail = " → ".join(f"{v['optimum'][0]:.1f}" for v in by.values()) + f" at widths {', '.join(by)}"
        for first in list(by)[:-1]:
            found.append(shift(by, first, f"perceptron, mup: optimal {what}", trail))
    return found


def shift(by, first, what, trail):
    """How far the optimum of one hyperparameter moves from a width to the widest, and what not to follow it costs."""
    small, large, widest = by[first], by[list(by)[-1]], list(by)[-1]
    moved = np.array(large["draws"]) - np.array(small["draws"])
    low, high = np.quantile(moved, [0.05, 0.95])
    at_first = min(small["curve"], key=lambda x: np.mean(small["curve"][x]))
    lowest = min(float(np.mean(v)) for v in large["curve"].values())
    lost = float(np.mean(large["curve"][at_first])) / lowest - 1
    return judged(
        f"{what}, width {widest} less width {first}, octaves",
        "0",
        large["optimum"][0] - small["optimum"][0],
        float(low),
        float(high),
        within=(-1.0, 1.0),
        remark=f"{trail}; at width {widest} the best point of width {first} is {100 * lost:.0f} % above its own best",
    )


def draw(data, figure):
    axes = figure.subplots(1, 4)
    for axis, (name, p) in zip(axes, [(n, p) for n in NAMES for p in data[n]], strict=False):
        losses = []
        for width, curve in data[name][p]["curves"].items():
            x = sorted(curve, key=float)
            means = [float(np.mean(curve[k])) for k in x]
            losses += means
            axis.semilogy([float(k) for k in x], means, ".-", label=width)
        axis.set(
            title=f"{name}, {p}", xlabel="log2 lr", ylim=(min(losses) / 1.2, sorted(losses)[len(losses) * 3 // 4] * 1.5)
        )
        axis.legend(fontsize=6)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
