"""The guard of optimizer steps: a loop that knows of no plan is told at its first step, one that follows it never."""

import copy
import gc
import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import lr_scheduler as schedulers

import mutransfer as mt
from mutransfer.errors import PlanError
from mutransfer.parameterization.groups import step_guard
from mutransfer.parameterization.groups.optimizer_family import family_by_name
from mutransfer.parameterization.wrapping.apply import remove
from mutransfer.parameterization.wrapping.wrapped_models import wrapped_models

from .models import D_IN, OPTIMIZERS, mlp

ADAMW = torch.optim.AdamW


def wrap(width=32, optimizer="adamw", **options):
    return mt.parameterize(mlp, width=width, base_width=8, optimizer=optimizer, **options, check=False)


def train(model, *optimizers, steps=9, before=lambda: None, after=lambda: None):
    """A loop of anyone's."""
    for step in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(torch.randn(8, D_IN, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        before()
        for optimizer in optimizers:
            optimizer.step()
        after()


def without_groups(model, plan):
    return ADAMW(model.parameters(), lr=1e-3)


def groups_of_ones_own(model, plan):
    decaying = [p for p in model.parameters() if p.ndim > 1]
    return ADAMW([{"params": decaying}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}])


def hidden_and_rest(model, plan):
    """Every group is of one factor, and all have one rate."""
    hidden = model[2].weight
    return ADAMW([{"params": [hidden]}, {"params": [p for p in model.parameters() if p is not hidden]}], lr=1e-3)


def a_tensor_rate(model, plan):
    return ADAMW(model.parameters(), lr=torch.tensor(1e-3), foreach=False)


def of_another_plan_merged(model, plan):
    return ADAMW([{"params": list(model.parameters()), "lr": 1e-3, "lr_mult": 1.0}])


FLAT = [without_groups, groups_of_ones_own, hidden_and_rest, a_tensor_rate, of_another_plan_merged]


@pytest.mark.parametrize("form", ["forward", "absorbed"])
@pytest.mark.parametrize("make", FLAT)
def test_an_optimizer_that_tells_nothing_apart_is_refused_at_its_first_step(make, form):
    model, plan = wrap(form=form)
    optimizer, before = make(model, plan), copy.deepcopy(model.state_dict())
    for _ in range(2):  # and again, until it is mended
        with pytest.raises(
            PlanError, match=r"[24]\.weight.* have the same learning rate.* factors .*0\.25.*param_groups"
        ):
            train(model, optimizer, steps=1)
    assert all(map(torch.equal, model.state_dict().values(), before.values()))
    train(model, ADAMW(mt.param_groups(model, plan, lr=1e-3)))


OTHERS = {
    ("adamw", "sgd"): torch.optim.SGD,
    ("sgd", "adamw"): ADAMW,
    ("adamw", "radam"): torch.optim.RAdam,
    ("adam", "adadelta"): torch.optim.Adadelta,
    ("adamw", "adafactor"): torch.optim.Adafactor,
    ("adafactor", "adamw"): ADAMW,
    ("muon", "adamw"): ADAMW,
    ("sgd", "derived"): type("Mine", (torch.optim.Adam,), {}),
}


@pytest.mark.parametrize(("planned", "name"), OTHERS)
def test_an_optimizer_of_another_family_is_refused(planned, name):
    model, plan = wrap(optimizer=planned)
    groups = model.parameters() if planned == "muon" else mt.param_groups(model, plan, lr=1e-3)
    with pytest.raises(PlanError, match=f"does not follow the plan: it .*optimizer '{planned}'"):
        train(model, OTHERS[planned, name](groups), steps=1)


def test_a_name_that_only_resembles_a_family_is_warned_of():
    class SGDLike(torch.optim.Optimizer):
        def step(self, closure=None):
            pass

    model, plan = wrap()
    optimizer = SGDLike(mt.param_groups(model, plan, lr=1e-3), {})
    assert family_by_name(optimizer) == ("sgd", False)
    with pytest.warns(UserWarning, match="by its name is of the family of sgd"):
        train(model, optimizer, steps=1)
    assert family_by_name(type("Sophia", (SGDLike,), {})([nn.Parameter(torch.ones(1))], {})) == ("sgd", False)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_plans_own_optimizer_passes(name):
    model, plan = wrap(optimizer=name)
    train(model, OPTIMIZERS[name](mt.param_groups(model, plan, lr=1e-3)))


def test_muon_beside_adamw_passes_and_each_must_have_its_own():
    model, plan = wrap(optimizer="muon")
    muon, adamw = mt.muon_groups(model, plan, lr=0.02, adamw_lr=1e-3, weight_decay=0.1)
    train(model, torch.optim.Muon(muon), ADAMW(adamw))
    hidden = [p for group in muon for p in group["params"]]
    with pytest.raises(PlanError, match=r"AdamW does not follow .*'muon'.* at 2\.weight"):
        train(model, ADAMW(hidden), steps=1)


def one_cycle(optimizer):
    return schedulers.OneCycleLR(optimizer, 0.1, total_steps=20).step


def with_a_floor(optimizer):
    return schedulers.CosineAnnealingLR(optimizer, 20, eta_min=1e-4).step


def writes_one_rate(optimizer):
    def step():
        for group in optimizer.param_groups:
            group["lr"] = 1e-3

    return step


def writes_decay(optimizer):
    def step():
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.1

    return step


def writes_eps(optimizer):
    def step():
        for group in optimizer.param_groups:
            group["eps"] = 1e-8

    return step


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (one_cycle, "Changed by OneCycleLR. Fix: give max_lr as a list"),
        (with_a_floor, "Changed by CosineAnnealingLR. Fix: use eta_min=0"),
        (writes_one_rate, "something that writes"),
        (writes_decay, "weight decay was changed .* not by one factor"),
        (writes_eps, "eps was changed .* not by one factor"),
    ],
)
def test_what_flattens_the_groups_is_named_without_check_lr(change, says):
    model, plan = wrap()
    optimizer = ADAMW(mt.param_groups(model, plan, lr=1e-2, weight_decay=0.1))
    with pytest.raises(PlanError, match=says):
        train(model, optimizer, after=change(optimizer))


