"""Two layers of ReLU, the first trained, on digits with random labels: convergence, its rate, movement of neurons."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import DEVICE, digits
from experiments.claims.descent import copy_of, descend, part_of_critical
from experiments.claims.findings import Finding, of_seeds, of_slope
from experiments.claims.networks import architecture, ntk_mlp
from mutransfer.kernels import infinite_width, spectrum

SHOWN = 1e-12  # of the first loss: the figure ends there


def measure(settings):
    x, _ = digits(settings["examples"])
    x = x / x.norm(dim=1, keepdim=True) * x.shape[1] ** 0.5
    both = infinite_width(architecture(1, nn.ReLU), x)
    gram = both.ntk - both.nngp  # the readout's own part is the nngp
    lr = part_of_critical(gram, torch.ones(len(x)), settings["part_of_critical"])
    least = float(spectrum(gram).values[-1])
    rate = lr / len(x) * least
    runs = [
        [trained(width, seed, x, lr, rate, settings) for seed in range(settings["seeds"])]
        for width in settings["widths"]
    ]
    return {
        "widths": settings["widths"],
        "least_eigenvalue": least,
        "condition": float(spectrum(gram).values[0]) / least,
        "rate": rate,
        **{name: [[run[name] for run in row] for row in runs] for name in runs[0][0]},
    }


def trained(width, seed, x, lr, rate, settings):
    model = ntk_mlp(width, 1, nn.ReLU, seed=seed)
    model[2].weight.requires_grad_(False).sign_()
    generator = torch.Generator().manual_seed(1000 + seed)
    y = (torch.randint(2, (len(x), 1), generator=generator) * 2.0 - 1).to(DEVICE)
    start, before = copy_of(model)["0.weight"], model[0](x).detach() > 0
    course = torch.stack(list(descend(model, x, y, lr=lr, steps=settings["steps"])))
    loss = (course - y.double().cpu()).square().sum(dim=(1, 2))
    steps = torch.arange(len(loss))
    floor = loss > 1e-8 * loss[0]  # below, single precision decides
    end = int(floor.sum())  # the loss only falls
    late = slice(2 * end // 3, end)
    slope = np.polyfit(steps[late].numpy(), loss[late].log().numpy(), 1)[0]
    shown = (loss > SHOWN * loss[0]).nonzero()[:, 0]
    shown = shown[:: max(1, len(shown) // 60)]
    moved = (model[0].weight.detach() - start).norm(dim=1)
    return {
        "left": float(loss[-1] / loss[0]),
        "rate_over_bound": float(-slope / (2 * rate)),
        # Du et al., theorem 3.2: ||y - f||^2 falls at least like exp(-lambda_0 t), half the rate of the slowest mode.
        "above_bound": float(((loss / loss[0]) > torch.exp(-rate * steps))[floor].double().mean()),
        "mean_move": float(moved.mean()),
        "largest_move": float(moved.max()),
        "flips": float(((model[0](x).detach() > 0) != before).double().mean()),
        "curve": [shown.tolist(), (loss / loss[0])[shown].tolist()],  # steps, and the loss after them
    }


def findings(data):
    widest = data["widths"][-1]
    above = float(np.max(data["above_bound"][-1]))
    largest = float(np.max(data["left"]))
    widths = data["widths"]
    return [
        of_seeds(
            f"part of the loss that is left, log10, width {widest}",
            "zero training loss on any labels",
            [np.log10(max(value, 1e-300)) for value in data["left"][-1]],
            within=(-float("inf"), -4),
            remark=f"at the smallest width at worst 10^{np.log10(max(np.max(data['left'][0]), 1e-300)):.1f}"
            + (f", over all {largest:.2g}" if largest > 1e-4 else ""),
        ),
        Finding(
            statement=f"loss above exp(-lambda_0 t) at any time, width {widest}",
            published="never (theorem 3.2)",
            measured=f"{100 * above:.1f} % of steps",
            holds=above == 0,
        ),
        of_seeds(
            f"late rate of decay over the least eigenvalue's, width {widest}",
            "at least 1/2 (bound), towards 1 as the slowest mode is left alone",
            data["rate_over_bound"][-1],
            within=(0.5, 1.5),
        ),
        *(
            of_slope(f"{statement}, power of width", "-1/2", fit_slope(widths, data[name]), within=(-0.65, -0.35))
            for name, statement in (
                ("mean_move", "how far a neuron moves, mean"),
                ("largest_move", "how far a neuron moves, largest"),
                ("flips", "part of activations that change sign"),
            )
        ),
    ]


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for width, rows in zip(data["widths"], data["curve"], strict=True):
        steps, loss = rows[0]
        left.semilogy(data["rate"] * np.array(steps), loss, label=str(width))
    time = np.linspace(0, left.get_xlim()[1])
    left.semilogy(time, np.exp(-time), "--", color="grey", label="bound")
    left.set(xlabel="time t, in 1 / lambda_0", ylabel="loss / first loss", ylim=(SHOWN, 2), title="random labels")
    left.legend(fontsize=7, title="width", loc="lower left")
    for name, label in (("mean_move", "mean move"), ("largest_move", "largest move"), ("flips", "sign changes")):
        right.loglog(data["widths"], [np.mean(row) for row in data[name]], "o-", label=label)
    right.set(xlabel="width", title="neurons")
    right.set_ylim(top=8 * right.get_ylim()[1])
    right.legend(loc="upper right", fontsize=8)


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
