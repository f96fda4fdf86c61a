"""A network in the standard parameterization over its training: how its kernel moves, and what both learn."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from claim import main, mean_interval, of_ratios, of_seeds
from data import DEVICE, parity_of_digits

from mutransfer.kernels import (
    IllConditionedKernel,
    empirical_ntk,
    gradient_flow,
    kernel_distance,
    kernel_velocity,
)
from mutransfer.parameterization.building import seed_everything
from mutransfer.training.models.mlp import mlp


def measure(settings):
    runs = [trained(seed, settings) for seed in range(settings["seeds"])]
    return {"epochs": settings["epochs"], **{name: [run[name] for run in runs] for name in runs[0]}}


def trained(seed, settings):
    n, m = settings["train"], settings["test"]
    every, labels = parity_of_digits()
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))[: n + m].to(DEVICE)
    x, y = every[order], labels[order]
    seed_everything(seed)
    model = mlp(settings["width"], n_inputs=64, n_outputs=1, hidden_layers=settings["hidden_layers"]).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"])
    generator = torch.Generator().manual_seed(seed)
    per_epoch = n // settings["batch"]
    stops = [round(e * per_epoch) for e in settings["epochs"]]
    probes, network, kernel = [], [], []
    for step in range(stops[-1] + 1):
        if step in stops:
            probes.append(empirical_ntk(model, x[: settings["probe"]]).double().cpu())
            with torch.no_grad():
                network.append(error(model(x[n:]), y[n:]))
            kernel.append(error(regression(model, x, y, n), y[n:]))
        if step % per_epoch == 0:
            shuffled = torch.randperm(n, generator=generator).to(DEVICE)
        chosen = shuffled[step % per_epoch * settings["batch"] :][: settings["batch"]]
        optimizer.zero_grad()
        (model(x[chosen]) - y[chosen]).square().mean().backward()
        optimizer.step()
    pairs = zip(probes, probes[1:], settings["epochs"], settings["epochs"][1:], strict=False)
    return {
        "distance": [kernel_distance(probes[0], p) for p in probes],
        "velocity": [kernel_velocity(a, b, t - s) for a, b, s, t in pairs],
        "network": network,
        "kernel": kernel,
    }


def regression(model, x, y, n):
    """Test predictions of the network's present tangent kernel, trained for ever on all training examples."""
    k = empirical_ntk(model, x[:n], x[:n]).double().cpu()
    cross = empirical_ntk(model, x[n:], x[:n]).double().cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedKernel)  # single precision decides the smallest modes
        return gradient_flow((k + k.T) / 2, y[:n], float("inf"), k_test_train=cross).test


def error(f, y):
    return float((f.cpu().sign() != y.cpu()).double().mean())


def at(data, name, epoch):
    i = data["epochs"].index(epoch)
    return [row[i] for row in data[name]]


def findings(data):
    epochs = data["epochs"]
    early = max(e for e in epochs if e <= 2)
    first, last = at(data, "kernel", 0), at(data, "network", epochs[-1])
    learned = at(data, "kernel", early)
    told = ", ".join(
        f"{what} {100 * mean_interval(v)[0]:.1f} %"
        for what, v in (
            ("initial kernel", first),
            (f"kernel of epoch {early:g}", learned),
            ("network at the end", last),
        )
    )
    return [
        of_seeds(
            f"part of the kernel's whole distance from its start that it has gone by epoch {early:g} of {epochs[-1]:g}",
            "most: a chaotic start of 2 to 3 epochs",
            [d[epochs.index(early)] / d[-1] for d in data["distance"]],
            within=(0.5, 1.1),
        ),
        of_ratios(
            "kernel velocity in the first interval over that in the last",
            "large: fast, then slow and constant",
            [v[0] / v[-1] for v in data["velocity"]],
            within=(10.0, float("inf")),
        ),
        of_seeds(
            f"part of the gap in test error between initial kernel and trained network that kernel regression with the "
            f"kernel of epoch {early:g} closes",
            "most (a factor of 3 after 3 to 4 epochs)",
            [(a - b) / (a - c) for a, b, c in zip(first, learned, last, strict=True)],
            within=(0.5, 1.5),
            remark=told,
        ),
    ]


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    epochs = np.array(data["epochs"])
    left.plot(epochs, np.mean(data["distance"], axis=0), "o-", label="distance from start")
    middle = (epochs[1:] + epochs[:-1]) / 2
    twin = left.twinx()
    twin.semilogy(middle, np.mean(data["velocity"], axis=0), "s--", color="C1")
    twin.set_ylabel("velocity per epoch (dashed)")
    left.set(xlabel="epoch", ylabel="kernel distance from start", title="kernel")
    for name, label in (("network", "network"), ("kernel", "regression with its kernel")):
        right.plot(epochs, np.mean(data[name], axis=0), "o-", label=label)
    right.set(xlabel="epoch", ylabel="test error", yscale="log", title="what is learned")
    right.legend()


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