def test_a_rate_that_is_written_late_is_found_at_the_next_step():
    model, plan = wrap()
    optimizer = ADAMW(mt.param_groups(model, plan, lr=1e-3))
    train(model, optimizer, steps=21)  # far from a power of two
    optimizer.param_groups[1]["lr"] *= 2
    with pytest.raises(PlanError, match="no longer follow"):
        train(model, optimizer, steps=1)


def frozen_part(model, plan):
    model[0].requires_grad_(False)
    return [ADAMW(mt.param_groups(model, plan, lr=1e-3, params=[p for p in model.parameters() if p.requires_grad]))]


def rates_of_ones_own(model, plan):
    own = [{"params": model[0].parameters(), "lr": 1e-2}, {"params": model[2].parameters(), "weight_decay": 0.0}]
    return [ADAMW(mt.param_groups(model, plan, lr=1e-3, weight_decay=0.1, params=own))]


def decay_that_meets(model, plan):  # twice as much for the first as for the hidden layer, which the plan gives 4 times
    own = [{"params": [model[0].weight], "weight_decay": 0.4}, {"params": [model[2].weight], "weight_decay": 0.1}]
    return [ADAMW(mt.param_groups(model, plan, lr=1e-3, params=own))]


def two_calls(model, plan):
    first = mt.param_groups(model, plan, lr=1e-3, params=model[:2].parameters())
    return [ADAMW(first + mt.param_groups(model, plan, lr=1e-4, params=model[2:].parameters()))]


def two_optimizers(model, plan):
    parts = (model[:2].parameters(), model[2:].parameters())
    return [ADAMW(mt.param_groups(model, plan, lr=1e-3, params=part)) for part in parts]


def by_hand(model, plan):
    return [
        ADAMW(
            [{"params": [p], "lr": 1e-3 * plan[n].lr_mult} for n, p in model.named_parameters()],
            eps=0.0,
            weight_decay=0.0,
        )
    ]


def the_readout_alone(model, plan):
    model[:4].requires_grad_(False)
    return [ADAMW(model.parameters(), lr=1e-3, eps=0.0)]


def a_group_of_another_model(model, plan):
    optimizer = ADAMW(mt.param_groups(model, plan, lr=1e-3))
    optimizer.add_param_group({"params": nn.Linear(3, 3).named_parameters(), "lr": 0.5})
    return [optimizer]


LEGITIMATE = [frozen_part, rates_of_ones_own, decay_that_meets, two_calls, two_optimizers, by_hand]
LEGITIMATE += [the_readout_alone, a_group_of_another_model]


@pytest.mark.parametrize("make", LEGITIMATE)
def test_what_is_different_on_purpose_is_no_alarm(make):
    model, plan = wrap(scale_eps=False) if make is the_readout_alone else wrap()
    train(model, *make(model, plan))


def test_schedules_that_multiply_and_warmups_are_no_alarm():
    model, plan = wrap()
    optimizer = ADAMW(mt.param_groups(model, plan, lr=torch.tensor(1e-3)), foreach=False)
    train(model, optimizer, steps=40, after=schedulers.LambdaLR(optimizer, lambda step: step / 7).step)
    optimizer = two_calls(model, plan)[0]
    train(model, optimizer, steps=20, after=schedulers.CosineAnnealingLR(optimizer, 30).step)
    mt.set_lr(optimizer, 1e-4)
    train(model, optimizer, steps=2)


@pytest.mark.parametrize("settings", [{"width": 8}, {"parameterization": "as_is"}])
def test_a_plan_that_asks_for_nothing_lets_everyone_be(settings):
    model, _ = wrap(**settings)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), before=lambda: clip_grad_norm_(model.parameters(), 0.01))


def test_plain_models_and_models_that_are_plain_again_are_let_be():
    model, _ = wrap()
    train(mlp(32), plain := torch.optim.SGD(mlp(32).parameters(), lr=0.1))
    assert not step_guard._watches[plain].rates
    train(remove(model), torch.optim.SGD(model.parameters(), lr=0.1))
    model, plan = wrap()
    train(mt.fold(model, plan), ADAMW(model.parameters()))


