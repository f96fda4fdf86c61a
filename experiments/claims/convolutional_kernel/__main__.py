"""The exact convolutional tangent kernel: beside finite networks, and as a classifier of small data."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import DEVICE, digits
from experiments.claims.findings import mean_interval, of_seeds, of_slope
from experiments.claims.networks import NtkConv2d, NtkLinear, architecture
from mutransfer.kernels import empirical_ntk, gradient_flow, infinite_width, relative_drift
from mutransfer.random_state import seed_everything

HEADS = ("flatten", "average pooling")


def head(name):
    return [nn.Flatten()] if name == "flatten" else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def limit(layers, name):
    """The architecture, for ``infinite_width``."""
    convolutions = [
        module
        for i in range(layers)
        for module in (nn.Conv2d(1 if i == 0 else 8, 8, 3, padding=1, bias=False), nn.ReLU())
    ]
    return nn.Sequential(*convolutions, *head(name), nn.Linear(8 * 64 if name == "flatten" else 8, 1, bias=False))


def finite(layers, name, channels, seed):
    seed_everything(seed)
    convolutions = [
        module for i in range(layers) for module in (NtkConv2d(1 if i == 0 else channels, channels), nn.ReLU())
    ]
    readout = NtkLinear(channels * 64 if name == "flatten" else channels, 1)
    return nn.Sequential(*convolutions, *head(name), readout).to(DEVICE)


def measure(settings):
    x = images(settings["examples"])
    layers = settings["layers"]
    distance = {}
    for name in HEADS:
        exact = infinite_width(limit(layers, name), x).ntk
        distance[name] = [
            [
                relative_drift(exact, empirical_ntk(finite(layers, name, channels, seed), x).double().cpu())
                for seed in range(settings["seeds"])
            ]
            for channels in settings["channels"]
        ]
    return {
        "channels": settings["channels"],
        "distance": distance,
        "train": settings["train"],
        "accuracy": accuracies(settings),
    }


def images(count=None, skip=0):
    x, _ = digits(count, skip=skip)
    return x.reshape(-1, 1, 8, 8)


def accuracies(settings):
    """Test accuracy of kernel regression per split, trained for ever."""
    every, labels = digits()
    n, m = settings["train"], settings["test"]
    found = {name: [] for name in ("fully connected", *HEADS)}
    for split in range(settings["splits"]):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(split))[: n + m].to(DEVICE)
        x, y = every[order], labels[order]
        targets = nn.functional.one_hot(y[:n], 10) - 0.1
        for name in found:
            network = (
                architecture(settings["layers"], nn.ReLU) if name not in HEADS else limit(settings["layers"], name)
            )
            shaped = x if name not in HEADS else x.reshape(-1, 1, 8, 8)
            own, cross = infinite_width(network, shaped[:n]).ntk, infinite_width(network, shaped[n:], shaped[:n]).ntk
            predicted = gradient_flow(own, targets, float("inf"), k_test_train=cross).test.argmax(1)
            found[name].append(float((predicted == y[n:].cpu()).double().mean()))
    return found


def findings(data):
    found = [
        of_slope(
            f"distance of finite networks' kernels from the exact one, {name}, power of channels",
            "-1/2",
            fit_slope(data["channels"], rows),
            within=(-0.65, -0.35),
        )
        for name, rows in data["distance"].items()
    ]
    accuracy = data["accuracy"]
    told = {
        name: "{:.1f} [{:.1f}, {:.1f}] %".format(*(100 * v for v in mean_interval(a))) for name, a in accuracy.items()
    }
    for better, worse, published in (
        ("flatten", "fully connected", "higher with convolutions, on CIFAR-10"),
        ("average pooling", "flatten", "higher with pooling, on CIFAR-10"),
    ):
        found.append(
            of_seeds(
                f"accuracy of kernel regression on {data['train']} digits, {better} less {worse}, percentage points",
                published,
                [100 * (a - b) for a, b in zip(accuracy[better], accuracy[worse], strict=True)],
                within=(0.0, 100.0),
                remark=f"{told[better]} against {told[worse]}",
            )
        )
    return found


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for name, rows in data["distance"].items():
        left.loglog(data["channels"], [np.mean(row) for row in rows], "o-", label=name)
    left.set(xlabel="channels", ylabel="relative distance", title="finite networks and exact kernel")
    left.legend()
    for i, values in enumerate(data["accuracy"].values()):
        mean, low, high = (100 * v for v in mean_interval(values))
        right.errorbar([i], [mean], [[mean - low], [high - mean]], fmt="o", capsize=4)
    right.set(xticks=range(3), xticklabels=list(data["accuracy"]), xlim=(-0.5, 2.5), title="kernel regression")
    right.set_ylabel("test accuracy, %: mean, 90 % interval", fontsize=8)
    right.tick_params(axis="x", labelsize=7)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
