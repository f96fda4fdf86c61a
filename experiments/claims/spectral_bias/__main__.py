"""The residual along the kernel's modes, at NTK and at mean-field scale, beside the rates of the eigenvalues."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiments.claims.claim import main
from experiments.claims.data import parity_of_digits
from experiments.claims.descent import descend, part_of_critical
from experiments.claims.findings import of_seeds, of_slope
from experiments.claims.networks import ntk_mlp
from mutransfer.kernels import empirical_ntk, spectrum

LIMITS = ("ntk", "mean field")


def measure(settings):
    x, y = parity_of_digits(settings["examples"])
    found = {}
    for limit in LIMITS:
        runs = [
            [trained(limit, width, seed, x, y, settings) for seed in range(settings["seeds"])]
            for width in settings["widths"]
        ]
        found[limit] = {
            name: [[r[name] for r in row] for row in runs]
            for name in ("rate_error", "trajectory", "unlearned", "slow_decay")
        }
        found[limit]["modes"] = runs[-1][0]["modes"]
        found[limit]["rates"] = runs[-1][0]["rates"]
    return {"widths": settings["widths"], **found}


def trained(limit, width, seed, x, y, settings):
    """Rates fitted to the modes that decay by a factor e to e^4, and what of each mode is left at the end."""
    readout = width**-0.5 if limit == "mean field" else 1.0
    model = ntk_mlp(width, 1, nn.Tanh, seed=seed, readout=readout)
    kernel = empirical_ntk(model, x).double()
    modes = spectrum(kernel)
    lr = part_of_critical(kernel, y, settings["part_of_critical"])
    course = torch.stack(list(descend(model, x, y, lr=lr, steps=settings["steps"])))
    residual = course - y.double().cpu()  # (times, examples, 1)
    found = torch.einsum("nk,tno->tk", modes.vectors, residual)
    factor = 1 - modes.rates(lr=lr, loss_scale=1 / y.numel())
    steps = torch.arange(len(course))
    predicted = factor ** steps[:, None] * found[0]
    total = -factor.abs().log() * settings["steps"]  # predicted decay by the end, in e-folds
    big = found[0].abs() > 0.05 * found[0].abs().max()
    fitted = [k for k in range(len(total)) if 0.5 < total[k] < 4 and big[k]]
    rates = [
        float(np.polyfit(steps, found[:, k].abs().clamp(min=1e-12).log().numpy(), 1)[0] / factor[k].log())
        for k in fitted
    ]
    slow = total <= total.quantile(0.25)  # of these, early stopping leaves most
    left = found[-1, slow].square().sum() / predicted[-1, slow].square().sum()
    return {
        "rate_error": float(np.median(np.abs(np.array(rates) - 1))),
        "trajectory": float(((found - predicted).square().sum(1).sqrt() / found[0].norm()).max()),
        "unlearned": float(left.sqrt()),
        "slow_decay": float(total[slow].mean()),
        "modes": [float(total[k]) for k in fitted],
        "rates": rates,
    }


def findings(data):
    widths = data["widths"]
    ntk, mean_field = (data[limit] for limit in LIMITS)
    return [
        of_seeds(
            f"frozen kernel, width {widths[-1]}: median error of fitted rates against eigenvalues, percent",
            "0 in the limit",
            [100 * v for v in ntk["rate_error"][-1]],
            within=(0.0, 5.0),
            remark="by width "
            + ", ".join(f"{w}: {100 * np.mean(r):.2g}" for w, r in zip(widths, ntk["rate_error"], strict=True)),
        ),
        of_slope(
            "frozen kernel: largest distance of the residual from its predicted course, power of width",
            "at most -1/2 (-1 for smooth activations)",
            fit_slope(widths, ntk["trajectory"]),
            within=(-float("inf"), -0.5),
        ),
        of_seeds(
            f"frozen kernel, width {widths[-1]}: residual along the slow modes at the end, over the prediction",
            "1: early stopping leaves exactly these unlearned",
            ntk["unlearned"][-1],
            within=(0.9, 1.1),
            remark=f"the slowest quarter, which decay by {np.mean(ntk['slow_decay'][-1]):.2f} e-folds",
        ),
        of_slope(
            "features move (mean field): distance of the residual from its predicted course, power of width",
            "0: the prediction stays wrong",
            fit_slope(widths, mean_field["trajectory"]),
            within=(-0.15, 0.15),
            remark=f"at width {widths[-1]}: {np.mean(mean_field['trajectory'][-1]):.2f} of the first residual, against "
            f"{np.mean(ntk['trajectory'][-1]):.2g} frozen",
        ),
        of_seeds(
            f"features move (mean field), width {widths[-1]}: residual along the slow modes at the end, over the "
            "prediction",
            "not 1",
            mean_field["unlearned"][-1],
            within=(0.0, 0.9),
        ),
    ]


def draw(data, figure):
    left, right = figure.subplots(1, 2)
    for limit in LIMITS:
        left.plot(data[limit]["modes"], data[limit]["rates"], "o", label=limit)
        right.loglog(data["widths"], [np.mean(r) for r in data[limit]["trajectory"]], "o-", label=limit)
    left.axhline(1, color="grey", lw=0.8)
    left.set(xlabel="predicted decay, e-folds", ylabel="fitted rate / predicted", title=f"width {data['widths'][-1]}")
    right.set(xlabel="width", ylabel="largest distance / first residual", title="course of the residual")
    left.legend()


if __name__ == "__main__":
    main(__file__, measure, findings, draw)
