"""Random tables, shapes and optimizers: moving a factor between any row's multiplier and the rest trains the same.

Tensor Programs IV Eq. (5), IVb Eq. (2.5), Everett et al. (arXiv:2407.05872) for relative steps. No published exponent
takes part: a table of a user's own has the symmetry too. Factors that are powers of two are exact, hence ``==``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mutransfer import muon_groups, param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply, parameterize
from mutransfer.theory.rules import DEFAULT_EPS, Family, Form, Parameterization, Power, Role, Row

from .models import D_IN, D_OUT, VOCAB, losses
from .test_forms import Lion
from .test_physics import RelativeStep

pytestmark = pytest.mark.usefixtures("float64")
STEPS = 4
OPTIMIZERS = {
    "sgd": (partial(torch.optim.SGD, momentum=0.9), {"lr": 1e-2, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, {"lr": 1e-2}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-2, "weight_decay": 0.3}),
    "nadam": (torch.optim.NAdam, {"lr": 1e-2}),
    "adamax": (torch.optim.Adamax, {"lr": 1e-2}),
    "rmsprop": (partial(torch.optim.RMSprop, momentum=0.9), {"lr": 1e-3}),
    "adagrad": (torch.optim.Adagrad, {"lr": 1e-2}),
    "lion": (Lion, {"lr": 1e-2, "weight_decay": 0.3}),
    # The first of the pair, a floor under squared gradients, has no exponent: so low that it is never reached.
    "adafactor": (torch.optim.Adafactor, {"lr": 1e-2, "eps": (1e-100, 0.1), "weight_decay": 0.3}),
    "relative step": (RelativeStep, {"lr": 1e-2}),
}
EPS = 1e-2  # of the size of gradients, so that it decides many steps and must be scaled
NOISE = 1e-12


class Asinh(nn.Module):
    """Has no flat parts: however large the activations of a random table, every weight has a gradient."""

    def forward(self, x):
        return torch.asinh(x)


@dataclass(frozen=True)
class Shape:
    """A factory. The layers' sizes are multiples of d_model or d_ff; a "tied" model reads out with its embedding."""

    first: str
    layers: tuple[tuple[str, int], ...]
    bias: bool
    bottleneck: bool
    norm: bool

    def __call__(self, width: Mapping[str, int]) -> nn.Module:
        tied, linear = self.first == "tied", partial(nn.Linear, bias=self.bias)
        sizes = [times * width[name] for name, times in self.layers]
        sizes += sizes[:1] * tied
        first = linear(D_IN, sizes[0]) if self.first == "linear" else nn.Embedding(VOCAB, sizes[0])
        body = [linear(sizes[0], 4), linear(4, sizes[0])] * self.bottleneck
        for fan_in, fan_out in pairwise(sizes):
            body += [Asinh(), linear(fan_in, fan_out)]
        body += [nn.LayerNorm(sizes[-1])] * self.norm
        readout = linear(sizes[-1], VOCAB if tied else D_OUT)
        if tied:
            readout.weight = first.weight
        return nn.Sequential(first, *body, Asinh(), readout)

    def data(self) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(VOCAB, D_IN) if self.first == "linear" else torch.arange(VOCAB)
        return x, torch.randn(VOCAB, VOCAB if self.first == "tied" else D_OUT)


def shapes(least_layers=1, norm=(False, True)):
    layer = st.tuples(st.sampled_from(["d_model", "d_ff"]), st.integers(1, 2))
    layers = st.lists(layer, min_size=least_layers, max_size=3).map(tuple)
    first = st.sampled_from(["linear", "embedding", "tied"])
    return st.builds(Shape, first, layers, bias=st.booleans(), bottleneck=st.booleans(), norm=st.sampled_from(norm))


def widths(of_each):
    """A base width and another."""
    both = st.fixed_dictionaries({"d_model": of_each, "d_ff": of_each})
    pairs = both.map(lambda found: tuple({name: pair[i] for name, pair in found.items()} for i in (0, 1)))
    return pairs.filter(lambda pair: pair[0] != pair[1])


def all_grow(widths):
    return all(widths[0][name] != widths[1][name] for name in widths[0])


fours = widths(st.builds(lambda k, i, j: (k * 4**i, k * 4**j), st.integers(2, 3), st.integers(0, 2), st.integers(0, 2)))
wider = widths(st.tuples(st.integers(2, 4), st.integers(12, 36)))


def powers(*exponents):
    return st.builds(Power, st.sampled_from(exponents), st.sampled_from(exponents))


