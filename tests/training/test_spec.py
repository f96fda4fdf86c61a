"""RunSpec: what is accepted, when two are the same run, and both values through JSON."""

import json
import math
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from mutransfer.errors import ConfigError
from mutransfer.training.extra_hyperparameters import MULTIPLIERS
from mutransfer.training.optimizers.table import OPTIMIZER_RULES
from mutransfer.training.run import run
from mutransfer.training.spec import Outcome, RunResult, RunSpec

from .tiny import BASE, Tiny, tiny_spec

OTHER_CHOICES = [
    {"parameterization": "ntk"},
    {"parameterization": "as_is"},
    {"form": "absorbed"},
    {"wd_policy": "standard"},
    {"scale_eps": False},
]
OTHER_RUNS = [
    {"task": "other"},
    {"hyperparameters": {"lr": 0.06}},
    {"hyperparameters": {"lr": 0.05, "momentum": 0.9}},
    {"optimizer": "adamw"},
    {"seed": 4},
    {"steps": 26},
    {"schedule": "cosine"},
    {"warmup_steps": 1},
    {"eval_every": 5},
    {"accumulate": 2},
    {"precision": "bfloat16"},
    {"base_width": 2 * BASE},
]


@pytest.mark.parametrize("change", OTHER_CHOICES)
def test_at_base_width_specs_that_differ_in_how_the_model_grows_are_one_run(change):
    assert tiny_spec(**change).key == tiny_spec().key


@pytest.mark.parametrize("change", OTHER_CHOICES)
def test_elsewhere_they_are_different_runs(change):
    assert tiny_spec(width=4 * BASE, **change).key != tiny_spec(width=4 * BASE).key


@pytest.mark.parametrize("change", OTHER_RUNS)
@pytest.mark.parametrize("width", [BASE, 4 * BASE])
def test_everything_else_makes_another_run_at_any_width(change, width):
    assert tiny_spec(width=width, **change).key != tiny_spec(width=width).key


@pytest.mark.parametrize("policy", ["independent", "standard", "sqrt"])
def test_specs_of_one_key_train_alike_at_base_width_and_others_do_not(policy):
    """The policy "sqrt" decays hidden weights only, at base width too."""
    changes = {"optimizer": "adamw", "hyperparameters": {"lr": 0.01, "weight_decay": 5.0}}
    spec, plain = tiny_spec(wd_policy=policy, **changes), tiny_spec(parameterization="as_is", **changes)
    same = run(spec, Tiny()).train_curve == run(plain, Tiny()).train_curve
    assert same == (spec.key == plain.key)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"lr": np.float64(0.05)}, {"lr": 0.05}),
        ({"lr": 0.5, "momentum": 0}, {"momentum": 0.0, "lr": 0.5}),
        (MappingProxyType({"lr": 0.05}), {"lr": 0.05}),
    ],
)
def test_equal_specs_have_equal_keys_however_their_numbers_are_typed(one, other):
    first, second = tiny_spec(hyperparameters=one), tiny_spec(hyperparameters=other)
    assert first == second
    assert first.key == second.key


def test_a_spec_does_not_change_with_the_mapping_that_it_was_made_from():
    mine, widths = {"lr": 0.05}, {"d": 8}
    spec = tiny_spec(hyperparameters=mine, width=widths, base_width={"d": 8})
    key = spec.key
    mine["lr"], widths["d"] = 1.0, 16
    assert spec.lr == 0.05
    assert spec.key == key


@pytest.mark.parametrize(
    ("width", "base"), [(32, 8), (8, 8), ({"d_model": 32, "d_ff": 64}, {"d_model": 8, "d_ff": 16})]
)
def test_a_spec_survives_json(width, base):
    spec = tiny_spec(width=width, base_width=base, optimizer="adam", hyperparameters={"lr": 2.0**-9, "beta2": 0.95})
    back = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert back == spec
    assert back.key == spec.key


