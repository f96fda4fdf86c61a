"""Gradients that are nothing but rounding are told from those that are small."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.parameterization.measuring.gradients import MOSTLY_ROUNDING, gradients_of, rounding_shares

X = torch.randn(32, 6, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        return F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.shift


CASES = {  # the model, and what of it has no gradient but rounding
    "a bias before BatchNorm": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.Flatten(0, 1), nn.BatchNorm1d(16)),
        {"0.bias"},
    ),
    "a bias before InstanceNorm": (lambda: nn.Sequential(nn.Conv1d(6, 9, 3), nn.InstanceNorm1d(9)), {"0.bias"}),
    "a bias of attention's keys": (Attention, {"key.bias"}),
    "one shift before LayerNorm": (lambda: nn.Sequential(nn.Linear(8, 9), Shift(), nn.LayerNorm(9)), {"1.shift"}),
    "an ordinary network": (lambda: nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 4), nn.LayerNorm(4)), set()),
}


def shares_of(loss, model):
    parameters = dict(model.named_parameters())
    return rounding_shares(loss, parameters, gradients_of(loss, parameters))


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("case", CASES)
def test_parameters_that_the_loss_does_not_depend_on_have_nothing_but_rounding(case, scale):
    torch.manual_seed(0)
    build, without = CASES[case]
    model = build()
    loss = scale * torch.tanh(model(X)).pow(3).mean()
    shares = shares_of(loss, model)
    assert {name for name, share in shares.items() if share > MOSTLY_ROUNDING} == without
    assert all(share < 1e-3 for name, share in shares.items() if name not in without)


def test_a_gradient_that_is_exactly_zero_is_no_rounding():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    nn.init.zeros_(model[1].weight)
    shares = shares_of(model(X).pow(2).mean() + model(X).mean(), model)
    assert shares["0.weight"] == 0.0
