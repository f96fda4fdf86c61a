"""Networks of several widths and output scales: how far kernel and parameters move, and which variable decides."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import parity_of_digits
from experiments.claims.descent import copy_of, movement, part_of_critical, train
from experiments.claims.findings import mean_interval, of_seeds, of_slope
from experiments.claims.networks import ntk_mlp
from mutransfer.kernels import empirical_ntk, lazy, relative_drift


def measure(settings):
    n = settings["examples"]
    x, y = parity_of_digits(n + settings["test"])
    runs = [
        [
            [trained(width, scale, seed, x, y, n, settings) for seed in range(settings["seeds"])]
            for scale in settings["scales"]
        ]
        for width in settings["widths"]
    ]
    return {
        "widths": settings["widths"],
        "scales": settings["scales"],
        "threshold": settings["threshold"],
        **{name: [[[r[name] for r in seeds] for seeds in rows] for rows in runs] for name in runs[0][0][0]},
    }


def trained(width, scale, seed, x, y, n, settings):
    alpha = scale / width**0.5
    network = ntk_mlp(width, 1, nn.Tanh, seed=seed)
    kernel = empirical_ntk(network, x[:n])
    lr = part_of_critical(kernel, y[:n], settings["part_of_critical"])
    model = lazy(network, alpha)
    start = copy_of(model)
    length = float(torch.cat([p.flatten() for p in start.values()]).norm())
    train(model, x[:n], y[:n], lr=lr / alpha**2, steps=settings["steps"])
    with torch.no_grad():
        f = model(x)
    return {
        "kernel": relative_drift(alpha**2 * kernel, empirical_ntk(model, x[:n])),
        "parameters": movement(model, start) / length,
        "train_loss": float((f[:n] - y[:n]).square().mean()),
        "test_error": float((f[n:].sign() != y[n:]).double().mean()),
    }


def crossings(data, name, threshold):
    """Per width and seed: the alpha at which the quantity falls through the threshold, by log-log interpolation."""
    found = []
    for width, rows in zip(data["widths"], data[name], strict=True):
        logs = np.log(np.array(rows))  # (scales, seeds)
        x = np.log(data["scales"])
        per_seed = []
        for values in logs.T:
            below = [i for i in range(1, len(x)) if values[i] < np.log(threshold) <= values[i - 1]]
            if below:
                i = below[0]
                part = (values[i - 1] - np.log(threshold)) / (values[i - 1] - values[i])
                per_seed.append(float(np.exp(x[i - 1] + part * (x[i] - x[i - 1])) / width**0.5))
        found.append(per_seed or [float("nan")])
    return found


def findings(data):
    found = [
        of_slope(
            f"alpha at which {what} is {data['threshold']:g}, power of width",
            "-1/2",
            fit_slope(data["widths"], crossings(data, name, data["threshold"])),
            within=(-0.65, -0.35),
        )
        for name, what in (
            ("parameters", "the relative movement of parameters"),
            ("kernel", "the relative change of the kernel"),
        )
    ]
    octaves = np.log2(data["kernel"])  # (widths, scales, seeds)
    gaps = octaves[-1] - octaves[-2]
    widest = int(np.abs(gaps.mean(1)).argmax())
    found.append(
        of_seeds(
            f"change of the kernel at one alpha sqrt(width), widths {data['widths'][-1]} and {data['widths'][-2]}: gap "
            f"in octaves where it is largest, at {data['scales'][widest]:g}",
            "0: curves collapse",
            gaps[widest].tolist(),
            # Against alpha alone, or alpha times width, they would lie apart by what an octave of alpha changes.
            within=(-0.5, 0.5),
            remark=f"from the least alpha to the largest they fall by {(octaves[-1, 0] - octaves[-1, -1]).mean():.1f} "
            "octaves",
        )
    )
    errors = np.array(data["test_error"])  # (widths, scales, seeds)
    found.append(
        of_seeds(
            "test error, smallest alpha less largest, over all widths and seeds, percentage points",
            "fully connected networks: positive (lazy is better); convolutional: negative",
            (100 * (errors[:, 0] - errors[:, -1])).flatten().tolist(),
            within=(0.0, float("inf")),
        )
    )
    return found


def draw(data, figure):
    axes = figure.subplots(1, 3)
    scales = np.array(data["scales"])
    for width, kernel, error in zip(data["widths"], data["kernel"], data["test_error"], strict=True):
        axes[0].loglog(scales / width**0.5, np.mean(kernel, axis=1), "o-", ms=3, label=str(width))
        axes[1].loglog(scales, np.mean(kernel, axis=1), "o-", ms=3)
        mean, low, high = 100 * np.transpose([mean_interval(row) for row in error])
        axes[2].errorbar(scales, mean, [mean - low, high - mean], fmt="o-", ms=3, capsize=2)
    axes[0].set(xlabel="alpha", ylabel="relative change of the kernel", title="kernel, against alpha")
    axes[1].set(xlabel="alpha sqrt(width)", title="collapse")
    axes[2].set(xlabel="alpha sqrt(width)", ylabel="test error, %", title="generalisation", xscale="log")
    axes[0].legend(fontsize=7, title="width")


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
