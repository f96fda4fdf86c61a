"""Constants at base width: what each multiplies, alike alone and in a stack, in both forms and at every width."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.errors import ConfigError, StackError
from mutransfer.parameterization.model.factory import build_at
from mutransfer.random_state import seed_everything
from mutransfer.training.batches import batch_of
from mutransfer.training.dispatch import Dispatcher
from mutransfer.training.events import RunStarted, silent
from mutransfer.training.extra_hyperparameters import MULTIPLIERS, with_hyperparameters
from mutransfer.training.run import infer_plan, run
from mutransfer.training.stacked.population import Population
from mutransfer.training.tasks.source_bytes import SourceBytesGPT
from mutransfer.training.training_loop import TrainingLoop

from .test_population import assert_same, both
from .tiny import BASE, Tiny, tiny_spec, train_by_hand

OPTIMIZERS = {
    "sgd": {"momentum": 0.9, "weight_decay": 0.01},
    "adam": {"eps": 1e-3},
    "adamw": {"eps": 1e-3, "weight_decay": 0.3},
    "lion": {"independent_weight_decay": 0.003},
}
CONSTANTS = {
    "lr_mult_input": 2.0,
    "lr_mult_hidden": 0.5,
    "lr_mult_output": 3.0,
    "lr_mult_vector": 4.0,
    "lr_mult_scalar": 0.1,
    "init_mult": 1.5,
    "init_mult_hidden": 0.7,
    "output_mult": 2.5,
}


def spec_of(which="adamw", **changes):
    own = {"lr": 0.01, **OPTIMIZERS[which], **changes.pop("constants", {})}
    return tiny_spec(optimizer=which, hyperparameters=own, **changes)


class Scaled(nn.Module):
    """The tiny model as a person would write it: initial weights multiplied, and a forward factor on the readout."""

    def __init__(self, plain, *, init, readout):
        super().__init__()
        self.plain, self.readout = plain, readout
        with torch.no_grad():
            for layer, factor in zip((0, 2, 4), init, strict=True):
                plain[layer].weight.mul_(factor)

    def forward(self, x):
        hidden = self.plain[:4](x)
        return F.linear(hidden, self.readout * self.plain[4].weight, self.plain[4].bias)


@pytest.mark.parametrize("form", ["forward", "absorbed"])
@pytest.mark.parametrize("which", ["sgd", "adam", "adamw"])
def test_at_base_width_a_run_is_the_loop_that_a_person_writes(which, form, float64):
    spec = spec_of(which, constants=CONSTANTS, form=form)
    seed_everything(spec.seed)
    model = Scaled(build_at(Tiny().build, BASE), init=(1.5, 1.5 * 0.7, 1.5), readout=2.5)
    layers = model.plain
    mults = {  # at base width the first layer's weight is an input, its bias a vector, the last bias a scalar
        2.0: [layers[0].weight],
        0.5: [layers[2].weight],
        3.0: [layers[4].weight],
        4.0: [layers[0].bias, layers[2].bias],
        0.1: [layers[4].bias],
    }
    groups = [{"params": params, "lr_mult": mult} for mult, params in mults.items()]
    own = dict(OPTIMIZERS[which])
    if which == "sgd":
        optimizer = torch.optim.SGD(groups, lr=spec.lr, **own)
    else:
        kind = torch.optim.Adam if which == "adam" else torch.optim.AdamW
        optimizer = kind(groups, lr=spec.lr, eps=own["eps"], weight_decay=own.get("weight_decay", 0.0))
    losses, end = train_by_hand(Tiny(), spec, model, optimizer)
    found = run(spec, Tiny())
    assert found.train_curve == pytest.approx(losses, rel=1e-11)
    assert found.final_loss == pytest.approx(end, rel=1e-11)


@pytest.mark.parametrize("form", ["forward", "absorbed"])
@pytest.mark.parametrize("which", OPTIMIZERS)
def test_members_with_constants_of_their_own_are_their_own_runs(which, form, float64):
    specs = [
        spec_of(which, constants=constants, seed=seed, form=form, width=4 * BASE)
        for constants in ({}, *({name: value} for name, value in CONSTANTS.items()), CONSTANTS)
        for seed in (0, 5)
    ]
    together, alone = both(specs, Tiny())
    assert_same(together, alone)
    assert len({result.final_loss for result in together}) == len(specs)  # each of them does something


def test_clipping_sees_the_same_norm_alone_and_together_and_in_both_forms(float64):
    losses = []
    for form in ("forward", "absorbed"):
        specs = [
            spec_of("sgd", constants={"output_mult": out}, seed=s, form=form, width=4 * BASE, clip_norm=0.05)
            for out in (1.0, 2.5)
            for s in (0, 5)
        ]
        together, alone = both(specs, Tiny())
        assert_same(together, alone)
        losses.append([result.final_loss for result in alone])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    plain = [run(replace(spec, clip_norm=0.0), Tiny()).final_loss for spec in specs]
    assert plain != pytest.approx(losses[1], rel=1e-3)  # it does clip


@pytest.mark.parametrize("name", ["mup", "ntk"])
@pytest.mark.parametrize("which", OPTIMIZERS)
def test_both_forms_train_the_same_function_at_larger_width(which, name, float64):
    one, other = (
        run(spec_of(which, constants=CONSTANTS, form=form, width=4 * BASE, parameterization=name), Tiny())
        for form in ("forward", "absorbed")
    )
    assert one.train_curve == pytest.approx(other.train_curve, rel=1e-9)


def test_the_output_multiplier_multiplies_logits_by_itself_at_every_width(float64):
    for width in (BASE, 4 * BASE):
        models = [
            TrainingLoop(spec, 1, Tiny(), infer_plan(spec, Tiny()), torch.device("cpu"), silent).model
            for spec in (spec_of(width=width), spec_of(width=width, constants={"output_mult": 2.5}))
        ]
        x, _ = Tiny().batch(0, 0)
        plain, scaled = ((m(x) - m[4].bias).detach() for m in models)
        assert torch.allclose(scaled, 2.5 * plain, rtol=1e-12)


def test_every_multiplier_at_1_leaves_the_plan_and_the_run_as_they_are():
    ones = dict.fromkeys(MULTIPLIERS, 1.0)
    plain, with_ones = spec_of(), spec_of(constants=ones)
    plan = infer_plan(plain, Tiny())
    assert with_hyperparameters(plan, ones) is plan
    assert infer_plan(with_ones, Tiny()) == plan
    assert with_ones.key == plain.key
    assert run(with_ones, Tiny()).train_curve == run(plain, Tiny()).train_curve


def test_decay_of_its_own_is_decay_over_the_learning_rate():
    own = {"lr": 0.02, "independent_weight_decay": 0.001}
    coupled = {"lr": 0.02, "weight_decay": 0.05}
    one, other = (run(tiny_spec(optimizer="adamw", hyperparameters=h), Tiny()) for h in (own, coupled))
    assert one.train_curve == pytest.approx(other.train_curve, rel=1e-6)


def test_decay_of_its_own_does_not_follow_a_learning_rate_multiplier(float64):
    # Gradients of zero: what is left of a weight after a step is 1 - decay, whatever its learning rate.
    class Still(Tiny):
        def loss(self, model, batch, /):
            return super().loss(model, batch) * 0

    for name, expected in (("independent_weight_decay", 0.01), ("weight_decay", 0.01 * 8)):
        value = 0.01 if name.startswith("independent") else 0.01 / 0.1
        h = {"lr": 0.1, name: value, "lr_mult_hidden": 8.0, "eps": 1.0}
        spec = tiny_spec(optimizer="adamw", hyperparameters=h, steps=1, width=4 * BASE)
        loop = TrainingLoop(spec, 1, Still(), infer_plan(spec, Tiny()), torch.device("cpu"), silent)
        before = loop.model[2].weight.detach().clone()
        loop.step(0)
        assert torch.allclose(loop.model[2].weight, before * (1 - expected), rtol=1e-12)


GPT = SourceBytesGPT(layers=1, context=8, batch_size=3, eval_windows=4)


def gpt_spec(width=16, **changes):
    own = {"lr": 0.003, **changes.pop("constants", {})}
    return tiny_spec(
        task=repr(GPT), width=width, base_width=16, optimizer="adam", hyperparameters=own, steps=3, **changes
    )


@pytest.mark.parametrize("name", ["mup", "as_is"])
@pytest.mark.parametrize("width", [16, 32])
def test_the_attention_multiplier_multiplies_logits(name, width):
    logits = []
    for constants in ({}, {"attention_mult": 4.0}):
        spec = gpt_spec(width, constants=constants, parameterization=name)
        plan = infer_plan(spec, GPT)
        attention = TrainingLoop(spec, 1, GPT, plan, torch.device("cpu"), silent).model.blocks[0].attention
        x = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(0))
        logits.append(attention.query(x) @ attention.key(x).transpose(1, 2))
    assert torch.allclose(logits[1], 4 * logits[0], rtol=1e-5)


def test_runs_with_other_attention_multipliers_are_other_programs_and_have_their_own_numbers():
    specs = [gpt_spec(constants={"attention_mult": m}, seed=s) for m in (1.0, 4.0) for s in (0, 1)]
    plans = {spec.key: infer_plan(spec, GPT) for spec in specs}
    with pytest.raises(StackError, match="differ in attention_mult"):
        Population(specs, GPT, plan=plans[specs[2].key])
    events = []
    dispatcher = Dispatcher(GPT, device=torch.device("cpu"), members=8, sink=events.append)
    found = {s.key: r for s, r in dispatcher.perform(specs, lambda s: plans[s.key])}
    for spec in specs:
        assert found[spec.key].train_curve == pytest.approx(run(spec, GPT).train_curve, rel=1e-4)
    assert found[specs[0].key].final_loss != found[specs[2].key].final_loss
    assert len([e for e in events if isinstance(e, RunStarted)]) == 4
    same = [spec for spec in specs if spec.hyperparameters["attention_mult"] == 4.0]
    for spec, result in Population(same, GPT, plan=plans[same[0].key]).train():
        assert result.train_curve == pytest.approx(run(spec, GPT).train_curve, rel=1e-4)


@dataclass(frozen=True)
class TiedGPT(SourceBytesGPT):
    def build(self, width, /):
        model = super().build(width)
        model.readout.weight = model.tokens.weight
        return model


@pytest.mark.parametrize("name", ["mup", "as_is"])
def test_a_tied_readout_is_multiplied_where_it_reads_out(name):
    task = TiedGPT(layers=1, context=8, batch_size=3, eval_windows=4)
    batch = task.batch(0, 0)
    logits = []
    for constants in ({}, {"output_mult": 4.0}):
        spec = replace(gpt_spec(32, constants=constants, parameterization=name), task=repr(task))
        model = TrainingLoop(spec, 1, task, infer_plan(spec, task), torch.device("cpu"), silent).model
        logits.append(model(batch[:, :-1]).detach())
    assert torch.allclose(logits[1], 4 * logits[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("constants", "complaint"),
    [
        ({"lr_mult_hiden": 2.0}, "adamw has no hyperparameter 'lr_mult_hiden'.*did you mean 'lr_mult_hidden'"),
        ({"init_mult": 0.0}, "init_mult must be positive and finite, found 0.0"),
        ({"output_mult": math.inf}, "output_mult must be positive and finite, found inf"),
        ({"independent_weight_decay": 0.1}, "give one of weight_decay and independent_weight_decay"),
    ],
)
def test_what_is_no_constant_is_refused(constants, complaint):
    with pytest.raises(ConfigError, match=complaint):
        spec_of(constants=constants)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("lr_mult_bottleneck", "no parameter of role bottleneck, only hidden, input, output, scalar, vector"),
        ("attention_mult", "no attention was seen"),
    ],
)
def test_a_constant_that_reaches_nothing_is_refused(name, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run(spec_of(constants={name: 2.0}), Tiny())


def test_a_larger_batch_is_the_next_batches_of_the_task_and_a_smaller_one_its_beginning(float64):
    task = Tiny()
    own = [task.batch(3, step)[0] for step in range(6)]
    assert torch.equal(batch_of(task, 3, 2)[0], own[2])
    assert torch.equal(batch_of(task, 3, 1, 24)[0], torch.cat([own[2], own[3]]))
    assert torch.equal(batch_of(task, 3, 1, 30)[0], torch.cat(own[3:6])[:30])
    assert torch.equal(batch_of(task, 3, 2, 5)[0], own[2][:5])
    specs = [
        spec_of(batch_size=24, seed=s, width=4 * BASE, constants={"lr_mult_hidden": m}) for s in (0, 5) for m in (1, 2)
    ]
    together, alone = both(specs, task)
    assert_same(together, alone)
    assert together[0].final_loss != run(replace(specs[0], batch_size=0), task).final_loss
    assert specs[0].key != replace(specs[0], batch_size=0).key
