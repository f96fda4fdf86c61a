"""Members of a population against runs of their own, and what cannot be a population."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.errors import StackError
from mutransfer.training.events import Scalars
from mutransfer.training.run import infer_plan, run
from mutransfer.training.spec import Outcome
from mutransfer.training.stacked.population import Population
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

from .tiny import BASE, BATCH, CLASSES, INPUTS, Tiny, tiny_spec
from .together import ROUNDING, assert_same, both

OPTIMIZERS = {
    "sgd": {},
    "sgd momentum decay": {"momentum": 0.9, "weight_decay": 0.01},
    "adam": {},
    "adam tuned": {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
    "adamw": {"weight_decay": 0.3},
    "lion": {"weight_decay": 0.3},
}


def members(which="adam", lrs=(0.003, 0.02, 0.1), seeds=(0, 5), **changes):
    own = OPTIMIZERS[which]
    schedules = ("constant", "linear", "cosine")
    return [
        tiny_spec(
            optimizer=which.split()[0],
            hyperparameters={"lr": lr, **own},
            seed=seed,
            **{"width": 4 * BASE, "schedule": schedules[i % 3], "warmup_steps": i, "eval_every": 7, **changes},
        )
        for i, lr in enumerate(lrs)
        for seed in seeds
    ]


@pytest.mark.parametrize("name", ["mup", "ntk"])
@pytest.mark.parametrize("which", OPTIMIZERS)
def test_every_member_is_its_own_run(which, name, float64):
    together, alone = both(members(which, parameterization=name), Tiny())
    assert_same(together, alone)
    assert len({result.final_loss for result in together}) == 6  # and no other's


@pytest.mark.parametrize("changes", [{"accumulate": 3}, {"clip_norm": 0.05}, {"clip_norm": 0.05, "form": "absorbed"}])
def test_micro_batches_and_clipping_are_those_of_a_run(changes, float64):
    together, alone = both(members("sgd momentum decay", **changes), Tiny())
    assert_same(together, alone)
    plain, _ = both(members("sgd momentum decay"), Tiny())
    moved = any(a.final_loss != pytest.approx(b.final_loss, rel=1e-4) for a, b in zip(together, plain, strict=True))
    assert moved == ("clip_norm" in changes)


def test_hyperparameters_may_differ_from_member_to_member(float64):
    specs = [
        tiny_spec(optimizer="adamw", hyperparameters={"lr": 0.01, **own})
        for own in ({}, {"beta1": 0.5}, {"beta2": 0.9}, {"eps": 0.01}, {"weight_decay": 0.5})
    ]
    together, alone = both(specs, Tiny())
    assert_same(together, alone)
    assert len({result.final_loss for result in together}) == 5


def test_a_wrong_exponent_is_seen_by_the_comparison(float64):
    specs = members("adam")
    plan = infer_plan(specs[0], Tiny())
    wrong = replace(plan, scalings={n: replace(s, lr_mult=s.lr_mult**0.9) for n, s in plan.scalings.items()})
    found = [result for _, result in Population(specs, Tiny(), plan=wrong).train()]
    with pytest.raises(AssertionError):
        assert_same(found, [run(spec, Tiny(), plan=plan) for spec in specs])


def test_in_single_precision_members_agree_to_its_rounding():
    together, alone = both(members("adam", lrs=(0.003, 0.01)), Tiny())
    assert_same(together, alone, rounding=2e-4)


@dataclass(frozen=True)
class NanFor(Tiny):
    """Training batches of one seed hold a NaN from a step on."""

    seed: int = 5
    step: int = 13

    def batch(self, seed, step, /):
        x, y = super().batch(seed, step)
        return (x * math.nan if seed == self.seed and step >= self.step else x), y


def test_a_member_that_diverges_leaves_and_the_others_go_on(float64):
    specs = members("adam", lrs=(0.003, 0.02, 1e30), seeds=(0, 5, 6))
    together, alone = both(specs, NanFor())
    assert_same(together, alone)
    outcomes = {(spec.seed, spec.lr): result.outcome for spec, result in zip(specs, together, strict=True)}
    assert [outcomes[seed, 0.003] for seed in (0, 5, 6)] == [Outcome.OK, Outcome.DIVERGED, Outcome.OK]
    assert all(outcomes[seed, 1e30] is Outcome.DIVERGED for seed in (0, 5, 6))


def test_members_that_have_left_cost_nothing():
    specs = members("sgd", lrs=(0.01, 1e38), seeds=(0, 5))
    population = Population(specs, Tiny(), plan=infer_plan(specs[0], Tiny()))
    order = [spec.lr for spec, _ in population.train()]
    assert order == [1e38, 1e38, 0.01, 0.01]  # known as soon as they have diverged
    assert {len(p) for p in population.stack.parameters.values()} == {2}


def test_all_members_may_diverge(float64):
    together, alone = both(members("sgd", lrs=(1e308, 1.5e308)), Tiny())
    assert_same(together, alone)
    assert {len(result.train_curve) for result in together} == {11}  # two looks


def test_scalars_are_those_of_the_runs(float64):
    events: list[Scalars] = []
    specs = members("adam", lrs=(0.003, 0.02))
    together, _ = both(specs, Tiny(), sink=events.append)
    alone: list[Scalars] = []
    for spec in specs:
        run(spec, Tiny(), sink=alone.append)
    for spec in specs:
        mine, its = ([e for e in found if e.spec == spec] for found in (events, alone))
        assert [(e.step, sorted(e.values)) for e in mine] == [(e.step, sorted(e.values)) for e in its]
        for a, b in zip(mine, its, strict=True):
            assert a.values == pytest.approx(b.values, rel=ROUNDING)
    assert sum(result.seconds for result in together) > 0


class Net(nn.Module):
    """Two layers with something between them, made by ``between(width)``."""

    def __init__(self, width, between):
        super().__init__()
        self.first, self.between, self.last = nn.Linear(INPUTS, width), between(width), nn.Linear(width, CLASSES)

    def forward(self, x):
        return self.last(self.between(torch.tanh(self.first(x))))


@dataclass(frozen=True)
class With(Tiny):
    between: object = nn.Identity

    def build(self, width, /):
        return Net(width, self.between)


class Twice(nn.Module):
    """Two kinds of dropout in a row, one of them in place."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        x = F.dropout(torch.relu(self.inner(x)), 0.2, self.training)
        x = F.dropout1d(x.view(len(x), 4, -1), 0.5, self.training).flatten(1)
        return F.dropout(x * 1, 0.3, self.training, inplace=True)


