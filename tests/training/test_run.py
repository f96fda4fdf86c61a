"""run() against loops written by hand, and what a run depends on."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

import mutransfer as mt
from mutransfer.errors import PlanError
from mutransfer.training.run import infer_plan, run
from mutransfer.training.task import PROBE_SEED

from .tiny import BASE, Tiny, tiny_spec, train_by_hand

ROUNDING = 1e-12  # float64: 25 steps of a few hundred operations at 1e-16

OPTIMIZERS = {
    "sgd": ({"lr": 0.2}, lambda params, **kw: torch.optim.SGD(params, lr=0.2, **kw)),
    "sgd momentum decay": (
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        lambda params, **kw: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01, **kw),
    ),
    "adam": ({"lr": 0.01}, lambda params, **kw: torch.optim.Adam(params, lr=0.01, **kw)),
    "adam tuned": (
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
        lambda params, **kw: torch.optim.Adam(params, lr=0.01, betas=(0.8, 0.95), eps=1e-3, **kw),
    ),
    "adamw": (
        {"lr": 0.01, "weight_decay": 0.3},
        lambda params, **kw: torch.optim.AdamW(params, lr=0.01, weight_decay=0.3, **kw),
    ),
}
SCHEDULES = [("constant", 0), ("linear", 0), ("linear", 4), ("cosine", 0), ("cosine", 4)]


def _spec(which: str, **changes):
    return tiny_spec(optimizer=which.split()[0], hyperparameters=OPTIMIZERS[which][0], **changes)


@pytest.mark.parametrize("which", OPTIMIZERS)
@pytest.mark.parametrize(("schedule", "warmup"), SCHEDULES)
def test_a_run_at_base_width_is_the_users_own_loop(which, schedule, warmup, float64):
    spec = _spec(which, schedule=schedule, warmup_steps=warmup)
    torch.manual_seed(spec.seed)
    model = Tiny().build(BASE)
    start = Tiny().evaluate(model)
    losses, final = train_by_hand(Tiny(), spec, model, OPTIMIZERS[which][1](model.parameters()))
    result = run(spec, Tiny())
    assert result.train_curve == pytest.approx(losses, rel=ROUNDING)
    assert result.final_loss == pytest.approx(final, rel=ROUNDING)
    assert result.initial_loss == start
    assert result.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("which", OPTIMIZERS)
def test_with_the_same_fused_kernels_base_width_is_bit_for_bit(which):
    spec = _spec(which, schedule="cosine", warmup_steps=4, parameterization="ntk")
    torch.manual_seed(spec.seed)
    model = Tiny().build(BASE)
    losses, final = train_by_hand(Tiny(), spec, model, OPTIMIZERS[which][1](model.parameters(), fused=True))
    result = run(spec, Tiny())
    assert result.train_curve == tuple(losses)
    assert result.final_loss == final


@pytest.mark.parametrize(("name", "form"), [("mup", "forward"), ("mup", "absorbed"), ("ntk", "forward")])
@pytest.mark.parametrize("which", ["sgd momentum decay", "adam tuned", "adamw"])
def test_a_wide_run_is_the_loop_with_parameterize_and_param_groups(which, name, form, float64):
    h, make = OPTIMIZERS[which]
    spec = _spec(which, width=4 * BASE, parameterization=name, form=form, schedule="linear", warmup_steps=4)
    torch.manual_seed(spec.seed)
    model, plan = mt.parameterize(
        Tiny().build,
        width=spec.width,
        base_width=BASE,
        parameterization=name,
        optimizer=spec.optimizer,
        form=form,
        check=False,
    )
    groups = mt.param_groups(model, plan, lr=h["lr"], weight_decay=h.get("weight_decay", 0.0), eps=h.get("eps"))
    assert len(groups) > 1 or name == "ntk"  # otherwise the comparison would show nothing
    losses, final = train_by_hand(Tiny(), spec, model, make(groups))
    result = run(spec, Tiny())
    assert result.train_curve == pytest.approx(losses, rel=ROUNDING)
    assert result.final_loss == pytest.approx(final, rel=ROUNDING)
    assert result.final_loss != pytest.approx(run(replace(spec, parameterization="sp"), Tiny()).final_loss, rel=1e-3)


def test_equal_specs_give_the_same_run_whatever_the_global_random_state():
    first = run(tiny_spec(), DrawsEverywhere())
    random.seed(91)
    np.random.seed(92)  # noqa: NPY002
    torch.manual_seed(93)
    assert replace(run(tiny_spec(), DrawsEverywhere()), seconds=0) == replace(first, seconds=0)


@pytest.mark.parametrize("width", [BASE, 4 * BASE])
def test_the_global_random_state_is_left_untouched(width):
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    run(tiny_spec(width=width, steps=2), DrawsEverywhere())
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert all(np.array_equal(b, a) for b, a in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])


def test_another_seed_gives_another_initialisation_and_other_batches():
    first, second = (run(tiny_spec(seed=s), Tiny()) for s in (0, 1))
    assert first.initial_loss != second.initial_loss
    assert set(first.train_curve).isdisjoint(second.train_curve)


def test_every_width_is_trained_on_the_same_batches():
    narrow, wide = Spy(), Spy()
    run(tiny_spec(steps=4), narrow)
    run(tiny_spec(steps=4, width=4 * BASE), wide)
    for spy in (narrow, wide):
        in_training = [asked for asked in spy.asked if asked[0] == tiny_spec().seed]
        assert in_training[-4:] == [(3, 0), (3, 1), (3, 2), (3, 3)]
    assert set(narrow.asked) == set(wide.asked)


def test_a_plan_at_hand_gives_the_run_that_infers_it():
    spec = tiny_spec(width=4 * BASE)
    given = run(spec, Tiny(), plan=infer_plan(spec, Tiny()))
    assert given.train_curve == run(spec, Tiny()).train_curve


@pytest.mark.parametrize("change", [{"width": 2 * BASE}, {"parameterization": "ntk"}, {"form": "absorbed"}])
def test_a_plan_of_another_run_is_refused_by_name(change):
    spec = tiny_spec(width=4 * BASE)
    (name,) = change
    with pytest.raises(PlanError, match=f"the plan is for {name} "):
        run(spec, Tiny(), plan=infer_plan(replace(spec, **change), Tiny()))


def test_an_evaluation_that_forgets_train_mode_does_not_change_training():
    spec = tiny_spec(eval_every=1)
    careless = run(spec, Dropout(restores=False))
    assert careless.train_curve == run(spec, Dropout(restores=True)).train_curve
    assert careless.train_curve != run(spec, Tiny()).train_curve  # dropout is at work


def test_movement_is_the_relative_change_of_each_layer_on_the_probe_batch():
    spec = tiny_spec()
    torch.manual_seed(spec.seed)
    model = Tiny().build(BASE)
    x, _ = Tiny().batch(PROBE_SEED, 0)
    before = model[0](x).detach()
    train_by_hand(Tiny(), spec, model, torch.optim.SGD(model.parameters(), lr=spec.lr, fused=True))
    by_hand = float((model[0](x).detach() - before).norm() / before.norm())
    movement = run(spec, Tiny()).movement
    assert movement["0"] == pytest.approx(by_hand, rel=1e-5)
    assert set(movement) == {"0", "2", "4"}


@dataclass(frozen=True)
class DrawsEverywhere(Tiny):
    """A factory that uses the random numbers of Python and numpy too."""

    def build(self, width, /):
        model = super().build(width)
        with torch.no_grad():
            model[2].weight.mul_(1 + 0.01 * random.random())
            model[4].weight.mul_(1 + 0.01 * np.random.random())  # noqa: NPY002
        return model


@dataclass(frozen=True)
class Spy(Tiny):
    asked: list = field(default_factory=list)

    def batch(self, seed, step, /):
        self.asked.append((seed, step))
        return super().batch(seed, step)


@dataclass(frozen=True)
class Dropout(Tiny):
    restores: bool = True

    def build(self, width, /):
        model = super().build(width)
        model[3] = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Dropout(0.5))
        return model

    def evaluate(self, model, /):
        model.eval()
        with torch.no_grad():
            loss = float(self.loss(model, self.batch(7, 7)))
        model.train(self.restores)
        return loss
