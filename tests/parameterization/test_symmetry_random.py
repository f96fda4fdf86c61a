"""Random tables, shapes and optimizers: moving any factor out of any row's multiplier leaves the training as it was.

Tensor Programs IV Eq. (5), IVb Eq. (2.5); for relative steps Everett et al. (arXiv:2407.05872). Nothing here depends
on the published exponents, so that a table of a user's own has the symmetry too.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mutransfer import muon_groups, param_groups
from mutransfer.parameterization import rules
from mutransfer.parameterization.apply import apply
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.rules import Family, Parameterization, Power, Role, Row

from .models import D_IN, D_OUT, VOCAB, losses
from .test_forms import Lion
from .test_physics import RelativeStep

pytestmark = pytest.mark.usefixtures("float64")
STEPS = 4
# eps of the size of gradients, so that it decides steps; of Adafactor's pair the floor under a weight's size does.
OPTIMIZERS = {
    "sgd": (partial(torch.optim.SGD, momentum=0.9), {"lr": 1e-3, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, {"lr": 1e-2, "eps": 1e-2}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-2, "eps": 1e-2, "weight_decay": 0.3}),
    "nadam": (torch.optim.NAdam, {"lr": 1e-2, "eps": 1e-2}),
    "adamax": (torch.optim.Adamax, {"lr": 1e-2, "eps": 1e-2}),
    "rmsprop": (partial(torch.optim.RMSprop, momentum=0.9), {"lr": 1e-2, "eps": 1e-2}),
    "adagrad": (torch.optim.Adagrad, {"lr": 1e-2, "eps": 1e-2}),
    "lion": (Lion, {"lr": 1e-2, "weight_decay": 0.3}),
    "adafactor": (torch.optim.Adafactor, {"lr": 1e-2, "eps": (1e-100, 0.1), "weight_decay": 0.3}),
    "relative step": (RelativeStep, {"lr": 1e-2}),
}


def exponents(*values):
    return st.builds(Power, st.sampled_from(values), st.sampled_from(values))


def tables(powers):
    lr = st.fixed_dictionaries(dict.fromkeys(Family, powers))
    row = st.builds(Row, forward=powers, init=powers, lr=lr, eps=powers, source=st.just("random"))
    rows = st.fixed_dictionaries(dict.fromkeys(Role, row))
    return rows.map(lambda rows: Parameterization(name="random", title="", rows=rows))


@dataclass(frozen=True)
class Shape:
    """A factory: what comes first, then layers of so many times d_model or d_ff, perhaps with a bottleneck, a readout.

    asinh, for it has no flat parts: however large the activations, every gradient counts.
    """

    first: str
    layers: tuple[tuple[str, int], ...]
    bias: bool
    bottleneck: bool
    norm: bool

    def __call__(self, width):
        sizes = [times * width[name] for name, times in self.layers]
        if self.first == "tied":
            sizes.append(sizes[0])
        linear = partial(nn.Linear, bias=self.bias)
        body = [linear(D_IN, sizes[0]) if self.first == "linear" else nn.Embedding(VOCAB, sizes[0])]
        if self.bottleneck:
            body += [linear(sizes[0], 4), linear(4, sizes[0])]
        for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
            body += [Asinh(), linear(fan_in, fan_out)]
        body += [nn.LayerNorm(sizes[-1])] * self.norm
        readout = linear(sizes[-1], VOCAB if self.first == "tied" else D_OUT)
        if self.first == "tied":
            readout.weight = body[0].weight
        return nn.Sequential(*body, Asinh(), readout)

    def data(self):
        x = torch.randn(VOCAB, D_IN) if self.first == "linear" else torch.arange(VOCAB)
        return x, torch.randn(VOCAB, VOCAB if self.first == "tied" else D_OUT)


class Asinh(nn.Module):
    def forward(self, x):
        return torch.asinh(x)


shapes = st.builds(
    Shape,
    first=st.sampled_from(["linear", "embedding", "tied"]),
    layers=st.lists(st.tuples(st.sampled_from(["d_model", "d_ff"]), st.integers(1, 2)), min_size=1, max_size=3).map(
        tuple
    ),
    bias=st.booleans(),
    bottleneck=st.booleans(),
    norm=st.booleans(),
)
fours = st.builds(lambda k, i, j: (k * 4**i, k * 4**j), st.integers(2, 3), st.integers(0, 2), st.integers(0, 2))
any_size = st.tuples(st.integers(2, 7), st.integers(2, 40))


def sizes(each):
    """A base width and a width, both of d_model and d_ff."""
    both = st.fixed_dictionaries({"d_model": each, "d_ff": each})
    return both.map(lambda ws: tuple({name: w[i] for name, w in ws.items()} for i in (0, 1)))


def planned(shape, widths, table, optimizer, form="forward"):
    torch.manual_seed(1)
    x, y = shape.data()
    with torch.device("meta"):
        base = shape(widths[0])
    model = shape(widths[1])
    plan = Plan.from_models(model, base=base, parameterization=table, optimizer=optimizer, form=form)
    return apply(model, plan), plan, x, y


def trained(shape, widths, table, optimizer, form="forward"):
    kind, hyperparameters = OPTIMIZERS[optimizer]
    model, plan, x, y = planned(shape, widths, table, optimizer.replace("relative step", "adafactor"), form)
    found = losses(model, kind(param_groups(model, plan, **hyperparameters)), x, y, STEPS)
    assert all(map(math.isfinite, found))
    return found


def shifted(table, theta):
    return replace(table, rows={role: row.shifted(theta[role]) for role, row in table.rows.items()})


wild = exponents(-1.0, -0.5, 0.0, 0.5, 1.0)
shifts = st.fixed_dictionaries(dict.fromkeys(Role, wild))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(shape=shapes, widths=sizes(fours), table=tables(wild), theta=shifts)
@settings(max_examples=15)
def test_a_shifted_table_trains_to_the_same_losses_bit_for_bit(optimizer, shape, widths, table, theta):
    run = partial(trained, shape, widths, optimizer=optimizer)
    print("X", optimizer, shape, widths, run(table=table))
    assert run(table=shifted(table, theta)) == run(table=table)