def test_mapping_widths_equal_to_the_base_are_base_width_in_any_order():
    base = {"d_model": 8, "d_ff": 16}
    one = tiny_spec(width={"d_ff": 16, "d_model": 8}, base_width=base)
    other = tiny_spec(width=dict(base), base_width=base, parameterization="ntk")
    assert one.key == other.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "step"}, "schedule must be one of constant, linear, cosine, found 'step'"),
        ({"precision": "float8"}, "precision must be one of float32, bfloat16, float16, found 'float8'"),
        ({"optimizer": "muon"}, "optimizer must be one of sgd, adam, adamw, lion, nadam, found 'muon'"),
        ({"hyperparameters": {"lr": 1.0, "beta1": 0.9}}, "sgd has no hyperparameter 'beta1' here: expected lr, mom"),
        ({"hyperparameters": {}}, "lr must be positive, found None"),
        ({"hyperparameters": {"lr": 0.0}}, "lr must be positive, found 0"),
        ({"hyperparameters": {"lr": -1.0}}, "lr must be positive, found -1"),
        ({"hyperparameters": {"lr": math.nan}}, "lr must be positive, found nan"),
        ({"hyperparameters": {"lr": math.inf}}, "lr must be finite, found inf"),
        ({"steps": 0}, "steps must be at least 1, found 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, found 0"),
        ({"eval_every": -1}, "eval_every must be at least 0, found -1"),
        ({"warmup_steps": 25}, r"warmup_steps must be in 0..steps-1, found 25 of 25"),
        ({"warmup_steps": -1}, r"warmup_steps must be in 0..steps-1, found -1 of 25"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(change, message):
    with pytest.raises(ConfigError, match=message):
        tiny_spec(**change)


def test_weight_decay_inside_adam_is_refused_and_adamw_is_named():
    h = {"lr": 0.01, "weight_decay": 0.1}
    with pytest.raises(ConfigError, match=r"adam has no hyperparameter 'weight_decay'.*use adamw"):
        tiny_spec(optimizer="adam", hyperparameters=h)
    assert tiny_spec(optimizer="adamw", hyperparameters=h).hyperparameters == h


@pytest.mark.parametrize("optimizer", OPTIMIZER_RULES)
def test_every_hyperparameter_that_is_listed_can_be_trained_with(optimizer):
    values = {"lr": 0.01, "momentum": 0.5, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.1}
    values["momentum_decay"] = 0.01
    values |= {name: 2.0 for name in MULTIPLIERS if name not in ("lr_mult_bottleneck", "init_mult_bottleneck")}
    h = {
        name: values[name]
        for name in OPTIMIZER_RULES[optimizer].hyperparameters
        if name in values and name != "attention_mult"
    }
    assert run(tiny_spec(optimizer=optimizer, hyperparameters=h, steps=2), Tiny()).outcome is Outcome.OK


@pytest.mark.parametrize("final", [0.25, math.inf])
def test_a_result_survives_json_infinite_losses_included(final):
    result = RunResult(
        outcome=Outcome.DIVERGED if final == math.inf else Outcome.OK,
        initial_loss=1.5,
        final_loss=final,
        best_loss=0.25,
        train_curve=(1.5, math.inf),
        eval_curve=((0, 1.5), (10, final)),
        movement={"fc.1": 0.5},
        n_parameters=7,
        accumulate=2,
        seconds=0.1,
        device="cuda:0",
    )
    back = RunResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert back == result
    assert isinstance(back.outcome, Outcome)


@pytest.mark.parametrize("lr", [0.05, 1e30])
def test_the_result_of_a_run_survives_json(lr):
    result = run(tiny_spec(hyperparameters={"lr": lr}), Tiny())
    back = RunResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert repr(back) == repr(result)  # a NaN equals itself as text only


def test_the_own_model_of_a_spec_is_the_spec_without_a_parameterization():
    own = tiny_spec(parameterization="mup", form="absorbed", scale_eps=False).as_own_model()
    assert own == replace(tiny_spec(), parameterization="as_is")