@pytest.mark.parametrize("between", [lambda width: nn.Dropout(0.5), Twice], ids=["module", "functions"])
def test_every_member_draws_its_own_dropout_masks(between, float64):
    together, alone = both(members("adam"), With(between))
    assert_same(together, alone)
    plain, _ = both(members("adam"), With(nn.Identity if between is not Twice else Silent))
    assert together[0].train_curve != plain[0].train_curve


class Silent(Twice):
    def forward(self, x):
        return torch.relu(self.inner(x))


def test_batch_norm_keeps_running_statistics_per_member(float64):
    specs = members("sgd")
    together, alone = both(specs, With(nn.BatchNorm1d))
    assert_same(together, alone)  # evaluations use the running statistics


@dataclass(frozen=True)
class Regularised(Tiny):
    """A loss that looks at the parameters."""

    def loss(self, model, batch, /):
        return super().loss(model, batch) + 1e-2 * model[2].weight.square().mean()


def test_a_loss_may_look_at_the_parameters(float64):
    assert_same(*both(members("adam"), Regularised()))


class Tied(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inputs, self.hidden = nn.Linear(INPUTS, width, bias=False), nn.Linear(width, width)
        self.outputs = nn.Linear(width, INPUTS, bias=False)
        self.outputs.weight = nn.Parameter(self.outputs.weight.detach())
        self.frozen = nn.Parameter(torch.ones(width), requires_grad=False)
        self.unused = nn.Linear(width, width)

    def forward(self, x):
        return F.linear(torch.tanh(self.hidden(self.inputs(x) * self.frozen)), self.inputs.weight.T)[:, :CLASSES]


def test_shared_frozen_and_unused_parameters_are_as_in_torch(float64):
    @dataclass(frozen=True)
    class Shared(Tiny):
        def build(self, width, /):
            return Tied(width)

    assert_same(*both(members("adamw", width=BASE), Shared()))


def test_a_transformer_of_several_seeds():
    task = SourceBytesGPT(layers=1, context=16, batch_size=4, eval_windows=8)
    specs = [
        tiny_spec(width=32, base_width=16, optimizer="adam", hyperparameters={"lr": lr}, seed=seed, steps=8)
        for lr in (0.001, 0.004)
        for seed in (0, 1)
    ]
    assert_same(*both(specs, task), rounding=2e-4)


class Branches(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


class KeepsState(nn.Module):
    """Remembers what torch does not know of: a number drawn when it was built."""

    def __init__(self):
        super().__init__()
        self.scale = [float(torch.rand(()))]

    def forward(self, x):
        return x * self.scale[0]


@pytest.mark.parametrize(
    ("between", "complaint"),
    [
        (lambda width: Branches(), "data-dependent control flow"),
        (lambda width: KeepsState(), r"the loss of seed 5 is [\d.]+ in the stack and [\d.]+ alone"),
        (lambda width: nn.AlphaDropout(0.5), None),
    ],
    ids=["branches", "hidden state", "another dropout"],
)
def test_what_cannot_be_stacked_is_refused_with_the_reason(between, complaint):
    specs = members("adam")
    task = With(between)
    plan = infer_plan(specs[0], task)
    with pytest.raises(StackError, match=complaint):
        list(Population(specs, task, plan=plan).train())


@dataclass(frozen=True)
class Ragged(Tiny):
    def batch(self, seed, step, /):
        x, y = super().batch(seed, step)
        return (x[: BATCH - seed], y[: BATCH - seed])


@pytest.mark.parametrize(
    ("specs", "task", "complaint"),
    [
        (members("adam"), Ragged(), "differ in"),
        ([*members("adam"), *members("sgd")], Tiny(), "may differ in hyperparameters"),
        ([*members("adam"), *members("adam", steps=9)], Tiny(), "may differ in hyperparameters"),
        (members("adam", precision="float16"), Tiny(), "float16"),
    ],
    ids=["sizes", "optimizers", "steps", "float16"],
)
def test_members_that_do_not_go_together_are_refused(specs, task, complaint):
    with pytest.raises(StackError, match=complaint):
        list(Population(specs, task, plan=infer_plan(specs[0], Tiny())).train())


def test_bfloat16_members_agree_to_its_rounding():
    specs = members("adam", lrs=(0.003, 0.01), precision="bfloat16", steps=8)
    together, alone = both(specs, Tiny())
    assert_same(together, alone, rounding=0.02)
    full, _ = both(members("adam", lrs=(0.003, 0.01), steps=8), Tiny())
    assert together[0].train_curve != full[0].train_curve
