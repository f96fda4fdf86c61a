"""Learning rates against width under several parameterizations with per-layer rates; forms of one function."""

from __future__ import annotations

import math

import numpy as np

import mutransfer as mt
from experiments.claims.claim import main
from experiments.claims.findings import Finding, judged, of_slope
from experiments.claims.sweeps import verified
from mutransfer.measure.slopes import Slope
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.runs.runner import Runner

FORMS = ("mup", "mup_t3", "mup_t9", "mf")
FULL_ALIGNMENT = ("sp_full_alignment", "ntk_full_alignment")
EXPERIMENTS = ((FORMS, True), (FULL_ALIGNMENT, True), (FORMS, False))  # forms of one function; eps scaled or fixed
CONTROL = "sp"


def measure(settings):
    task = DigitsMLP(**settings["args"])
    _, of = verified(task, settings)
    found = {}
    for name, v in of.items():
        found[name] = {
            "verdict": str(v.verdict),
            "tolerance": v.tolerance,
            "drift": None if v.drift is None else [v.drift.value, v.drift.low, v.drift.high],
            "optima": {str(w): [o.log2_lr, o.low, o.high, o.loss] for w, o in v.optima.items()},
            "regret": {str(w): [r.value, r.low, r.high] for w, r in v.regret.items()},
        }
    return {"verified": found, "forms": forms(task, settings)}


def forms(task, settings):
    """Final losses of one spec: for each experiment whether eps is scaled, and {form: losses}."""
    s, runner = settings["forms"], Runner(task, members=settings["members"])
    found = []
    for names, scaled in EXPERIMENTS:
        losses = {}
        for form in names:
            specs = [
                mt.RunSpec(
                    task=repr(task),
                    width=s["width"],
                    base_width=settings["base_width"],
                    hyperparameters={"lr": s["lr"], "eps": s["eps"]},
                    parameterization=form,
                    optimizer="adam",
                    scale_eps=scaled,
                    steps=s["steps"],
                    seed=seed,
                )
                for seed in range(s["seeds"])
            ]
            losses[form] = [result.final_loss for result in runner.perform(specs, form)]
        found.append({"eps_scaled": scaled, "losses": losses})
    return found


def findings(data):
    found = []
    tolerance = data["verified"]["mup"]["tolerance"]
    for name, v in data["verified"].items():
        control = name == CONTROL
        optima = list(v["optima"])
        slope = None if v["drift"] is None else Slope(**dict(zip(("value", "low", "high"), v["drift"], strict=True)))
        found.append(
            of_slope(
                f"{name}{', one learning rate' if control else ''}: drift of the optimal log2 lr, octaves per doubling",
                "negative (control)" if control else "0 (base learning rates: -0.02 to -0.06)",
                slope,
                within=(-math.inf, -0.25) if control else (-0.25, 0.25),
                remark="optima "
                + " → ".join(f"{o[0]:.1f}" for o in v["optima"].values())
                + f" at widths {', '.join(optima)}; verdict {v['verdict']}; best loss at width {optima[-1]} "
                + f"{v['optima'][optima[-1]][3]:.3g}",
            )
        )
        if optima[-1] in v["regret"]:
            value, low, high = v["regret"][optima[-1]]
            found.append(
                judged(
                    f"{name}, width {optima[-1]}: log loss at the learning rate of width {optima[0]} less the best",
                    "large (control)" if control else "about 0",
                    value,
                    low,
                    high,
                    within=(tolerance, math.inf) if control else (-math.inf, tolerance),
                    remark=f"judged against {tolerance:.2g}: the deviation of a difference between two "
                    "runs, or a tenth of what width buys",
                )
            )
    for experiment in data["forms"]:
        names, scaled = experiment["losses"], experiment["eps_scaled"]
        eps = "scaled" if scaled else "fixed"
        losses = np.array(list(names.values()))
        spread = float(((losses.max(0) - losses.min(0)) / losses.mean(0)).mean())
        found.append(
            Finding(
                statement=f"final losses of {', '.join(names)} with Adam's eps {eps}: spread",
                published="equal: one function" if scaled else "differ: the forms separate",
                measured=f"{100 * spread:.2g} % of the loss (" + ", ".join(f"{row.mean():.5g}" for row in losses) + ")",
                holds=spread < 1e-3 if scaled else spread > 1e-2,
            )
        )
    return found


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for name, v in data["verified"].items():
        widths = [int(w) for w in v["optima"]]
        o = np.array(list(v["optima"].values()))
        left.errorbar(widths, o[:, 0], [o[:, 0] - o[:, 1], o[:, 2] - o[:, 0]], fmt="o-", capsize=2, label=name)
        right.loglog(widths, o[:, 3], "o-", label=name)
    left.set(xscale="log", xlabel="width", ylabel="optimal log2 lr", title="perceptron on digits")
    right.set(xlabel="width", ylabel="loss", title="loss at the optimum")
    left.legend(fontsize=7, loc="lower left")


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
