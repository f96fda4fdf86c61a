"""Learning rates against width under mup and sp, for a perceptron and a byte GPT; further hyperparameters under mup."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments.claims.claim import main
from experiments.claims.findings import Finding, judged, mean_interval, of_slope
from experiments.claims.sweeps import verified
from mutransfer.measure.slopes import Slope
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.verification.evidence import weigh

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
        task = kind(**s["args"])
        tuned, of = verified(task, s)
        found[name] = {p: summary(v) for p, v in of.items()}
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
        found[name] = weighed(curves, ceilings, settings["widths"])
    return found


def weighed(curves, ceilings, widths):
    """What the best point of the first width costs at the widest, judged as a learning rate would be."""
    first = next(iter(curves.values()))
    best = min(first, key=lambda x: np.mean(first[x]))
    evidence = weigh(curves, ceilings, widths, best)
    largest = evidence.regret[str(widths[-1])]
    return {
        "best": best,
        "regret": [largest.value, largest.low, largest.high],
        "tolerance": evidence.tolerance,
        "optima": {width: [o.log2_lr, o.low, o.high] for width, o in evidence.optima.items()},
        "curves": {width: {f"{x:g}": losses for x, losses in curve.items()} for width, curve in curves.items()},
    }


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
                        remark=f"judged against {by['mup']['tolerance']:.2g}: the deviation of a difference between "
                        "two runs, or a tenth of what width buys",
                    )
                )
        found.append(wider_is_better(title, by["mup"]["at_transferred"]))
    for name, what in SEVERAL.items():
        studied = data["several"][name]
        optima = studied["optima"]
        narrowest, *_, widest = optima
        trail = " → ".join("{:.1f} [{:.1f}, {:.1f}]".format(*o) for o in optima.values())
        value, low, high = studied["regret"]
        found.append(
            judged(
                f"perceptron, mup, width {widest}: log loss at the best {what} of width {narrowest} less the best",
                "about 0",
                value,
                low,
                high,
                within=(-float("inf"), studied["tolerance"]),
                remark=f"judged against {studied['tolerance']:.2g}, as learning rates are; log2 of the optima {trail} "
                f"at widths {', '.join(optima)}",
            )
        )
    return found


def wider_is_better(title, at):
    """Gains from each width to the next, of the same seeds: the statement is about every one of them."""
    losses = list(at.values())
    gains = [mean_interval(np.subtract(a, b)) for a, b in pairwise(losses)]
    better, worse = all(low > 0 for _, low, _ in gains), any(high < 0 for _, _, high in gains)
    told = ", ".join(f"{value:.2g} [{low:.2g}, {high:.2g}]" for value, low, high in gains)
    return Finding(
        statement=f"{title}, mup: wider is better at the transferred learning rate",
        published="loss falls with width",
        measured=" → ".join(f"{np.mean(row):.4g}" for row in losses) + f", by {told}",
        holds=True if better else False if worse else None,
        remark=f"at widths {', '.join(at)}",
    )


def draw(data, figure):
    figure.set_size_inches(7.0, 4.4)
    figure.supylabel("loss, one curve per width", fontsize=9)
    upper, lower = figure.subplots(2, 4)
    for axes, (name, p) in zip(upper, [(n, p) for n in NAMES for p in data[n]], strict=False):
        draw_curves(axes, data[name][p]["curves"])
        axes.set_title(f"{name}, {p}: log2 lr", fontsize=8)
    for axes, name in zip(lower, SEVERAL, strict=True):
        draw_curves(axes, data["several"][name]["curves"])
        axes.set_title(f"log2 {'(1 - beta1)' if name == 'beta1' else name}", fontsize=8)


def draw_curves(axes, by_width):
    """Mean loss over seeds, one curve per width; what rises far above the optima is cut off."""
    curves = []
    for width, curve in by_width.items():
        x = sorted(curve, key=float)
        means = [float(np.mean(curve[k])) for k in x]
        curves.append(means)
        axes.semilogy([float(k) for k in x], means, lw=1, label=width)
    low, high = min(map(min, curves)), min(max(map(max, curves)), 3 * max(map(min, curves)))
    margin = (high / low) ** 0.05
    axes.set_ylim(low / margin, high * margin)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=7)
    # below: a curve that is cut off leaves no corner free
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1)}
    axes.legend(fontsize=6, ncols=3, handlelength=0.8, columnspacing=0.6, frameon=False, **below)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
