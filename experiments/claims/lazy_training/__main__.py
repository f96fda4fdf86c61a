"""The same network, its output scaled by alpha: how far parameters move, how close it stays to its linearisation."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import DEVICE, parity_of_digits
from experiments.claims.descent import copy_of, descend, movement, part_of_critical, train
from experiments.claims.findings import mean_interval, of_ratios, of_slope
from experiments.claims.networks import ntk_mlp
from mutransfer.kernels import empirical_ntk, lazy, linearize

INF = float("inf")


def measure(settings):
    x, y = parity_of_digits(settings["examples"])
    scale = [
        [
            distances(ntk_mlp(settings["width"], 1, nn.Tanh, seed=seed).double(), alpha, x.double(), y, settings)
            for seed in range(settings["seeds"])
        ]
        for alpha in settings["alphas"]
    ]
    t = settings["teacher"]
    return {
        "alphas": settings["alphas"],
        "fit_from": settings["fit_from"],
        **{name: [[s[name] for s in row] for row in scale] for name in scale[0][0]},
        "teacher_alphas": settings["teacher_alphas"],
        "teacher": [
            [taught(seed, alpha, t) for seed in range(settings["seeds"])] for alpha in settings["teacher_alphas"]
        ],
    }


def distances(model, alpha, x, y, settings):
    """Of the scaled network at the end from its start, and from its own linearisation on the way."""
    lr = part_of_critical(empirical_ntk(model, x), y, settings["part_of_critical"])
    # The loss over alpha^2 is the learning rate over alpha^2.
    how = {"lr": lr / alpha**2, "steps": settings["steps"]}
    scaled, linear = lazy(model, alpha), linearize(lazy(model, alpha))
    start = copy_of(scaled)
    outputs = [torch.stack(list(descend(m, x, y, **how))) for m in (scaled, linear)]
    return {
        "moved": movement(scaled, start),
        "from_linear": movement(scaled, copy_of(linear)),
        "outputs": float((outputs[0] - outputs[1]).square().mean(dim=(1, 2)).sqrt().max()),
    }


def taught(seed, alpha, t):
    """Test loss of a student network on a teacher's function, over the loss of predicting zero, after training."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(t["examples"] + t["test"], t["inputs"], generator=generator)
    w = torch.randn(t["inputs"], t["neurons"], generator=generator)
    signs = torch.tensor([1.0, -1.0, 1.0])[: t["neurons"]]
    y = ((x @ w / t["inputs"] ** 0.5).relu() @ signs)[:, None]
    y = (y - y[: t["examples"]].mean()) / y[: t["examples"]].std()
    x, y = x.to(DEVICE), y.to(DEVICE)
    student = ntk_mlp(t["width"], 1, nn.ReLU, seed=seed, inputs=t["inputs"])
    x_train, y_train, x_test, y_test = x[: t["examples"]], y[: t["examples"]], x[t["examples"] :], y[t["examples"] :]
    lr = part_of_critical(empirical_ntk(student, x_train), y_train, t["part_of_critical"])
    model = train(lazy(student, alpha), x_train, y_train, lr=lr / alpha**2, steps=t["steps"])
    with torch.no_grad():
        return float((model(x_test) - y_test).square().mean() / y_test.square().mean())


def findings(data):
    large = [i for i, alpha in enumerate(data["alphas"]) if alpha >= data["fit_from"]]
    alphas = [data["alphas"][i] for i in large]
    found = [
        of_slope(statement, published, fit_slope(alphas, [data[name][i] for i in large]), within=(-INF, bound))
        for name, statement, published, bound in (
            ("moved", "distance of the parameters from their start, power of alpha", "at most -1", -0.85),
            ("from_linear", "their distance from the linearised model's, power of alpha", "at most -2", -1.85),
            ("outputs", "largest distance between the outputs, power of alpha", "at most -1", -0.85),
        )
    ]
    lazy_over_least = [a / b for a, b in zip(data["teacher"][-1], data["teacher"][0], strict=True)]
    found.append(
        of_ratios(
            f"test loss on a teacher of three neurons, alpha = {data['teacher_alphas'][-1]:g} over alpha = "
            f"{data['teacher_alphas'][0]:g}",
            "larger than 1: lazy training generalises worse",
            lazy_over_least,
            within=(1.0, INF),
        )
    )
    return found


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for name, label in (
        ("moved", "parameters, from start"),
        ("from_linear", "parameters, from linearised"),
        ("outputs", "outputs, from linearised"),
    ):
        left.loglog(data["alphas"], [np.mean(row) for row in data[name]], "o-", label=label)
    left.set(xlabel="alpha", ylabel="distance", title="digits")
    left.set_ylim(top=60 * left.get_ylim()[1])
    left.legend(loc="upper right", fontsize=8)
    middle, low, high = zip(*(mean_interval(row) for row in data["teacher"]), strict=True)
    right.semilogx(data["teacher_alphas"], middle, "o-")
    right.fill_between(data["teacher_alphas"], low, high, alpha=0.3)
    right.set(xlabel="alpha", ylabel="test loss / variance", title="a teacher of three neurons")


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
