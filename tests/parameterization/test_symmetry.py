"""Forms and parameterizations that are the same function in training, exactly; and what tells the others apart.

Multipliers that are powers of two commute with rounding, so that equal means equal to the last bit; others agree
to rounding, which training amplifies little in a few steps (1e-10 against a machine precision of 2e-16).
"""

from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from torch import nn

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.model.layouts import Axes
from mutransfer.parameterization.wrapping.apply import parameterize
from mutransfer.theory import exponents, rules
from mutransfer.theory.rules import Family, Power, Role

from .models import D_IN, D_OUT, OPTIMIZERS, VOCAB, TiedLM, cnn, losses, mlp, regression, two_widths

pytestmark = pytest.mark.usefixtures("float64")
HYPERPARAMETERS = {
    "sgd": {"lr": 0.05, "weight_decay": 0.1},
    "adam": {"lr": 0.01, "eps": 1e-2},  # an eps of the size of the gradients: it matters, and must be scaled
    "adamw": {"lr": 0.01, "eps": 1e-2, "weight_decay": 0.3},
}


class Bottleneck(nn.Module):
    """w -> 4 -> w between two layers; the readout is registered first, so that it too looks like a bottleneck."""

    def __init__(self, width):
        super().__init__()
        self.readout = nn.Linear(width, D_OUT)
        self.layers = nn.Sequential(nn.Linear(D_IN, width), nn.Tanh(), nn.Linear(width, 4), nn.Linear(4, width))

    def forward(self, x):
        return self.readout(torch.tanh(self.layers(x)))


class Attention(nn.Module):
    """Packed projections, that torch reads without calling a module: no multiplier can be hung on them."""

    def __init__(self, width):
        super().__init__()
        self.inward = nn.Linear(D_IN, width)
        self.mix = nn.MultiheadAttention(width, 2, batch_first=True)
        self.readout = nn.Linear(width, D_OUT)

    def forward(self, x):
        h = self.inward(x)[:, None] + torch.linspace(-1, 1, 5)[:, None]
        return self.readout(self.mix(h, h, h, need_weights=False)[0].mean(1))


MODELS = {
    "mlp": (mlp, {}),
    "cnn": (cnn, {}),
    "bottleneck": (Bottleneck, {}),
    "attention": (Attention, {"overrides": {"*in_proj_weight": Axes(fan_in=(1,), fan_out=(0,))}}),
}


def trained(build, optimizer, *, width=64, base_width=4, steps=6, shape=(D_IN,), wd_policy="independent", **plan):
    """Losses of one run; the same seed gives the same draws, data and steps."""
    torch.manual_seed(1)
    x, y = regression(shape=(3, 6, 6) if build is cnn else shape)
    model, found = parameterize(
        build, width=width, base_width=base_width, optimizer=optimizer, wd_policy=wd_policy, **plan, check=False
    )
    groups = param_groups(model, found, **HYPERPARAMETERS[optimizer])
    return losses(model, OPTIMIZERS[optimizer](groups), x, y, steps)


@cache
def in_form(model, optimizer, name, form):
    """Losses of one run, of which two tests compare different pairs; m = 16: all multipliers are powers of two."""
    build, more = MODELS[model]
    return trained(build, optimizer, parameterization=name, form=form, **more)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["sp", "ntk", "mf", "mup"])
@pytest.mark.parametrize("model", MODELS)
def test_forward_and_absorbed_form_train_to_the_same_losses_bit_for_bit(model, name, optimizer):
    forward = in_form(model, optimizer, name, "forward")
    assert in_form(model, optimizer, name, "absorbed") == forward
    assert forward[-1] != forward[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("form", list(rules.Form))
@pytest.mark.parametrize("model", MODELS)
def test_mean_field_and_mup_train_to_the_same_losses_bit_for_bit(model, form, optimizer):
    assert in_form(model, optimizer, "mf", form) == in_form(model, optimizer, "mup", form)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("width", [2, 12, 28])
def test_multipliers_that_are_no_powers_of_two_agree_to_rounding(width, optimizer):
    runs = [
        trained(mlp, optimizer, width=width, parameterization=name, form=form)
        for name in ("mup", "mf")
        for form in list(rules.Form)
    ]
    for other in runs[1:]:
        assert other == pytest.approx(runs[0], rel=1e-10)


@pytest.mark.filterwarnings("ignore:.*its input grows by.*SGD:UserWarning")  # said of widths that grow apart
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_forms_agree_where_widths_grow_apart(optimizer):
    widths = {"width": {"d_model": 16, "d_ff": 512}, "base_width": {"d_model": 4, "d_ff": 8}}  # m = 4 and 64
    mup, absorbed, mf = (
        trained(two_widths, optimizer, **widths, **plan)
        for plan in ({}, {"form": "absorbed"}, {"parameterization": "mf"})
    )
    assert mup == absorbed
    assert mup == mf


def trained_tied(optimizer, **plan):
    torch.manual_seed(1)
    model, found = parameterize(
        partial(TiedLM, bias=True), width=64, base_width=4, optimizer=optimizer, **plan, check=False
    )
    groups = param_groups(model, found, **HYPERPARAMETERS[optimizer])
    return losses(model, OPTIMIZERS[optimizer](groups), torch.arange(VOCAB), torch.eye(VOCAB))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["sp", "ntk", "mf", "mup"])
