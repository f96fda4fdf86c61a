"""How activations move with width under each parameterization; parity under mup and ntk, each at its own best rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import mutransfer as mt
from experiments.claims.claim import main
from experiments.claims.findings import of_ratios, of_seeds, of_slope
from mutransfer.measure.slopes import Slope
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.parity import ParityMLP
from mutransfer.transfer.runs.runner import Runner


def measure(settings):
    return {"depth": settings["hidden_layers"], "cases": cases(settings), "parity": parity(settings["parity"])}


def cases(settings):
    task = DigitsMLP(hidden_layers=settings["hidden_layers"], batch_size=settings["batch_size"])
    found = []
    for name, optimizer, lr, steps in settings["cases"]:
        check = mt.coordinate_check(
            task,
            widths=settings["widths"],
            parameterization=name,
            optimizer=optimizer,
            lr=lr,
            steps=steps,
            seeds=settings["seeds"],
        )
        layers = list(check.slopes)  # first, hidden ones, readout
        found.append(
            {
                "parameterization": name,
                "optimizer": optimizer,
                "kind": str(check.regime.kind),
                "r": check.regime.r,
                "predicted": check.regime.change,  # of the first layer, hidden layers, logits
                "widths": list(check.widths),
                "change": [check.sizes[layer]["change"] for layer in (layers[0], layers[-2], layers[-1])],
                "slopes": [
                    [s.value, s.low, s.high]
                    for s in (check.slopes[layer]["change"] for layer in (layers[0], layers[-2], layers[-1]))
                ],
            }
        )
    return found


def parity(settings):
    """{parameterization: {width: {log2 lr: final evaluation per seed}}}"""
    task = ParityMLP(bits=settings["bits"], n_train=settings["n_train"], batch_size=min(64, settings["n_train"]))
    runner = Runner(task)
    found = {}
    for name in ("mup", "ntk"):
        found[name] = {}
        for width in settings["widths"]:
            specs = [
                mt.RunSpec(
                    task=repr(task),
                    width=width,
                    base_width=settings["base_width"],
                    hyperparameters={"lr": 2.0**x},
                    parameterization=name,
                    optimizer="adam",
                    steps=settings["steps"],
                    schedule="linear",
                    seed=seed,
                )
                for x in settings["log2_lr"]
                for seed in range(settings["seeds"])
            ]
            losses = [min(r.final_loss, r.initial_loss) for r in runner.perform(specs, name)]
            count = settings["seeds"]
            found[name][str(width)] = {
                str(x): losses[i * count : (i + 1) * count] for i, x in enumerate(settings["log2_lr"])
            }
    return found


def best_rate(by_lr):
    """The log2 learning rate, as it is stored, of the lowest mean."""
    return min(by_lr, key=lambda x: np.mean(by_lr[x]))


def best(by_lr):
    """The losses, one per seed, at the learning rate of the lowest mean."""
    return by_lr[best_rate(by_lr)]


def within_grid(finding, sides):
    """The finding; undecided where the best rate of a side is the grid's first or last, so that it may lie beyond."""
    border = [
        f"{name}, width {width}: 2^{best_rate(by_lr)}"
        for (name, width), by_lr in sides.items()
        if float(best_rate(by_lr)) in (min(map(float, by_lr)), max(map(float, by_lr)))
    ]
    if not border:
        return finding
    remark = "; ".join(filter(None, [finding.remark, f"best rate on the border of the grid ({', '.join(border)})"]))
    return replace(finding, holds=None, remark=remark)


def findings(data):
    found = []
    for case in data["cases"]:
        value, low, high = case["slopes"][1]
        name = f"{case['parameterization']}, {case['optimizer']}: change of the last hidden layer, power of width"
        slope = Slope(value=value, low=low, high=high)
        if case["kind"] == "unstable":
            published, within = f"grows ({case['kind']}, r = {case['r']:g})", (0.15, float("inf"))
        else:
            expected = case["predicted"][1]
            published, within = f"{expected:g} ({case['kind']}, r = {case['r']:g})", (expected - 0.15, expected + 0.15)
        logits = Slope(**dict(zip(("value", "low", "high"), case["slopes"][2], strict=True)))
        found.append(of_slope(name, published, slope, within=within, remark=f"logits {logits}"))
    widths = list(data["parity"]["mup"])
    losses = {name: [best(by_width[w]) for w in widths] for name, by_width in data["parity"].items()}
    numbers = ", ".join(f"{name} " + " → ".join(f"{np.mean(row):.3g}" for row in rows) for name, rows in losses.items())
    compared = of_seeds(
        f"parity of 2 bits, width {widths[-1]}: test loss under ntk less under mup, each at its best learning rate",
        "positive: the kernel limit is worse",
        [a - b for a, b in zip(losses["ntk"][-1], losses["mup"][-1], strict=True)],
        within=(0.0, float("inf")),
        remark=f"widths {', '.join(widths)}: {numbers}",
    )
    sides = {(name, w): data["parity"][name][w] for name in losses for w in widths}
    found.append(within_grid(compared, {key: sides[key] for key in (("ntk", widths[-1]), ("mup", widths[-1]))}))
    for name, published, within in (
        ("mup", "below 1", (0.0, 1.0)),
        ("ntk", "above 1", (1.0, float("inf"))),
    ):
        ratios = [a / b for a, b in zip(losses[name][-1], losses[name][0], strict=True)]
        statement = f"parity, {name}: test loss at width {widths[-1]} over that at width {widths[0]}"
        compared = of_ratios(statement, published, ratios, within=within)
        found.append(within_grid(compared, {key: sides[key] for key in ((name, widths[-1]), (name, widths[0]))}))
    return found


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for case in data["cases"]:
        rows = case["change"][1]
        means = np.array([np.mean(row) for row in rows])
        # mf is mup again: dashed and above, it shows both.
        style, order = ("s--", 3) if case["parameterization"] == "mf" else ("o-", 2)
        label = f"{case['parameterization']}, {case['optimizer']}"
        left.loglog(case["widths"], means / means[0], style, ms=3, label=label, zorder=order)
    left.set(xlabel="width", ylabel="change of the last hidden layer", title="digits, over that at the least width")
    left.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    for name, by_width in data["parity"].items():
        right.loglog([int(w) for w in by_width], [np.mean(best(v)) for v in by_width.values()], "o-", label=name)
    right.set(xlabel="width", ylabel="test loss, best learning rate", title="parity of 2 bits of 40")
    right.legend()


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
