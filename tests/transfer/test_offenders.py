"""Plans that were broken on purpose: the coordinate check names the parameter that is to blame, and the cause."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.intervals import Slope
from mutransfer.parameterization.judging.offenders import excess
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import Site
from mutransfer.theory.rules import Role
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.coordinates.check import coordinate_check

WIDTHS = (64, 128, 256, 512)
FIRST, HIDDEN, SECOND, READOUT = "1.weight", "3.weight", "5.weight", "7.weight"
TASK = DigitsMLP(hidden_layers=3)


@cache
def inferred(width, parameterization="mup", optimizer="adam", base=64):
    return Plan.infer(
        TASK.build, width=width, base_width=base, parameterization=parameterization, optimizer=optimizer, check=False
    )


def edited(plan, which, **factors):
    """The plan with other factors, numbers or functions of the scaling, on the parameters that ``which`` picks."""
    made = {
        name: replace(s, **{k: v(s) if callable(v) else v for k, v in factors.items()}) if which(name, s) else s
        for name, s in plan.items()
    }
    return replace(plan, scalings=made)


def named(*names):
    return lambda name, s: name in names


def having(role):
    return lambda name, s: s.role is role


def check(edit, parameterization="mup", optimizer="adam"):
    return coordinate_check(
        TASK,
        widths=WIDTHS,
        plan=lambda width: edit(inferred(width, parameterization, optimizer)),
        seeds=2,
        steps=2,
        device="cpu",
    )


BROKEN = {
    "hidden learning rate unscaled": (
        lambda p: edited(p, having(Role.HIDDEN), lr_mult=1.0, wd_mult=1.0),
        [HIDDEN, SECOND],
        "its learning rate is not scaled: factor 1 at width 512 where mup has 0.125 = 1/m_in",
    ),
    "hidden learning rate rescaled twice": (
        lambda p: edited(p, named(SECOND), lr_mult=lambda s: s.lr_mult**2),
        [SECOND],
        "its learning rate is scaled twice",
    ),
    "fan-in for fan-out": (
        lambda p: edited(
            p, named(FIRST), role=Role.OUTPUT, m_in=lambda s: s.m_out, m_out=1.0, forward_mult=lambda s: 1 / s.m_out
        ),
        [FIRST],
        "its fan_in and fan_out are swapped (the plan reads it as output, its shapes and its use say input)",
    ),
    "input learning rate scaled": (
        lambda p: edited(p, named(FIRST), lr_mult=lambda s: 1 / s.m_out),
        [FIRST],
        "its learning rate is scaled and should not be",
    ),
    "readout multiplier missing": (
        lambda p: edited(p, having(Role.OUTPUT), forward_mult=1.0),
        [READOUT],
        "readout multiplier is missing: factor 1 at width 512 where mup has 0.125 = 1/m_in",
    ),
    "initial values rescaled twice": (
        lambda p: edited(p, named(HIDDEN), init_mult=lambda s: s.m_in**-0.5),
        [HIDDEN],
        "its initialisation is scaled and should not be",
    ),
    "eps unscaled": (
        lambda p: edited(p, named(HIDDEN), eps_mult=1.0),
        [HIDDEN],
        "its eps is not scaled: factor 1 at width 512 where mup has 0.125 = 1/m_out",
    ),
    "decay unscaled": (
        lambda p: edited(p, named(HIDDEN), wd_mult=1.0),
        [HIDDEN],
        "factor 1 where the independent policy has 8 beside a learning rate of 0.125",
    ),
    "one layer forgotten": (
        lambda p: edited(p, named(SECOND), init_mult=1.0, lr_mult=1.0, eps_mult=1.0, wd_mult=1.0),
        [SECOND],
        "(and so of its eps, weight decay)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_parameter_and_the_cause_are_named(name):
    edit, blamed, cause = BROKEN[name]
    found = check(edit)
    assert not found.passed
    assert [o.where for o in found.offenders] == blamed
    assert cause in found.offenders[0].cause
    assert ", ".join(blamed) in found.failures[0]


@pytest.mark.parametrize(("parameterization", "optimizer"), [("mup", "adam"), ("ntk", "adam"), ("mup", "sgd")])
def test_a_plan_that_is_handed_in_as_it_was_inferred_passes(parameterization, optimizer):
    found = check(lambda p: p, parameterization, optimizer)
    assert found.passed, found.failures
    assert (found.parameterization, found.offenders) == (parameterization, ())
    assert found.updates[HIDDEN].predicted == (-0.5 if parameterization == "ntk" else 0.0)


def test_under_sgd_what_follows_from_a_wrong_readout_is_not_blamed():
    found = check(lambda p: edited(p, having(Role.OUTPUT), forward_mult=1.0), optimizer="sgd")
    assert [o.where for o in found.offenders] == [READOUT]
    assert found.failures[1].startswith("in consequence, ")


def test_the_parts_of_a_change_tell_the_layer_that_is_wrong_from_the_one_behind_it():
    """With one hidden rate unscaled the next layer's own update stays right, and what is propagated to it grows."""
    found = check(lambda p: edited(p, named(HIDDEN), lr_mult=1.0))
    behind = found.slopes["5"]
    assert found.slopes["3"]["effective"].low > 0.25
    assert behind["propagated"].low > 0.25
    assert found.updates[SECOND].value == pytest.approx(0.0, abs=0.25)
    assert found.updates[HIDDEN].value == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("base_of", "complaint"),
    [
        (lambda width: 128, "the plans' base width is 128, not 64"),
        (lambda width: width // 2, "not the same at every width (32 at width 64, 64 at width 128"),
    ],
)
def test_a_wrong_base_width_is_said(base_of, complaint):
    found = coordinate_check(
        TASK, widths=WIDTHS, base_width=64, plan=lambda w: inferred(w, base=base_of(w)), seeds=1, steps=1, device="cpu"
    )
    assert complaint in found.failures[0]
    assert found.offenders[0].where == "the plan"