def stored(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("through", [copy.deepcopy, stored, lambda m: stored(copy.deepcopy(m))])
def test_copies_are_guarded_too_and_the_dead_are_forgotten(through):
    model, plan = wrap()
    again = through(model)
    del model
    gc.collect()
    assert sum(found is again for found, _ in wrapped_models()) == 1
    with pytest.raises(PlanError, match="does not follow the plan"):
        train(again, without_groups(again, plan), steps=1)
    train(again, ADAMW(mt.param_groups(again, plan, lr=1e-3)), steps=2)
    del again
    gc.collect()
    assert not any(found == plan for _, found in wrapped_models())


def test_optimizers_die_with_their_users():
    model, plan = wrap()
    optimizer = ADAMW(mt.param_groups(model, plan, lr=1e-3))
    train(model, optimizer, steps=3)
    count = len(step_guard._watches)
    del optimizer
    gc.collect()
    assert len(step_guard._watches) < count


def with_another(index):
    def replace(model):
        model[index] = nn.Linear(model[index].in_features, model[index].out_features)

    return replace


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_layer_that_was_replaced_is_refused_whatever_its_multiplier(index):
    model, plan = wrap()
    assert plan["2.weight"].forward_mult == plan["0.weight"].forward_mult == 1.0
    optimizer = ADAMW(mt.param_groups(model, plan, lr=1e-3))
    train(model, optimizer, steps=1)
    with_another(index)(model)
    with pytest.raises(PlanError, match=rf"{index}.*was a module replaced"):
        train(model, optimizer, steps=1)
    with pytest.raises(PlanError, match=rf"{index}.*was a module replaced"):
        mt.param_groups(model, plan, lr=1e-3)


def plain(model, plan):
    clip_grad_norm_(model.parameters(), 0.01)


def weighted(model, plan):
    mt.clip_grad_norm_(model, plan, 0.01)


def of_a_larger_module(model, plan):
    clip_grad_norm_(nn.ModuleList([model, EXTRA]).parameters(), 0.01)


EXTRA = nn.Linear(D_IN, 3)


def clipped_run(clip, dtype=torch.float32, **settings):
    model, plan = wrap(**settings)
    model = model.to(dtype)
    groups = mt.param_groups(model, plan, lr=1e-3)
    if clip is of_a_larger_module:
        groups.append({"params": EXTRA.named_parameters()})

    def before():
        for i, p in enumerate(EXTRA.parameters()):
            p.grad = torch.full_like(p, 0.01 * i)
        clip(model, plan)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.set_default_dtype(dtype)
        try:
            train(model, ADAMW(groups), steps=20, before=before)
        finally:
            torch.set_default_dtype(torch.float32)
    return [str(w.message) for w in seen]


@pytest.mark.parametrize(
    ("clip", "dtype"),
    [(plain, torch.float32), (plain, torch.float64), (plain, torch.bfloat16), (of_a_larger_module, torch.float32)],
)
def test_clipping_by_the_plain_norm_is_told_once(clip, dtype):
    (told,) = clipped_run(clip, dtype)
    assert "does not mean the same at width 32 as at 8. Use mutransfer.clip_grad_norm_" in told


@pytest.mark.parametrize("clip", [weighted, lambda model, plan: None])
@pytest.mark.parametrize("settings", [{}, {"form": "absorbed"}, {"parameterization": "ntk"}, {"optimizer": "adam"}])
def test_other_clipping_is_no_alarm(clip, settings):
    assert not clipped_run(clip, **settings)


def test_equal_gradients_are_not_taken_for_clipped_ones():
    model, plan = wrap()
    optimizer = ADAMW(mt.param_groups(model, plan, lr=0.0))
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.ones(4, D_IN)).square().mean().backward()
        optimizer.step()


def test_modes_raise_warn_and_are_silent():
    model, plan = wrap()
    optimizer = without_groups(model, plan)
    with mt.guard("warn"), pytest.warns(UserWarning, match="does not follow the plan") as seen:
        train(model, optimizer)
    assert len(seen) == 1
    with mt.guard("off"):
        train(model, without_groups(model, plan))
        with mt.guard("warn"), pytest.warns(UserWarning, match="does not follow"):
            train(model, without_groups(model, plan), steps=1)
        train(model, without_groups(model, plan))
    with pytest.raises(PlanError, match="does not follow"):
        train(model, without_groups(model, plan), steps=1)
    with pytest.raises(PlanError, match="one of raise, warn, off"):
        mt.guard("loud")


def test_a_compiled_step_is_not_looked_at():
    model, plan = wrap()
    optimizer = without_groups(model, plan)
    train(model, type("Compiled", (), {"step": staticmethod(torch.compile(optimizer.step, backend="eager")),
                                      "zero_grad": optimizer.zero_grad})(), steps=2)  # fmt: skip
    assert optimizer not in step_guard._watches
