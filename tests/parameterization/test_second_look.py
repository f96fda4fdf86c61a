"""A plan is measured before it is handed over: right ones pass, wrong ones are refused by name, at little cost."""

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.errors import PlanMeasurementError
from mutransfer.parameterization.judging.measure_plan import measure_plan
from mutransfer.parameterization.judging.small_models import at_width, small_widths
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.tracing.examples import observe
from mutransfer.theory import rules

BASE, WIDTH = 64, 1024
X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


def mlp(width):
    return nn.Sequential(
        nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 4)
    )


class Attention(nn.Module):
    """Heads grow in size; the logits are divided by whatever ``scale`` says of a head's size."""

    def __init__(self, width, scale=lambda size: size**-0.5):
        super().__init__()
        self.embed, self.norm = nn.Linear(8, width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.head, self.scale = nn.Linear(width, 4), scale

    def forward(self, x):
        h = self.norm(self.embed(x[:, None] * torch.arange(1.0, 5.0)[:, None] / 4))
        q, k, v = (f(h).unflatten(-1, (2, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return self.head(((q @ k.mT * self.scale(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)).mean(1)


class Shrinks(nn.Module):
    """Divides what it computes by its width, behind the back of whoever follows the operations."""

    def __init__(self, width):
        super().__init__()
        self.first, self.hidden, self.last = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 4)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.last(self.hidden(h / torch.tensor(h.detach().numpy() ** 2).sum(-1, keepdim=True)))


class Tied(nn.Module):
    """Scores by the embedding, which is in what they read: at initialisation they fade less than n^-1/2."""

    def __init__(self, width, bias, hidden, normed):
        super().__init__()
        self.tokens = nn.Embedding(16, width)
        self.hidden = nn.Linear(width, width) if hidden else None
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.head = nn.Linear(width, 16, bias=bias)
        self.head.weight = self.tokens.weight

    def forward(self, x):
        h = self.tokens(x)
        return self.head(self.norm(h if self.hidden is None else h + self.hidden(h)))


class Finished(nn.Module):
    """A readout, or an average, within a module that adds or multiplies numbers of its own, which do not grow."""

    def __init__(self, width, finish):
        super().__init__()
        self.first, self.hidden = nn.Linear(8, width), nn.Linear(width, width)
        self.last = Finish(width, finish)

    def forward(self, x):
        return self.last(torch.relu(self.hidden(torch.relu(self.first(x)))))


class Finish(nn.Module):
    def __init__(self, width, finish):
        super().__init__()
        made = width if "heads" in finish else 4
        self.linear, self.own = nn.Linear(width, made, bias=False), nn.Parameter(torch.ones(4))
        self.finish = FINISHES[finish]

    def forward(self, h):
        return self.finish(self.linear(h), self.own)


FINISHES = {
    "a bias after neighbours are mixed": lambda y, own: y.roll(1, 0) + y + own - 1,
    "a learned temperature": lambda y, own: y * own[0],
    "a gain by class": lambda y, own: y * own,
    "the average of examples taken off": lambda y, own: y - y.mean(0) * own,
    "an average over heads": lambda y, own: y.unflatten(-1, (-1, 4)).mean(1) * own,
}


def found(build, plan, table="mup"):
    builds = Builds(build, base=BASE, target=plan.width)
    return measure_plan(builds, plan, rules.parameterization(table), observe(builds, X))


def changed(plan, which, **factors):
    """The plan with factors of one parameter multiplied by powers of the width multiplier."""
    m = WIDTH / BASE
    s = plan[which]
    new = replace(s, **{name: getattr(s, name) * m**power for name, power in factors.items()})
    return replace(plan, scalings={**plan.scalings, which: new})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lion"])
@pytest.mark.parametrize("table", ["mup", "ntk", "mf", "sp", "mup_t3"])
def test_right_plans_are_as_the_table_predicts(table, optimizer):
    plan = mt.Plan.infer(mlp, width=WIDTH, base_width=BASE, parameterization=table, optimizer=optimizer, example=X)
    assert plan.measurement.startswith("measured at widths 64, 128, 256")
    assert plan.measurement.endswith("as the table predicts")
    assert plan.measurement in str(plan).splitlines()[-1]


@pytest.mark.parametrize(
    ("bias", "hidden", "normed"), [(True, True, True), (True, False, True), (False, True, True), (True, True, False)]
)
def test_a_tied_readout_may_find_its_embedding_with_a_bias_of_its_own_or_without(bias, hidden, normed):
    def build(width):
        return Tied(width, bias, hidden, normed)

    tokens = torch.arange(16)[None]
    plan = mt.Plan.infer(build, width=WIDTH, base_width=BASE, example=tokens)
    assert plan.sites["head"].factor == BASE / WIDTH
    assert plan.measurement.endswith("as the table predicts")


@pytest.mark.parametrize("finish", FINISHES)
def test_what_does_not_grow_starts_as_faint_as_a_readout(finish):
    plan = mt.Plan.infer(lambda width: Finished(width, finish), width=WIDTH, base_width=BASE, example=X)
    assert plan["last.linear.weight"].role is (mt.Role.HIDDEN if "heads" in finish else mt.Role.OUTPUT)
    assert plan["last.own"].role is mt.Role.SCALAR
    assert plan.measurement.endswith("as the table predicts")


def tokens(width):
    return nn.Sequential(nn.Embedding(256, width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 16))


def pixels(width):
    first, hidden = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 1)
    return nn.Sequential(first, nn.ReLU(), hidden, nn.ReLU(), nn.Conv2d(width, 16, 1))


MANY = {
    "tokens": (tokens, "1.weight", torch.arange(256)),
    "sequences": (tokens, "1.weight", torch.arange(256).view(16, 16)),
    "pixels": (pixels, "2.weight", torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))),
}


@pytest.mark.parametrize("case", MANY)
def test_updates_of_one_among_many_examples_are_no_alarm_and_a_wrong_rate_is(case):
    build, which, example = MANY[case]
    settings = {"width": WIDTH, "base_width": BASE, "optimizer": "adam", "example": example}
    plan = mt.Plan.infer(build, **settings)
    assert plan.measurement.endswith("as the table predicts")
    builds = Builds(build, base=BASE, target=WIDTH)
    wrong = changed(plan, which, lr_mult=-1.0)
    offenders = measure_plan(builds, wrong, rules.parameterization("mup"), observe(builds, example)).offenders
    assert [o.where for o in offenders] == [which]


BROKEN = {
    "hidden init": ("2.weight", {"init_mult": 0.5}),
    "hidden init, the other way": ("4.weight", {"init_mult": -0.5}),
    "input init": ("0.weight", {"init_mult": -0.5}),
    "hidden rate": ("2.weight", {"lr_mult": 1.0}),
    "hidden rate, half": ("4.weight", {"lr_mult": 0.5}),
    "hidden rate, too small": ("2.weight", {"lr_mult": -1.0}),
    "input rate": ("0.weight", {"lr_mult": -1.0}),
    "rate of a bias": ("0.bias", {"lr_mult": 1.0}),
    "readout rate": ("5.weight", {"lr_mult": 1.0}),
    "readout multiplier": ("5.weight", {"forward_mult": 1.0}),
    "readout init": ("5.weight", {"init_mult": 1.0}),
}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_exponent_is_seen_and_named(case, optimizer):
    which, powers = BROKEN[case]
    plan = mt.Plan.infer(mlp, width=WIDTH, base_width=BASE, optimizer=optimizer, example=X, check=False)
    offenders = found(mlp, changed(plan, which, **powers)).offenders
    if optimizer == "sgd" and case == "hidden rate, half":  # what a first step of SGD does is known to half a power
        return
    assert offenders[0].where == which


def test_what_is_refused_names_the_exponents_and_the_factor_that_would_be_right(monkeypatch):
    """A table that is not its name's: what it hands over does not hold."""
    settings = {"width": WIDTH, "base_width": BASE, "optimizer": "adam", "example": X}
    ntk, mup = (rules.parameterization(name) for name in ("ntk", "mup"))
    hidden = replace(mup.rows[mt.Role.HIDDEN], init=ntk.rows[mt.Role.HIDDEN].init)
    wrong = replace(mup, rows={**mup.rows, mt.Role.HIDDEN: hidden})
    plan = mt.Plan.infer(mlp, parameterization=wrong, check=False, **settings)
    monkeypatch.setattr("mutransfer.parameterization.infer._plan", lambda *args: plan)
    with pytest.raises(PlanMeasurementError) as refused:
        mt.parameterize(mlp, **settings)
    text = str(refused.value)
    assert "2.weight" in text
    assert "(theory +0.00)" in text
    assert f"factor is {plan['2.weight'].init_mult:.4g} at width 1024 and would have to be 1" in text
    assert "check=False" in text
    assert mt.parameterize(mlp, check=False, **settings)[1].measurement == ""


@pytest.mark.parametrize(("scale", "site"), [(lambda d: d**-0.5, True), (lambda d: 1 / d, False)])
def test_logits_of_heads_that_grow(scale, site):
    def build(width):
        return Attention(width, scale)

    plan = mt.Plan.infer(build, width=512, base_width=BASE, example=X)
    assert bool(plan.sites) is site
    assert "as the table predicts" in plan.measurement
    if site:
        broken = found(build, replace(plan, sites={}))
        assert [o.where for o in broken.offenders] == ["attention logits of the model"]


def test_what_no_factor_can_mend_is_warned_of():
    with pytest.warns(UserWarning, match="measured at widths 64, 128, 256: hidden"):
        plan = mt.Plan.infer(Shrinks, width=512, base_width=BASE, example=X)
    assert "hidden" in plan.measurement


def test_an_override_is_the_users_word():
    with pytest.warns(UserWarning, match="2.weight"):
        mt.Plan.infer(
            mlp, width=512, base_width=BASE, example=X, optimizer="adam", overrides={"2.weight": mt.Role.VECTOR}
        )


def test_without_an_example_the_plan_says_so():
    class Odd(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.first, self.last = nn.Linear(8, width), nn.Linear(width, 4)

        def forward(self, x, scale):
            return self.last(self.first(x)) * scale

    plan = mt.Plan.infer(Odd, width=256, base_width=BASE)
    assert "not measured: no inputs were found" in str(plan)


def test_the_measurement_is_kept_and_compares_no_plans():
    plan = mt.Plan.infer(mlp, width=256, base_width=BASE, example=X)
    again = mt.Plan.from_json(plan.to_json())
    assert again.measurement == plan.measurement
    assert again == replace(plan, measurement="")


def test_the_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    mt.Plan.infer(mlp, width=256, base_width=BASE, example=X)
    assert torch.equal(torch.get_rng_state(), before)


def test_widths_are_small_ones_that_the_factory_accepts():
    def picky(width):
        if width % 96:
            raise ValueError("a multiple of 96")
        return mlp(width)

    assert small_widths(Builds(mlp, base=64, target=4096), 10**8) == [64, 128, 256]
    assert small_widths(Builds(mlp, base=8, target=64), 10**8) == [32, 64, 128]
    assert small_widths(Builds(mlp, base=1024, target=4096), 10**6) == [128, 256, 512]
    assert small_widths(Builds(picky, base=96, target=960), 10**8) == [96, 192, 384]
    two = Builds(lambda w: mlp(w["a"]), base={"a": 64, "heads": 2}, target={"a": 1024, "heads": 8})
    assert small_widths(two, 10**8)[0] == {"a": 64, "heads": 2}


def test_a_plan_at_another_width_is_the_one_that_is_inferred_there():
    builds = Builds(mlp, base=BASE, target=1024)
    plan = mt.Plan.infer(mlp, width=1024, base_width=BASE, optimizer="adam", example=X)
    there = mt.Plan.infer(mlp, width=256, base_width=BASE, optimizer="adam", example=X)
    small = at_width(plan, builds, 256)
    for name, s in there.items():
        for field in ("m_in", "m_out", "init_mult", "forward_mult", "lr_mult", "eps_mult", "wd_mult"):
            assert getattr(small[name], field) == pytest.approx(getattr(s, field))


def test_it_takes_little_time():
    builds = Builds(mlp, base=BASE, target=WIDTH)
    plan = mt.Plan.infer(mlp, width=WIDTH, base_width=BASE, example=X, check=False)
    started = time.process_time()
    found(mlp, plan)
    assert time.process_time() - started < 2.0
    assert builds.base == BASE
