"""A network in the standard parameterization over its training: how its kernel moves, and what both learn."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from experiments.claims.claim import main
from experiments.claims.data import DEVICE, parity_of_digits
from experiments.claims.findings import mean_interval, of_ratios, of_seeds
from mutransfer.kernels import (
    IllConditionedKernel,
    empirical_ntk,
    gradient_flow,
    kernel_distance,
    kernel_velocity,
)
from mutransfer.random_state import seed_everything
from mutransfer.training.models.mlp import mlp

TASKS = {"digits": "parity of digits", "bits": "parity of 2 bits of 40"}
# What the paper says of the early and of the later moment; its epochs are those of its own tasks.
SCALE = "; this task has another time scale than the paper's"
EARLY = {"digits": "most, in the first 2 or 3 epochs", "bits": f"most of it goes early{SCALE}"}
LEARNED = {
    "digits": "about 0: after 15 to 45 % of training the kernel does what the network does",
    "bits": f"about 0: a later kernel does what the network does{SCALE}",
}


def measure(settings):
    found = {}
    for task in TASKS:
        runs = [trained(task, seed, settings) for seed in range(settings["seeds"])]
        found[task] = settings[task] | {name: [run[name] for run in runs] for name in runs[0]}
    return found


def examples(task, count):
    """Digits in the file's order, so that other people wrote the test images; or parity of 2 bits of 40."""
    if task == "digits":
        return parity_of_digits(count)
    bits = torch.randint(2, (count, 40), generator=torch.Generator().manual_seed(0), dtype=torch.float32) * 2 - 1
    return bits.to(DEVICE), (bits[:, 0] * bits[:, 1]).unsqueeze(1).to(DEVICE)


def trained(task, seed, settings):
    how = settings[task]
    n = how["train"]
    x, y = examples(task, n + how["test"])
    seed_everything(seed)
    model = mlp(how["width"], n_inputs=x.shape[1], n_outputs=1, hidden_layers=how["hidden_layers"]).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=how["lr"])
    generator = torch.Generator().manual_seed(seed)
    per_epoch = n // settings["batch"]
    stops = [round(e * per_epoch) for e in how["epochs"]]
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
    # Distance per epoch over intervals of different length: in a long one, ways there and back count less.
    steps = zip(probes, probes[1:], how["epochs"], how["epochs"][1:], strict=False)
    return {
        "distance": [kernel_distance(probes[0], p) for p in probes],
        "velocity": [kernel_velocity(a, b, t - s) for a, b, s, t in steps],
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


def at(run, name, epoch):
    i = run["epochs"].index(epoch)
    return [row[i] for row in run[name]]


def findings(data):
    return [finding for task in TASKS for finding in of_task(task, data[task])]


def of_task(task, run):
    title = TASKS[task]
    epochs, early, learned = run["epochs"], run["early"], run["learned"]
    first, then, last = at(run, "kernel", 0), at(run, "kernel", learned), at(run, "network", epochs[-1])
    told = ", ".join(
        f"{what} {100 * mean_interval(v)[0]:.1f} %"
        for what, v in (("initial kernel", first), (f"kernel of epoch {learned:g}", then), ("network at the end", last))
    )
    return [
        of_seeds(
            f"{title}: part of the kernel's whole distance from its start gone by epoch {early:g} of {epochs[-1]:g}",
            EARLY[task],
            [d[epochs.index(early)] / d[-1] for d in run["distance"]],
            within=(0.5, 1.2),
        ),
        of_ratios(
            f"{title}: largest kernel velocity (distance per epoch of an interval) over that of the last interval",
            "large: rapid at first, then slow",
            [max(v) / v[-1] for v in run["velocity"]],
            within=(10.0, float("inf")),
        ),
        of_seeds(
            f"{title}: test error of regression with the initial kernel less the trained network's, percentage points",
            "positive: the initial kernel learns less",
            [100 * (a - c) for a, c in zip(first, last, strict=True)],
            within=(0.0, 100.0),
            remark=told,
        ),
        of_seeds(
            f"{title}: regression with the kernel of epoch {learned:g} less the trained network, percentage points",
            LEARNED[task],
            [100 * (b - c) for b, c in zip(then, last, strict=True)],
            within=(-2.0, 2.0),
        ),
    ]


def draw(data, figure):
    for axes, (task, title) in zip(figure.subplots(1, 2), TASKS.items(), strict=True):
        run = data[task]
        for name, label in (("network", "network"), ("kernel", "regression, its kernel")):
            axes.plot(run["epochs"], 100 * np.mean(run[name], axis=0), "o-", ms=4, label=label)
        axes.set(xlabel="epoch", ylabel="test error, %", title=title, ylim=(0, None))
        axes.legend(fontsize=7, loc="upper right")
        other = axes.twinx()
        other.plot(run["epochs"], np.mean(run["distance"], axis=0), "s--", ms=4, color="tab:green")
        other.set_ylim(0, 2 * np.mean(run["distance"], axis=0).max())  # leaves the legend free
        other.set_ylabel("kernel distance from start", color="tab:green")
        other.tick_params(axis="y", labelcolor="tab:green")


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
