"""A network beside its linearisation, against width; an ensemble of trained networks beside its closed form."""

from __future__ import annotations

import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import parity_of_digits
from experiments.claims.descent import descend, part_of_critical, train
from experiments.claims.findings import of_seeds, of_slope
from experiments.claims.networks import architecture, ntk_mlp
from mutransfer.kernels import Erf, empirical_ntk, gradient_descent, gradient_flow_ensemble, infinite_width

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def measure(settings):
    count, tests = settings["examples"], settings["test_examples"]
    x, y = parity_of_digits(count + tests)
    x_train, y_train, x_test = x[:count], y[:count], x[count:]
    errors = {
        name: [
            [
                distance(ntk_mlp(width, 1, activation, seed=seed), x_train, y_train, x_test, settings)
                for seed in range(settings["seeds"])
            ]
            for width in settings["widths"]
        ]
        for name, activation in ACTIVATIONS.items()
    }
    return {
        "widths": settings["widths"],
        "errors": {
            f"{name}, {part}": [[pair[i] for pair in row] for row in rows]
            for name, rows in errors.items()
            for i, part in enumerate(("training", "test"))
        },
        "ensemble": ensemble(x_train, y_train, x_test, settings),
    }


def distance(model, x, y, x_test, settings):
    """The largest root-mean-square distance over time, on training and on test examples."""
    both = torch.cat([x, x_test])
    kernel = empirical_ntk(model, both).cpu().double()
    start = model(both).detach().cpu().double()
    n, lr = len(x), part_of_critical(kernel[: len(x), : len(x)], y, settings["part_of_critical"])
    steps = settings["steps"]
    predicted = gradient_descent(
        kernel[:n, :n], y, range(steps + 1), k_test_train=kernel[n:, :n], f0=start[:n], f0_test=start[n:], lr=lr
    )
    watched = Both(model, x_test)
    found = torch.stack(list(descend(watched, x, y, lr=lr, steps=steps)))
    on_test = torch.stack(watched.seen)
    return [rms_over_time(found - predicted.train), rms_over_time(on_test - predicted.test)]


class Both(nn.Module):
    """The model, which is also asked about the test examples whenever it is about the training examples."""

    def __init__(self, model, x_test):
        super().__init__()
        self.model, self.x_test, self.seen = model, x_test, []

    def forward(self, x):
        with torch.no_grad():
            self.seen.append(self.model(self.x_test).double().cpu())
        return self.model(x)


def rms_over_time(error):
    return float(error.square().mean(dim=(1, 2)).sqrt().max())


def ensemble(x, y, x_test, settings):
    """Per group of networks: the part of the predicted mean that is there, and the variance over the predicted one."""
    network = architecture(1, Erf)
    own, cross, test = (infinite_width(network, a, b) for a, b in ((x, None), (x_test, x), (x_test, None)))
    lr = part_of_critical(own.ntk, y, settings["ensemble_part_of_critical"])
    closed = gradient_flow_ensemble(
        own.ntk,
        own.nngp,
        y,
        lr * settings["ensemble_steps"],
        ntk_test_train=cross.ntk,
        nngp_test_train=cross.nngp,
        nngp_test_test=test.nngp,
    ).test
    size, groups = settings["ensemble_group"], settings["ensemble_groups"]
    predictions = []
    for seed in range(size * groups):
        model = train(
            ntk_mlp(settings["ensemble_width"], 1, Erf, seed=seed), x, y, lr=lr, steps=settings["ensemble_steps"]
        )
        predictions.append(model(x_test).detach().cpu().double()[:, 0])
    f = torch.stack(predictions).reshape(groups, size, -1)
    mean = closed.mean[:, 0]
    covariance = torch.einsum("gsi,gsj->gij", *[f - f.mean(1, keepdim=True)] * 2) / (size - 1)
    off = ~torch.eye(len(mean), dtype=torch.bool)
    return {
        "mean": (f.mean(1) @ mean / mean.square().sum()).tolist(),
        "variance": (covariance.diagonal(dim1=1, dim2=2).sum(1) / closed.covariance.trace()).tolist(),
        "covariance": (
            (covariance * closed.covariance)[:, off].sum(1) / closed.covariance[off].square().sum()
        ).tolist(),
        "predicted_mean": mean.tolist(),
        "predicted_deviation": closed.covariance.diagonal().sqrt().tolist(),
        "found_mean": f.mean((0, 1)).tolist(),
        "found_deviation": f.flatten(0, 1).std(0).tolist(),
    }


def findings(data):
    found = []
    for name, rows in data["errors"].items():
        smooth = name.startswith("tanh")
        found.append(
            of_slope(
                f"largest distance between network and linearisation, {name} examples, power of width",
                "bound -1/2; "
                + ("-1 for smooth activations" if smooth else "here expected -3/4 where sign flips dominate"),
                fit_slope(data["widths"], rows),
                within=(-float("inf"), -0.5),
            )
        )
    for what, statement in (
        ("mean", "mean of trained networks on test examples, as a part of the closed form's"),
        ("variance", "variance of trained networks on test examples over the closed form's"),
        ("covariance", "covariance between test examples, as a part of the closed form's"),
    ):
        found.append(of_seeds(statement, "1", data["ensemble"][what], within=(0.9, 1.1)))
    return found


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for name, rows in data["errors"].items():
        left.loglog(data["widths"], [sum(r) / len(r) for r in rows], "o-", label=name)
    left.set(xlabel="width", ylabel="largest distance over time", title="network and linearisation")
    left.set_ylim(top=6 * left.get_ylim()[1])
    left.legend(loc="upper right", ncols=2, fontsize=8)
    e = data["ensemble"]
    places = range(len(e["predicted_mean"]))
    order = sorted(places, key=lambda i: e["predicted_mean"][i])
    mean, deviation = ([e[f"predicted_{k}"][i] for i in order] for k in ("mean", "deviation"))
    right.fill_between(
        list(places),
        [m - d for m, d in zip(mean, deviation, strict=True)],
        [m + d for m, d in zip(mean, deviation, strict=True)],
        alpha=0.3,
        label="closed form, one deviation",
    )
    right.errorbar(
        list(places),
        [e["found_mean"][i] for i in order],
        [e["found_deviation"][i] for i in order],
        fmt=".",
        label="trained networks",
    )
    right.set(xlabel="test example, sorted", ylabel="prediction", title="an ensemble")
    right.set_ylim(top=right.get_ylim()[1] + 1)
    right.legend(loc="upper left", fontsize=8)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