TAME, WILD = powers(0.0, -0.5, 0.5), powers(0.0, -0.5, 0.5, -1.0, 1.0)


def tables(power):
    lr = st.fixed_dictionaries(dict.fromkeys(Family, power))
    row = st.builds(Row, forward=power, init=power, lr=lr, eps=power, source=st.just("random"))
    rows = st.fixed_dictionaries(dict.fromkeys(Role, row))
    return rows.map(lambda rows: Parameterization(name="random", title="", rows=rows))


def thetas(power):
    return st.fixed_dictionaries(dict.fromkeys(Role, power))


def shifted(table, theta):
    return replace(table, rows={role: row.shifted(theta[role]) for role, row in table.rows.items()})


def planned(shape, widths, table, optimizer, noise=0.0, **more):
    with torch.device("meta"):  # torch's own init: nothing to measure
        base, target = map(shape, widths)
    plan = Plan.from_models(target, base=base, parameterization=table, optimizer=optimizer, **more)
    torch.manual_seed(1)
    model, (x, y) = apply(shape(widths[1]), plan), shape.data()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + noise * torch.randn_like(parameter))
    return model, plan, x, y


def trained(shape, widths, table, optimizer, **more):
    kind, hyperparameters = OPTIMIZERS[optimizer]
    model, plan, x, y = planned(shape, widths, table, optimizer.replace("relative step", "adafactor"), **more)
    hyperparameters = {"eps": EPS} | hyperparameters if optimizer in DEFAULT_EPS else hyperparameters
    return finite(losses(model, kind(param_groups(model, plan, **hyperparameters)), x, y, STEPS))


def finite(found):
    assert all(map(math.isfinite, found))
    return found


def apart(a, b):
    return max(abs(x / y - 1) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_shifted_table_trains_to_the_same_losses_bit_for_bit(optimizer):
    changes = []

    @given(
        shape=shapes(),
        widths=fours,
        table=tables(WILD),
        theta=thetas(WILD),
        wd_policy=st.sampled_from(["independent", "sqrt"]),
    )
    @settings(max_examples=16)
    def check(shape, widths, table, theta, wd_policy):
        run = partial(trained, shape, widths, optimizer=optimizer, wd_policy=wd_policy)
        found = run(table=table)
        assert run(table=shifted(table, theta)) == found
        changes.append(apart(found, found[:1] * len(found)))

    check()
    assert sum(x > 1e-6 for x in changes) > 0.8 * len(changes)  # rates may happen to be all but zero


@given(shape=shapes(), widths=fours, table=tables(WILD), optimizer=st.sampled_from(list(OPTIMIZERS)))
@settings(max_examples=25)
def test_the_absorbed_form_of_a_random_table_trains_to_the_same_losses_bit_for_bit(shape, widths, table, optimizer):
    run = partial(trained, shape, widths, table, optimizer)
    assert run(form="absorbed") == run(form="forward")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(shape=shapes(), widths=wider, table=tables(TAME), theta=thetas(TAME))
@settings(max_examples=10)
def test_a_shift_by_other_factors_than_powers_of_two_agrees_to_rounding(optimizer, shape, widths, table, theta):
    run = partial(trained, shape, widths, optimizer=optimizer)
    right = run(table=table)
    # Rounding is amplified as this noise is: 1e7 times where a table diverges. Measured: 25 (1 + sensitivity) eps.
    sensitivity = apart(run(table=table, noise=NOISE), right) / NOISE
    assert apart(run(table=shifted(table, theta)), right) < 100 * (1 + sensitivity) * torch.finfo(torch.float64).eps


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "relative step"])
@given(shape=shapes(norm=(False,)), widths=fours.filter(all_grow), table=tables(WILD), data=st.data())
@settings(max_examples=25)
def test_one_exponent_off_by_a_half_is_seen(optimizer, shape, widths, table, data):
    _, plan, *_ = planned(shape, widths, table, "adam")
    s = data.draw(st.sampled_from([s for s in plan.values() if (s.m_in, s.m_out) != (1, 1)]))
    entries = ["forward", "init", "lr", *["eps"] * (optimizer == "adam")]
    entry = data.draw(st.sampled_from(entries))
    row, off = table.rows[s.role], Power(fan_in=0.5) if s.m_in != 1 else Power(fan_out=0.5)
    value = getattr(row, entry)
    value = {family: power * off for family, power in value.items()} if entry == "lr" else value * off
    wrong = replace(table, rows={**table.rows, s.role: replace(row, **{entry: value})})
    right, found = (trained(shape, widths, t, optimizer) for t in (table, wrong))
    assert found != right