def test_the_forms_agree_on_a_tied_model_whose_readout_keeps_a_real_multiplier(name, optimizer):
    run = partial(trained_tied, optimizer, parameterization=name)
    assert run(form="absorbed") == run(form="forward")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mup_t3", "mup_t9", "mf"])
def test_the_four_forms_of_mup_agree_on_a_tied_model(name, optimizer):
    # Table 9 multiplies embeddings by sqrt(fan_out): a lookup has no input to multiply, so the tensor takes it all.
    assert trained_tied(optimizer, parameterization=name) == trained_tied(optimizer, parameterization="mup")


@pytest.mark.parametrize("other", [{"form": "absorbed"}, {"parameterization": "mf"}])
def test_an_eps_that_is_not_scaled_tells_equal_forms_apart(other):
    # Everett et al. (arXiv:2407.05872), section 4.3; the size of the effect in theory 1.3 is 10 to 40 percent.
    run = partial(trained, mlp, "adam", steps=20)
    assert run(**other) == run()
    unscaled = run(scale_eps=False)[-1]
    assert abs(run(scale_eps=False, **other)[-1] / unscaled - 1) > 0.01


def test_weight_decay_that_ignores_the_learning_rate_tells_equal_forms_apart():
    run = partial(trained, mlp, "adamw")
    assert run(form="absorbed") == run()
    standard = run(wd_policy="standard")[-1]
    assert abs(run(wd_policy="standard", form="absorbed")[-1] / standard - 1) > 1e-3


def wrong(role, **changes):
    row = rules.MUP.rows[role]
    return replace(rules.MUP, rows={**rules.MUP.rows, role: replace(row, **changes)})


@pytest.mark.parametrize(
    ("optimizer", "table"),
    [
        ("adam", wrong(Role.HIDDEN, lr=dict.fromkeys(Family, exponents.ONE))),
        ("adam", wrong(Role.HIDDEN, eps=exponents.ONE)),
        ("sgd", wrong(Role.HIDDEN, lr=dict.fromkeys(Family, exponents.ONE / exponents.IN))),
        ("sgd", wrong(Role.VECTOR, lr=dict.fromkeys(Family, exponents.ONE))),
        ("sgd", wrong(Role.INPUT, init=exponents.HALF_OUT)),
        ("adam", wrong(Role.OUTPUT, forward=Power(fan_in=-0.5))),
    ],
)
def test_one_wrong_exponent_trains_to_different_losses(optimizer, table):
    right, off = trained(mlp, optimizer), trained(mlp, optimizer, parameterization=table)
    assert abs(off[-1] / right[-1] - 1) > 1e-3  # the equalities above are to the last bit


def test_a_weight_that_two_modules_share_gets_its_multiplier_at_both():
    class TwoReadouts(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.trunk = nn.Linear(D_IN, width)
            self.a, self.b = nn.Linear(width, D_OUT), nn.Linear(width, D_OUT)
            self.b.weight = self.a.weight

        def forward(self, x):
            h = torch.tanh(self.trunk(x))
            return self.a(h) + self.b(h * h)

    for name in ("ntk", "mup"):
        run = partial(trained, TwoReadouts, "sgd", parameterization=name)
        assert run(form="forward") == run(form="absorbed")
    assert run(parameterization="mf") == run()


def constant_weights(width):
    """A hidden matrix that starts as the identity, and a readout of one number."""
    model = nn.Sequential(nn.Linear(D_IN, width), nn.Tanh(), nn.Linear(width, width), nn.Linear(width, D_OUT))
    nn.init.eye_(model[2].weight)
    nn.init.constant_(model[3].weight, 0.1)
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("other", [{"form": "absorbed"}, {"parameterization": "mf"}, {"parameterization": "mup_t9"}])
def test_weights_that_start_as_constants_follow_the_forms_too(optimizer, other):
    run = partial(trained, constant_weights, optimizer)
    assert run(**other) == run()
    model, _ = parameterize(constant_weights, width=16, base_width=4, check=False)
    assert torch.equal(model[2].weight, torch.eye(16))  # and are else left alone
