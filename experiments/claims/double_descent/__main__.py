"""Random Fourier features and a small network on digits with label noise: test error against size."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import digits
from experiments.claims.findings import Finding, of_ratios

CLASSES = 10


def measure(settings):
    seeds = range(settings["seeds"])
    curves = [fourier(seed, settings) for seed in seeds]
    net = settings["network"]
    return {
        "examples": settings["examples"],
        "features": settings["features"],
        **{name: [[c[i][name] for c in curves] for i in range(len(settings["features"]))] for name in curves[0][0]},
        "network": {"examples": net["examples"], "hidden": net["hidden"], **networks(settings)},
    }


def split(seed, train, test, noise):
    """Shuffled digits, and centred one-hot targets of which a part of the training ones are wrong."""
    x, labels = digits()
    x, labels = x.cpu(), labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)[: train + test]
    x, y = x[order], labels[order]
    wrong = torch.rand(train, generator=generator) < noise
    y_train = torch.where(wrong, torch.randint(CLASSES, (train,), generator=generator), y[:train])
    targets = [nn.functional.one_hot(v, CLASSES) - 1 / CLASSES for v in (y_train, y[train:])]
    return x[:train], targets[0], x[train:], targets[1]


def fourier(seed, settings):
    """Least squares of the least norm, and with a ridge, on cosines of random projections."""
    x, y, x_test, y_test = split(seed, settings["examples"], settings["test"], settings["label_noise"])
    generator = torch.Generator().manual_seed(1000 + seed)
    most = max(settings["features"])
    w = torch.randn(x.shape[1], most, generator=generator) / settings["bandwidth"]
    b = 2 * math.pi * torch.rand(most, generator=generator)
    found = []
    for count in settings["features"]:
        a, a_test = (((v @ w[:, :count] + b[:count]).cos() * (2 / count) ** 0.5).double() for v in (x, x_test))
        u, s, vt = torch.linalg.svd(a, full_matrices=False)
        coefficients = u.T @ y.double()
        row = {}
        for name, filtered in (("least norm", 1 / s), ("ridge", s / (s**2 + settings["ridge"] * len(x)))):
            weights = vt.T @ (filtered[:, None] * coefficients)
            predicted = a_test @ weights
            row[f"{name}: loss"] = float((predicted - y_test).square().sum(1).mean())
            row[f"{name}: error"] = float((predicted.argmax(1) != y_test.argmax(1)).double().mean())
            row[f"{name}: norm"] = float(weights.norm())
        found.append(row)
    return found


def networks(settings):
    """Networks of one hidden layer, trained by Adam to the end, all seeds as one batch of matrices."""
    net, count = settings["network"], settings["seeds"]
    data = [split(seed, net["examples"], settings["test"], net["label_noise"]) for seed in range(count)]
    x, y, x_test, y_test = (torch.stack([d[i].float() for d in data]) for i in range(4))
    with_one = [torch.cat([v, torch.ones(*v.shape[:2], 1)], dim=2) for v in (x, x_test)]
    found = {"train loss": [], "loss": [], "error": [], "parameters": []}
    for hidden in net["hidden"]:
        generator = torch.Generator().manual_seed(hidden)
        first = torch.randn(count, 65, hidden, generator=generator) / 65**0.5
        last = torch.randn(count, hidden + 1, CLASSES, generator=generator) / (hidden + 1) ** 0.5
        parameters = [first.requires_grad_(), last.requires_grad_()]

        def outputs(v, first=first, last=last):
            h = (v @ first).relu()
            return torch.cat([h, torch.ones(*h.shape[:2], 1)], dim=2) @ last

        optimizer = torch.optim.Adam(parameters, fused=True)
        for step in range(net["steps"]):
            optimizer.param_groups[0]["lr"] = net["lr"] * (1 - step / net["steps"])
            optimizer.zero_grad()
            (outputs(with_one[0]) - y).square().sum(2).mean(1).sum().backward()
            optimizer.step()
        with torch.no_grad():
            f = outputs(with_one[1])
            found["train loss"].append((outputs(with_one[0]) - y).square().sum(2).mean(1).tolist())
            found["loss"].append((f - y_test).square().sum(2).mean(1).tolist())
            found["error"].append((f.argmax(2) != y_test.argmax(2)).float().mean(1).tolist())
        found["parameters"].append(sum(p[0].numel() for p in parameters))
    return found


def findings(data):
    features, n = data["features"], data["examples"]
    loss = np.array(data["least norm: loss"])
    peaks = [features[i] for i in loss.argmax(0)]
    below = [i for i, count in enumerate(features) if count < n]
    net = data["network"]
    threshold = net["examples"] * CLASSES
    parameters = net["parameters"]
    mean = np.mean(net["loss"], axis=1)
    inside = range(1, len(mean) - 1)
    peak = max(inside, key=lambda i: mean[i])
    valley = int(np.argmin(mean[: peak + 1]))
    near = 0.5 * threshold <= parameters[peak] <= 1.5 * threshold
    ridge, norm = np.array(data["ridge: loss"]), np.array(data["least norm: norm"])
    at = features.index(n)
    return [
        Finding(
            statement=f"random features: where the test loss peaks, {n} examples, each seed",
            published="as many features as examples",
            measured=", ".join(map(str, peaks)),
            holds=all(p == n for p in peaks),
        ),
        of_ratios(
            "random features: test loss at the peak over that of the most features",
            "large",
            (loss.max(0) / loss[-1]).tolist(),
            within=(3.0, float("inf")),
        ),
        of_ratios(
            "random features: test loss of the most features over the best with fewer features than examples",
            "below 1: the second descent goes lower",
            (loss[-1] / loss[below].min(0)).tolist(),
            within=(0.0, 1.0),
        ),
        of_ratios(
            "random features: norm of the solution at the peak over that of the most features",
            "large",
            (norm[at] / norm[-1]).tolist(),
            within=(3.0, float("inf")),
        ),
        of_ratios(
            "random features, ridge: test loss at as many features as examples over that of the most features",
            "no peak (the peak is one of unregularised fits)",
            (ridge[at] / ridge[-1]).tolist(),
            within=(0.0, 2.0),
        ),
        Finding(
            statement=f"network: where the test loss peaks; threshold {threshold} (examples x classes)",
            published="at the interpolation threshold",
            measured=f"{parameters[peak]} parameters",
            holds=bool(near and mean[peak] > max(mean[valley], mean[-1])),
        ),
        of_ratios(
            "network: test loss at the peak over that of the widest",
            "above 1",
            (np.array(net["loss"][peak]) / np.array(net["loss"][-1])).tolist(),
            within=(1.0, float("inf")),
        ),
        of_ratios(
            "network: test loss of the widest over the best below the peak",
            "below 1: the second descent goes lower",
            (np.array(net["loss"][-1]) / np.array(net["loss"][: peak + 1]).min(0)).tolist(),
            within=(0.0, 1.0),
        ),
    ]


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for name, style in (("least norm", "o-"), ("ridge", ".--")):
        left.loglog(data["features"], np.median(data[f"{name}: loss"], axis=1), style, label=name)
    left.axvline(data["examples"], color="grey", lw=0.8)
    left.set(xlabel="features", ylabel="test loss", title="random Fourier features")
    left.legend()
    net = data["network"]
    right.loglog(net["parameters"], np.mean(net["loss"], axis=1), "o-", label="test")
    right.loglog(net["parameters"], np.mean(net["train loss"], axis=1).clip(1e-8), ".--", label="training")
    right.set_ylim(bottom=1e-2)  # below, the training loss goes on towards 0
    right.axvline(net["examples"] * CLASSES, color="grey", lw=0.8)
    right.set(xlabel="parameters", ylabel="loss", title="one hidden layer")
    right.legend()


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