@given(
    shape=shapes(),
    width=fours.map(lambda pair: pair[1]),
    table=tables(WILD),
    optimizer=st.sampled_from(["sgd", "adam", "adafactor", "muon"]),
    form=st.sampled_from(list(Form)),
)
@settings(max_examples=15)
def test_at_base_width_a_random_table_is_the_users_own_model_bit_for_bit(shape, width, table, optimizer, form):
    torch.manual_seed(2)
    plain = shape(width).state_dict()
    torch.manual_seed(2)
    model, plan = parameterize(
        shape, width=width, base_width=width, parameterization=table, optimizer=optimizer, form=form, check=False
    )
    assert all(torch.equal(plain[name], value) for name, value in model.state_dict().items())
    for s in plan.values():
        assert (s.init_mult, s.forward_mult, s.lr_mult, s.eps_mult, s.wd_mult) == (1.0,) * 5
    assert all(site.factor == 1.0 for site in plan.sites.values())


class Both:
    """Muon for the hidden matrices and AdamW for the rest, as one optimizer."""

    def __init__(self, model, plan, adjust_lr_fn, **hyperparameters):
        muon, adamw = muon_groups(model, plan, eps=EPS, adjust_lr_fn=adjust_lr_fn, **hyperparameters)
        # torch's eps, a floor under the norm of a gradient, has no exponent: so low that it is never reached.
        muon = torch.optim.Muon(muon, adjust_lr_fn=adjust_lr_fn, eps=1e-30)
        self.optimizers = muon, torch.optim.AdamW(adamw)

    def zero_grad(self):
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()


def known_to_torch(adjust_lr_fn):
    try:
        return torch.optim.Muon([torch.zeros(1, 1)], adjust_lr_fn=adjust_lr_fn)
    except ValueError:
        return None


ADJUST = list(filter(known_to_torch, ["original", "match_rms_adamw", "spectral_unclamped"]))
deep = shapes(least_layers=2)


def trained_by_muon(shape, widths, table, adjust_lr_fn, **hyperparameters):
    model, plan, x, y = planned(shape, widths, table, "muon")
    return finite(losses(model, Both(model, plan, adjust_lr_fn, **hyperparameters), x, y, STEPS))


@pytest.mark.parametrize("adjust_lr_fn", ADJUST)
@given(shape=deep, widths=fours.filter(all_grow), table=tables(WILD), theta=thetas(WILD))
@settings(max_examples=15)
def test_a_shifted_table_trains_to_the_same_losses_bit_for_bit_under_muon(adjust_lr_fn, shape, widths, table, theta):
    # Newton-Schulz divides by the gradient's norm and rounds to bfloat16, both of which powers of two commute with.
    run = partial(trained_by_muon, shape, widths, adjust_lr_fn=adjust_lr_fn, lr=0.02, adamw_lr=1e-3, weight_decay=0.1)
    assert run(table=shifted(table, theta)) == run(table=table)


@pytest.mark.filterwarnings("ignore:gradients had the same plain norm")  # of two numbers, in bfloat16
@pytest.mark.parametrize("adjust_lr_fn", ADJUST)
@given(shape=deep, widths=wider, table=tables(TAME), theta=thetas(TAME))
@settings(max_examples=10)
def test_a_shift_by_other_factors_agrees_under_muon_to_bfloat16(adjust_lr_fn, shape, widths, table, theta):
    """Of the loss's change under Muon alone: another factor rounds every entry of the gradient otherwise, by 2^-9.

    Newton-Schulz multiplies that by up to 3.4445^5 = 485 where singular values are small, so directions in which the
    gradient, hence the loss, hardly changes are anyone's; what is left is 1.3 % in the worst of 900 examples.
    """
    run = partial(trained_by_muon, shape, widths, adjust_lr_fn=adjust_lr_fn, lr=1e-3, adamw_lr=1e-12)
    row = table.rows[Role.HIDDEN]
    faster = {**row.lr, Family.MUON: row.lr[Family.MUON] * Power(fan_in=0.5)}
    wrong = replace(table, rows={**table.rows, Role.HIDDEN: replace(row, lr=faster)})
    right, same, off = run(table=table), run(table=shifted(table, theta)), run(table=wrong)

    def of_the_change(found):
        return max(abs(a - b) for a, b in zip(found, right, strict=True)) / max(abs(a - right[0]) for a in right)

    assert of_the_change(same) < 0.03
    assert of_the_change(off) > 0.3