class Attentive(nn.Module):
    """One attention layer whose four heads grow; the readout is the embedding."""

    def __init__(self, width):
        super().__init__()
        self.tokens = nn.Embedding(16, width)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.head = nn.Linear(width, 16, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens)
        q, k, v = (
            layer(self.norm(x)).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return self.head(x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Copying:
    def build(self, width):
        return Attentive(width)

    def batch(self, seed, step):
        tokens = torch.randint(0, 16, (8, 9), generator=torch.Generator().manual_seed(997 * seed + step))
        tokens[:, 1::2] = tokens[:, :-1:2]
        return tokens

    def loss(self, model, batch):
        return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    def evaluate(self, model):
        return float(self.loss(model, self.batch(99, 0)))


@cache
def attentive(width):
    task = Copying()
    return Plan.infer(
        task.build,
        width=width,
        base_width=32,
        optimizer="adam",
        example=lambda model: task.loss(model, task.batch(0, 0)),
        check=False,
    )


def without(kind):
    return lambda p: replace(p, sites={path: s for path, s in p.sites.items() if s.kind != kind})


@pytest.mark.parametrize(
    ("edit", "where", "cause"),
    [
        (lambda p: p, None, None),
        (without("attention logits"), "attention logits of the model", "factor 1 at width 256 where mup has 0.3536"),
        (without("tied readout"), "head", "readout multiplier is missing: factor 1 at width 256 where mup has 0.125"),
    ],
    ids=["right", "attention left", "tied readout left"],
)
def test_multipliers_on_a_use_are_named(edit, where, cause):
    found = coordinate_check(
        Copying(), widths=(32, 64, 128, 256), plan=lambda w: edit(attentive(w)), seeds=2, steps=2, device="cpu"
    )
    assert [o.where for o in found.offenders] == ([] if where is None else [where])
    assert found.passed == (where is None), found.failures
    if cause is not None:
        assert cause in found.offenders[0].cause


def test_a_multiplier_where_the_tied_tensor_is_looked_up_is_named():
    def edit(plan):
        misplaced = Site(kind="tied readout", factor=32 / plan.width, mechanism="output")
        return replace(plan, sites={"tokens": misplaced} if plan.width > 32 else {})

    found = coordinate_check(
        Copying(), widths=(32, 64, 128, 256), plan=lambda w: edit(attentive(w)), seeds=2, steps=2, device="cpu"
    )
    assert found.offenders[0].where == "tokens"
    assert found.offenders[0].cause.startswith("a multiplier on its output is scaled and should not be: factor 0.125")


def slope(value, half):
    return Slope(value=value, low=value - half, high=value + half)


@pytest.mark.parametrize(
    ("found", "suspect", "beyond"),
    [
        (slope(0.9, 0.1), False, 0.9),
        (slope(0.9, 0.8), False, 0.0),  # might be 0.1
        (slope(0.9, 0.8), True, 0.9),
        (slope(0.9, 1.0), True, 0.0),
        (slope(0.2, 0.01), True, 0.0),  # what finite widths do
        (slope(-1.4, 0.1), False, -0.9),
        (slope(-0.4, 0.1), False, 0.0),  # between the bounds
    ],
)
def test_a_slope_is_off_where_its_interval_is(found, suspect, beyond):
    assert excess(found, -0.5, 0.0, 0.25, suspect=suspect) == pytest.approx(beyond)


def relu_network(*sizes):
    """With torch's own initialisation, biases included."""
    layers = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def of(build, edit=lambda p: p, parameterization="mup", widths=WIDTHS):
    def plan(width):
        how = {"parameterization": parameterization, "optimizer": "adam"}
        return edit(Plan.infer(build, width=width, base_width=64, **how, check=False))

    return coordinate_check(
        build,
        batch=TASK.batch,
        loss=TASK.loss,
        widths=widths,
        plan=plan,
        device="cpu",
    )


def narrow(width):
    return relu_network(64, width, 16, width, 10)


def tapered(width):
    return relu_network(64, width, round(8 * width**0.5), 10)


def test_a_bottleneck_that_is_read_as_hidden_is_named_although_its_size_at_first_is_allowed():
    def edit(plan):
        return edited(plan, named(HIDDEN), role=Role.HIDDEN, init_mult=1.0)

    found = of(narrow, edit)
    assert [o.where for o in found.offenders] == [HIDDEN]
    assert "at initialisation" in found.failures[0]
    assert "the plan reads it as hidden, its shapes and its use say bottleneck" in found.failures[0]


def test_another_form_of_the_same_training_is_not_blamed():
    def edit(plan):  # mup's readout row is its bottleneck row with the multiplier taken out
        return edited(
            plan,
            named(HIDDEN),
            role=Role.OUTPUT,
            init_mult=lambda s: s.init_mult * s.m_in,
            forward_mult=lambda s: 1 / s.m_in,
            lr_mult=1.0,
            wd_mult=1.0,
            eps_mult=lambda s: 1 / s.m_in,
        )

    found = of(narrow, edit)
    assert found.passed, found.failures


def test_in_the_kernel_regime_a_size_that_is_mostly_change_fades_as_that_does():
    def build(width):
        network = relu_network(64, width, width, 10)
        with torch.no_grad():
            for parameter in network[3].parameters():
                parameter *= 0.02
        return network

    found = of(build, parameterization="ntk")
    assert found.slopes["3"]["size"].value < -0.3
    assert found.passed, found.failures


def test_a_readout_bias_that_outweighs_the_logits_at_initialisation_is_no_offence():
    found = of(narrow)
    assert found.by_step[0][READOUT.removesuffix(".weight")]["size"].value > -0.35  # the logits less it: -1
    assert found.passed, found.failures


def test_logits_may_start_as_faint_as_the_readouts_own_fan_in_makes_them():
    found = of(tapered, widths=(64, 256, 1024))
    assert found.at_init == {"5": pytest.approx(-0.25, abs=0.01)}
    assert found.passed, found.failures
