"""The tangent kernel of a wide network: how far from its limit at initialisation, how far it moves in training."""

from __future__ import annotations

from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import parity_of_digits
from experiments.claims.descent import train
from experiments.claims.findings import of_slope
from experiments.claims.networks import architecture, ntk_mlp
from mutransfer.kernels import empirical_ntk, infinite_width, relative_drift

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def measure(settings):
    x, y = parity_of_digits(settings["examples"])
    at_init = {}
    for depth in settings["depths"]:
        limit = infinite_width(architecture(depth, nn.ReLU), x).ntk
        at_init[str(depth)] = [
            [
                relative_drift(limit, empirical_ntk(ntk_mlp(width, depth, nn.ReLU, seed=seed), x).cpu().double())
                for seed in range(settings["init_seeds"])
            ]
            for width in settings["init_widths"]
        ]
    trained = {
        name: [
            [drift(ntk_mlp(width, 1, activation, seed=seed), x, y, settings) for seed in range(settings["train_seeds"])]
            for width in settings["train_widths"]
        ]
        for name, activation in ACTIVATIONS.items()
    }
    return {
        "init_widths": settings["init_widths"],
        "at_init": at_init,
        "train_widths": settings["train_widths"],
        "trained": trained,
    }


def drift(model, x, y, settings):
    """Relative change of the kernel by training."""
    start = empirical_ntk(model, x)
    train(model, x, y, lr=settings["lr"], steps=settings["steps"])
    return relative_drift(start, empirical_ntk(model, x))


def findings(data):
    found = [
        of_slope(
            f"distance of the kernel at initialisation from its limit, {depth} hidden layer(s), power of width",
            "-1/2 (central limit)",
            fit_slope(data["init_widths"], rows),
            within=(-0.65, -0.35),
        )
        for depth, rows in data["at_init"].items()
    ]
    for name, published, within in (
        ("tanh", "bound -1/2 (Lee et al.); -1 for smooth activations (Dyer & Gur-Ari)", (-1.15, -0.85)),
        ("relu", "bound -1/2; here expected -3/4 where sign flips dominate", (-0.9, -0.6)),
    ):
        slope = fit_slope(data["train_widths"], data["trained"][name])
        statement = f"change of the kernel in training, {name}, power of width"
        found.append(of_slope(statement, published, slope, within=within))
    return found


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for depth, rows in data["at_init"].items():
        left.loglog(data["init_widths"], [sum(r) / len(r) for r in rows], "o-", label=f"{depth} hidden, ReLU")
    for name, rows in data["trained"].items():
        right.loglog(data["train_widths"], [sum(r) / len(r) for r in rows], "o-", label=name)
    left.set(title="at initialisation", xlabel="width", ylabel="relative distance from the limit")
    right.set(title="in training", xlabel="width", ylabel="relative change of the kernel")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
