"""Networks at mean-field and at NTK scale: deviation over seeds and movement of features."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import parity_of_digits
from experiments.claims.descent import part_of_critical, train
from experiments.claims.findings import of_slope
from experiments.claims.networks import architecture, ntk_mlp
from mutransfer.intervals import Slope, fit_slope
from mutransfer.kernels import infinite_width
from mutransfer.parameterization.measuring.activations import activations, relative_changes

LIMITS = ("mean field", "ntk")


def measure(settings):
    n = settings["examples"]
    x, y = parity_of_digits(n + settings["test"])
    # One hidden tanh layer: ReLU's kernel, in closed form, is close and sets the same rate for every width and seed.
    lr = part_of_critical(infinite_width(architecture(1, nn.ReLU), x[:n]).ntk, y[:n], settings["part_of_critical"])
    found = {}
    for limit in LIMITS:
        runs = [
            [trained(limit, width, seed, x, y, n, lr, settings) for seed in range(settings["seeds"])]
            for width in settings["widths"]
        ]
        predictions = [torch.stack([r["f"] for r in row]) for row in runs]  # per width (seeds, tests)
        best = predictions[-1].mean(0)
        found[limit] = {
            # Of independent groups of seeds, so that the slope has an interval.
            "spread": [
                [float(group.var(0).mean().sqrt()) for group in p.split(settings["group"])] for p in predictions
            ],
            "distance": [(p.mean(0) - best).square().mean().sqrt().item() for p in predictions[:-1]],
            "features": [[r["features"] for r in row] for row in runs],
            "train_loss": [[r["train_loss"] for r in row] for row in runs],
        }
    return {"widths": settings["widths"], **found}


def trained(limit, width, seed, x, y, n, lr, settings):
    mean_field = limit == "mean field"
    model = ntk_mlp(width, 1, nn.Tanh, seed=seed, readout=width**-0.5 if mean_field else 1.0)
    before = activations(model, lambda: model(x[:n]))
    train(model, x[:n], y[:n], lr=lr * (width if mean_field else 1), steps=settings["steps"])
    moved = relative_changes(before, activations(model, lambda: model(x[:n])))
    with torch.no_grad():
        f = model(x)
    return {
        "f": f[n:, 0].double().cpu(),
        "features": moved["0"],
        "train_loss": float((f[:n] - y[:n]).square().mean()),
    }


def findings(data):
    widths = data["widths"]
    upper = len(widths) // 2

    def slopes(name, limit, start=0) -> Slope | None:
        return fit_slope(widths[start:], data[limit][name][start:])

    return [
        of_slope(
            "deviation of trained predictions between seeds, mean field, power of width",
            "-1/2",
            slopes("spread", "mean field"),
            within=(-0.65, -0.35),
            remark=f"over the upper widths {slopes('spread', 'mean field', upper)}",
        ),
        of_slope(
            "the same in the NTK parameterization",
            "0: the limit itself is random",
            slopes("spread", "ntk"),
            within=(-0.15, 0.15),
        ),
        of_slope(
            "relative change of the hidden layer, mean field, power of width",
            "0: features move",
            slopes("features", "mean field"),
            within=(-0.15, 0.15),
        ),
        of_slope(
            "the same in the NTK parameterization",
            "-1/2: features stay",
            slopes("features", "ntk"),
            within=(-0.65, -0.35),
        ),
    ]


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for limit in LIMITS:
        left.loglog(data["widths"], [np.mean(row) for row in data[limit]["spread"]], "o-", label=limit)
        right.loglog(data["widths"], [np.mean(row) for row in data[limit]["features"]], "o-", label=limit)
    left.set(xlabel="width", ylabel="deviation between seeds", title="trained predictions")
    right.set(xlabel="width", ylabel="relative change", title="hidden layer")
    left.legend()


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
