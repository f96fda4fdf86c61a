"""Statements about feature learning and transfer: each function measures one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

import mutransfer as mt
from experiments.claims.data import parity_of_digits
from experiments.claims.descent import train
from experiments.claims.networks import ntk_mlp
from mutransfer.kernels import empirical_ntk, relative_drift, target_alignment
from mutransfer.theory.tables import MUP
from mutransfer.training.tasks.digits import DigitsMLP


def not_unique(s):
    """mup with hidden matrices that learn n times more slowly: its regime, and how the last hidden layer changes."""
    rows = dict(MUP.rows)
    hidden = rows[mt.Role.HIDDEN]
    slower = mt.rules.ONE / mt.rules.Power(fan_in=1)
    rows[mt.Role.HIDDEN] = replace(hidden, lr={family: rate * slower for family, rate in hidden.lr.items()})
    table = mt.Parameterization(name="mup_still_hidden", title="mup, hidden matrices still", rows=rows)
    c = s["coordinates"]
    found = {}
    for which in (MUP, table):
        check = mt.coordinate_check(DigitsMLP(hidden_layers=3), parameterization=which, optimizer="adam", **c)
        layer = list(check.slopes)[-2]
        slope = check.slopes[layer]["change"]
        kind = mt.regimes.classify_table(which, optimizer="adam", depth=3)
        found[which.name] = {"slope": [slope.value, slope.low, slope.high], "kind": str(kind.kind), "r": kind.r}
    return found


def horizon(s):
    """Optimal log2 learning rate of a short and of a long training, at one width."""
    h = s["horizons"]
    found = {}
    for name in ("short", "long"):
        low, high = h["log2_lr"]
        tuned = mt.tune(
            DigitsMLP(hidden_layers=1, n_train=512),
            base_width=h["width"],
            space={"lr": (2.0**low, 2.0**high)},
            optimizer="adam",
            seeds=h["seeds"],
            steps=h[name],
            schedule="linear",
        )
        found[name] = {"steps": h[name], "optimum": tuned.optimum.log2_lr, "draws": list(tuned.optimum.draws[:200])}
    return found


def useless_change(s):
    """A mean-field network on true and random labels: change of its kernel and of the alignment with unseen labels."""
    n = s["examples"]
    x, y = parity_of_digits(3 * n)
    found = {name: {"drift": [], "alignment": []} for name in ("true labels", "random labels")}
    for width in s["widths"]:
        rows = {name: ([], []) for name in found}
        for seed in range(s["seeds"]):
            noise = torch.randint(2, (n, 1), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
            for name, labels in (("true labels", y[:n]), ("random labels", noise.to(y))):
                model = ntk_mlp(width, 1, nn.Tanh, seed=seed, readout=width**-0.5)
                start = empirical_ntk(model, x)
                lr = 0.3 * 2 * n / float(torch.linalg.eigvalsh(start[:n, :n].double())[-1])
                train(model, x[:n], labels, lr=lr, steps=2 * s["steps"])
                now = empirical_ntk(model, x)
                rows[name][0].append(relative_drift(start[:n, :n], now[:n, :n]))
                rows[name][1].append(target_alignment(now[n:, n:], y[n:]) - target_alignment(start[n:, n:], y[n:]))
        for name, (drift, alignment) in rows.items():
            found[name]["drift"].append(drift)
            found[name]["alignment"].append(alignment)
    return found
