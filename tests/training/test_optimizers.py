"""Schedules and optimizers of the loop."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.parameterization.wrapping.apply import parameterize
from mutransfer.training.optimizers.make import make_optimizer
from mutransfer.training.schedules import lr_factor

from .tiny import BASE, Tiny, tiny_spec


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1, 1, 1]),
        ("constant", 2, [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ("linear", 0, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("linear", 2, [1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4]),
        ("cosine", 0, [1, 0.5 + 3**0.5 / 4, 0.75, 0.5, 0.25, 0.5 - 3**0.5 / 4]),
        ("cosine", 2, [1 / 3, 2 / 3, 1, 0.5 + 2**0.5 / 4, 0.5, 0.5 - 2**0.5 / 4]),
    ],
)
def test_schedules_are_the_written_out_ones(schedule, warmup, expected):
    factors = [lr_factor(s, steps=6, schedule=schedule, warmup_steps=warmup) for s in range(6)]
    assert factors == pytest.approx(expected, abs=1e-15)


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 200), st.data())
def test_a_schedule_rises_to_its_peak_falls_after_it_and_never_reaches_zero(schedule, steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    factors = [lr_factor(s, steps=steps, schedule=schedule, warmup_steps=warmup) for s in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    assert factors[warmup] == 1.0
    assert all(a < b for a, b in pairwise(factors[: warmup + 1]))
    after = list(pairwise(factors[warmup:]))
    assert all(a == b for a, b in after) if schedule == "constant" else all(a > b for a, b in after)


def _optimizer(optimizer, hyperparameters, **changes):
    spec = tiny_spec(optimizer=optimizer, hyperparameters=hyperparameters, width=4 * BASE, **changes)
    model, plan = parameterize(
        Tiny().build, width=spec.width, base_width=spec.base_width, optimizer=optimizer, check=False
    )
    return model, plan, make_optimizer(model, plan, spec)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "kind"),
    [
        ("sgd", {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.1}, torch.optim.SGD),
        ("adam", {"lr": 0.5, "beta1": 0.7, "beta2": 0.8, "eps": 1e-3}, torch.optim.Adam),
        ("adamw", {"lr": 0.5, "beta1": 0.7, "beta2": 0.8, "eps": 1e-3, "weight_decay": 0.1}, torch.optim.AdamW),
    ],
)
def test_every_parameter_gets_the_plans_factors(name, hyperparameters, kind):
    model, plan, optimizer = _optimizer(name, hyperparameters)
    names = {id(p): n for n, p in model.named_parameters()}
    seen = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            scaling = plan[names[id(parameter)]]
            seen.append(names[id(parameter)])
            assert group["lr_mult"] == scaling.lr_mult
            assert group["lr"] == 0.5 * scaling.lr_mult
            assert group["weight_decay"] == hyperparameters.get("weight_decay", 0.0) * scaling.wd_mult
            if name != "sgd":
                assert group["eps"] == 1e-3 * scaling.eps_mult
    assert sorted(seen) == sorted(plan)
    assert {s.lr_mult for s in plan.values()} >= {1.0, 4.0 if name == "sgd" else 0.25}
    assert type(optimizer) is kind
    assert optimizer.defaults.get("momentum", 0.9) == 0.9
    assert optimizer.defaults.get("betas", (0.7, 0.8)) == (0.7, 0.8)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_what_is_not_given_is_torchs_default(name):
    model, plan, optimizer = _optimizer(name, {"lr": 0.5})
    torchs = getattr(torch.optim, {"adam": "Adam", "adamw": "AdamW"}[name])([torch.zeros(1)]).defaults
    assert optimizer.defaults["betas"] == torchs["betas"]
    eps = {id(p): group["eps"] for group in optimizer.param_groups for p in group["params"]}
    assert all(eps[id(p)] == torchs["eps"] * plan[n].eps_mult for n, p in model.named_parameters())


def test_without_a_weight_decay_adamw_does_not_decay():
    _, _, optimizer = _optimizer("adamw", {"lr": 0.5})
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.0}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_kernels_are_used_except_where_loss_scaling_may_skip_a_step(name):
    assert _optimizer(name, {"lr": 0.5})[2].defaults["fused"] is True
    assert not _optimizer(name, {"lr": 0.5}, precision="float16")[2].defaults["fused"]
