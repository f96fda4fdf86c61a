"""Tiny trainings: features and logits change with width as the regime of every (parameterization, family) predicts."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from mutransfer import Plan, apply, muon_groups, param_groups
from mutransfer.intervals import fit_slope
from mutransfer.theory import regimes, rules

# A ratio of 16. One at its middle has no part in a least-squares slope.
WIDTHS = (64, 1024)
# torch's Muon multiplies in bfloat16, which takes a hundred times as long on a CPU that has no instructions for it.
# Six seeds, two at a time, leave slopes within 0.063 of what is predicted.
MUON_WIDTHS = (16, 128)
D_IN, D_OUT, STEPS, SEEDS = 16, 4, 3, (0, 1)
TOLERANCE = 0.15


def build(width):
    """Three hidden tanh layers (ReLU kernels have other exponents), no biases, weights of variance 1/fan_in."""
    sizes = [D_IN, width, width, width, D_OUT]
    layers = [nn.Linear(i, o, bias=False) for i, o in pairwise(sizes)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2], nn.Tanh(), layers[3])


def build_with_bottleneck(width):
    """width -> 4 -> width between the layers, and a bias behind them."""
    sizes = [(D_IN, width), (width, 4), (4, width), (width, width), (width, D_OUT)]
    layers = [nn.Linear(i, o, bias=i == o) for i, o in sizes]
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    a, down, up, b, out = layers
    nn.init.normal_(b.bias)
    return nn.Sequential(a, nn.Tanh(), down, up, nn.Tanh(), b, nn.Tanh(), out)


class RelativeStep(torch.optim.Optimizer):
    """Adafactor without what bounds torch's (a floor on RMS(w), a clamp of the rate): w -= lr RMS(w) sign(g)."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1e-3})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.pow(2).mean().sqrt() * p.grad.sign(), alpha=group["lr"])


def optimizers(name, model, plan):
    if name == "muon":
        muon, adamw = muon_groups(model, plan, lr=0.01, adamw_lr=2e-3)
        return [torch.optim.Muon(muon, weight_decay=0.0), torch.optim.AdamW(adamw)]
    if name == "sgd":
        return [torch.optim.SGD(param_groups(model, plan, lr=0.1))]
    if name == "adafactor":
        return [RelativeStep(param_groups(model, plan, lr=5e-3))]
    return [torch.optim.Adam(param_groups(model, plan, lr=5e-4))]


def moved(width, seed, plan, build):
    """Root-mean-square change of the layers' outputs and of the biases after a few steps."""
    torch.manual_seed(seed)
    x = torch.randn(32, D_IN)
    y = torch.randn(32, D_OUT)
    model = apply(build(width), plan)

    def layers():
        found, h = [], x
        with torch.no_grad():
            for module in model:
                h = module(h)
                if isinstance(module, nn.Linear):
                    found.append(h)
        return found + [m.bias.detach().clone() for m in model if isinstance(m, nn.Linear) and m.bias is not None]

    before = layers()
    steps = optimizers(plan.optimizer, model, plan)
    for _ in range(STEPS):
        loss = nn.functional.mse_loss(model(x), y)
        model.zero_grad()
        loss.backward()
        for optimizer in steps:
            optimizer.step()
    return [float((b - a).pow(2).mean().sqrt()) for a, b in zip(before, layers(), strict=True)]


def slopes(table, name, build=build):
    widths = MUON_WIDTHS if name == "muon" else WIDTHS
    values = []
    for width in widths:  # one plan for all seeds: inferring it takes most of the time
        plan = Plan.infer(build, width=width, base_width=widths[0], parameterization=table, optimizer=name, check=False)
        values.append([moved(width, seed, plan, build) for seed in SEEDS])
    return [fit_slope(widths, [[v[i] for v in row] for row in values]).value for i in range(len(values[0][0]))]


PAIRS = [
    (name, optimizer)
    for name in ("ntk", "mf", "mup", "mup_t3", "mup_t9", "sp_kernel")
    for optimizer in ("sgd", "adam", "adafactor", "muon")
    if (name, optimizer) not in [("sp_kernel", "muon")]
] + [("sp_global_stable", "sgd")]


@pytest.mark.parametrize(("name", "optimizer"), PAIRS)
def test_features_and_logits_change_with_width_as_predicted(name, optimizer):
    table = rules.parameterization(name)
    predicted = regimes.classify_table(table, optimizer=optimizer, depth=3).change
    first, second, third, logits = slopes(table, optimizer)
    assert math.isclose(first, predicted[0], abs_tol=TOLERANCE)
    assert math.isclose(second, predicted[1], abs_tol=TOLERANCE)
    assert math.isclose(third, predicted[1], abs_tol=TOLERANCE)
    assert math.isclose(logits, predicted[2], abs_tol=TOLERANCE)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
@pytest.mark.parametrize("name", ["ntk", "mf", "mup", "mup_t9", "sp_kernel"])
def test_bottlenecks_and_biases_change_with_width_as_predicted(name, optimizer):
    table = rules.parameterization(name)
    predicted = regimes.classify_table(table, optimizer=optimizer, depth=3, bottlenecks=True)
    _, bottleneck, _, _, _, bias = slopes(table, optimizer, build_with_bottleneck)
    # Under mup what passes a bottleneck is n^-1/2 by chance at first, and its gradient too, which SGD's steps follow.
    start = -0.5 if optimizer == "sgd" and predicted.kind is regimes.Kind.FEATURE_LEARNING else 0.0
    assert start - TOLERANCE < bottleneck - predicted.bottleneck_change < TOLERANCE
    assert start - TOLERANCE < bias - predicted.change_by_vectors < TOLERANCE


def test_a_wrong_exponent_is_seen():
    mup = rules.parameterization("mup")
    unscaled = replace(mup.rows[rules.Role.HIDDEN], lr=dict.fromkeys(rules.Family, rules.ONE))
    wrong = replace(mup, rows={**mup.rows, rules.Role.HIDDEN: unscaled})
    assert slopes(wrong, "adam")[1] > 4 * TOLERANCE
