"""Statements about the kernel regime: each function measures one."""

from __future__ import annotations

import torch
from torch import nn

from experiments.claims.data import parity_of_digits
from experiments.claims.descent import copy_of, descend, movement, part_of_critical, train
from experiments.claims.networks import architecture, ntk_mlp
from mutransfer.kernels import (
    Erf,
    critical_learning_rate,
    empirical_ntk,
    infinite_width,
    relative_drift,
    spectrum,
)
from mutransfer.random_state import seed_everything
from mutransfer.training.models.mlp import mlp


def seeds(settings):
    return range(settings["seeds"])


def standard_kernel(s):
    """The trace of the tangent kernel of the standard parameterization, per example, and the critical learning rate."""
    x, y = parity_of_digits(s["examples"])
    found = {"trace": [], "critical": []}
    for width in s["standard_widths"]:
        kernels = []
        for seed in seeds(s):
            seed_everything(seed)
            kernels.append(empirical_ntk(mlp(width, n_inputs=64, n_outputs=1, hidden_layers=2).to(x.device), x))
        found["trace"].append([float(k.trace()) / len(x) for k in kernels])
        found["critical"].append([critical_learning_rate(k, loss_scale=1 / y.numel()) for k in kernels])
    return found


def two_deviations(s):
    """||K_0 - K_inf|| and ||K_T - K_0||, relative."""
    x, y = parity_of_digits(s["examples"])
    limit = infinite_width(architecture(1, Erf), x).ntk
    lr = part_of_critical(limit, y, 0.5)
    found = {"initialisation": [], "training": []}
    for width in s["widths"]:
        rows = ([], [])
        for seed in seeds(s):
            model = ntk_mlp(width, 1, Erf, seed=seed)
            start = empirical_ntk(model, x)
            rows[0].append(relative_drift(limit, start.double().cpu()))
            train(model, x, y, lr=lr, steps=s["steps"])
            rows[1].append(relative_drift(start, empirical_ntk(model, x)))
        found["initialisation"].append(rows[0])
        found["training"].append(rows[1])
    return found


def loss_conventions(s):
    """The change of the function by one small step over -lr K (f - y), times the number of examples for means."""
    x, y = parity_of_digits(s["examples"])
    losses = {
        "half the sum of squares": lambda f: (f - y).square().sum() / 2,
        "mean of squares": lambda f: (f - y).square().mean(),
        "logistic loss, summed": lambda f: nn.functional.softplus(-y * f).sum(),
    }
    found = {name: [] for name in losses}
    for seed in seeds(s):
        model = ntk_mlp(s["wide"], 1, Erf, seed=seed).double()
        kernel, f0 = empirical_ntk(model, x.double()), model(x.double()).detach()
        flow = -kernel @ (f0 - y)
        lr = 1e-4 * critical_learning_rate(kernel, loss_scale=1.0)
        for name, loss in losses.items():
            moved = ntk_mlp(s["wide"], 1, Erf, seed=seed).double()
            parameters = list(moved.parameters())
            for p, g in zip(parameters, torch.autograd.grad(loss(moved(x.double())), parameters), strict=True):
                p.data -= lr * g
            change = (moved(x.double()).detach() - f0) / lr
            factor = float((change * flow).sum() / flow.square().sum())
            left = float((change - factor * flow).norm() / change.norm())
            found[name].append([factor * (len(x) if "mean" in name else 1), left])
    return found


def movement_by_norm(s):
    """How far parameters move: all together, a neuron of the first layer, a hidden matrix relative to itself."""
    x, y = parity_of_digits(s["examples"])
    found = {"all": [], "neuron": [], "hidden": []}
    for width in s["deep_widths"]:
        rows = {name: [] for name in found}
        for seed in seeds(s):
            model = ntk_mlp(width, 3, nn.Tanh, seed=seed)
            start = copy_of(model)
            lr = part_of_critical(empirical_ntk(model, x), y, 0.5)
            train(model, x, y, lr=lr, steps=s["steps"])
            rows["all"].append(movement(model, start))
            now = copy_of(model)
            rows["neuron"].append(float((now["0.weight"] - start["0.weight"]).norm(dim=1).mean()))
            rows["hidden"].append(float((now["2.weight"] - start["2.weight"]).norm() / start["2.weight"].norm()))
        for name, row in rows.items():
            found[name].append(row)
    return found


def parallel_inputs(s):
    """Two inputs along one line, with labels that no homogeneous function has: what is left of the squared error."""
    x, y = parity_of_digits(8)
    x, y = torch.cat([x, 2 * x[:1]]), torch.cat([y, -y[:1]])
    gram = infinite_width(architecture(1, nn.ReLU), x)
    values = spectrum(gram.ntk - gram.nngp).values
    lr = part_of_critical(gram.ntk, y, 0.5)
    left = []
    for seed in seeds(s):
        model = train(ntk_mlp(s["wide"], 1, nn.ReLU, seed=seed), x, y, lr=lr, steps=10 * s["steps"])
        f = model(x).detach()
        left.append(float((f - y)[[0, -1]].square().sum()))
    return {"left": left, "least_over_largest": float(values[-1] / values[0])}


def unstable_modes(s):
    """The growth of the residual along the first mode per step, at 1.5 times the critical learning rate."""
    x, y = parity_of_digits(s["examples"])
    ratios = []
    for seed in seeds(s):
        model = ntk_mlp(4 * s["wide"], 1, Erf, seed=seed)
        kernel = empirical_ntk(model, x).double()
        modes = spectrum(kernel)
        lr = part_of_critical(kernel, y, 1.5)
        course = torch.stack(list(descend(model, x, y, lr=lr, steps=3))) - y.double().cpu()
        along = torch.einsum("n,tno->t", modes.vectors[:, 0], course)
        ratios.append(float((along[-1] / along[0]).abs()) ** (1 / 3))
    return {"growth": ratios, "predicted": 2.0}


def initialisation_scale(s):
    """Two layers of ReLU at initialisation times 1/2: beside the output times 1/4 at four times the learning rate."""
    x, y = parity_of_digits(s["examples"])
    found = {"rescaled": [], "not_rescaled": []}
    for seed in seeds(s):
        network = ntk_mlp(256, 1, nn.ReLU, seed=seed).double()
        lr = part_of_critical(empirical_ntk(network, x.double()), y, 0.3)
        small = ntk_mlp(256, 1, nn.ReLU, seed=seed).double()
        for p in small.parameters():
            p.data *= 0.5
        reference = torch.stack(list(descend(small, x.double(), y, lr=lr, steps=s["steps"])))
        for name, factor in (("rescaled", 4.0), ("not_rescaled", 16.0)):
            scaled = ntk_mlp(256, 1, nn.ReLU, seed=seed, readout=0.25).double()
            course = torch.stack(list(descend(scaled, x.double(), y, lr=factor * lr, steps=s["steps"])))
            distance = (course - reference).square().mean(dim=(1, 2)).sqrt().max()
            found[name].append(float(distance / reference[0].square().mean().sqrt().clamp(min=1.0)))
    return found


def adam_step(s):
    """The change of the function by one small step with the residual doubled, over that with the residual itself."""
    x, _ = parity_of_digits(s["examples"])
    found = {"sgd": [], "adam": []}
    for seed in seeds(s):
        residual = parity_of_digits(s["examples"])[1]
        for name, kind, lr in (("sgd", torch.optim.SGD, 1e-4), ("adam", torch.optim.Adam, 1e-6)):
            changes = []
            for factor in (1.0, 2.0):
                model = ntk_mlp(s["wide"], 1, Erf, seed=seed).double()
                start = model(x.double())
                optimizer = kind(model.parameters(), lr=lr)
                (start - (start.detach() - factor * residual)).square().sum().backward()
                optimizer.step()
                changes.append(float((model(x.double()) - start).detach().norm()))
            found[name].append(changes[1] / changes[0])
    return found
