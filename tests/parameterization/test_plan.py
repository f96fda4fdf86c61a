"""The Plan as a value: numbers, JSON, printing, arguments, and plans from modules that exist already."""

import dataclasses
import json
from functools import partial
from types import MappingProxyType

import pytest
import torch
from torch import nn

from mutransfer.errors import BuildError, ClassificationError, PlanError
from mutransfer.parameterization.plan import Plan, Site
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.theory import rules
from mutransfer.theory.rules import Family, Role

from .models import TiedLM, cnn, mlp, normal, two_widths

NAMES = ["sp", "as_is", "ntk", "mf", "mup"]
infer = partial(Plan.infer, width=32, base_width=8)


def numbers(plan):
    return {name: dataclasses.replace(scaling, reason="") for name, scaling in plan.items()}


def test_mup_hidden_adam_lr_scales_as_one_over_width():
    lrs = {
        width: Plan.infer(mlp, width=width, base_width=8, check=False)["2.weight"].lr_mult for width in (4, 8, 16, 128)
    }
    assert lrs == {4: 2, 8: 1, 16: 1 / 2, 128: 1 / 16}


@pytest.mark.filterwarnings("ignore:.*its input grows by.*SGD:UserWarning")  # said of widths that grow apart
@pytest.mark.parametrize("name", ["sp", "ntk", "mf", "mup"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_plan_is_its_table_at_the_multipliers_of_each_parameter(name, optimizer):
    base, width = {"d_model": 8, "d_ff": 16}, {"d_model": 16, "d_ff": 128}
    # Drawn N(0, 0.02) at every width, so that init_mult is the rule's own factor.
    plan = Plan.infer(
        normal(two_widths), width=width, base_width=base, parameterization=name, optimizer=optimizer, check=False
    )
    family = rules.family(optimizer)
    for scaling in plan.values():
        row, m = rules.parameterization(name).rows[scaling.role], (scaling.m_in, scaling.m_out)
        assert scaling.init_mult == row.init(*m)
        assert scaling.forward_mult == row.forward(*m)
        assert scaling.lr_mult == row.lr[family](*m)
        assert scaling.wd_mult == 1 / row.lr[family](*m)
        assert scaling.eps_mult == (row.eps(*m) if family is Family.ADAM else 1)


@pytest.mark.filterwarnings("ignore:.*its input grows by.*SGD:UserWarning")  # said of widths that grow apart
def test_the_mlp_of_a_transformer_under_mup_reads_as_in_the_paper():
    base, width = {"d_model": 8, "d_ff": 16}, {"d_model": 16, "d_ff": 128}  # m = 2 and 8
    adam = Plan.infer(two_widths, width=width, base_width=base, check=False)
    sgd = Plan.infer(two_widths, width=width, base_width=base, optimizer="sgd", check=False)
    weights = [f"{i}.weight" for i in (0, 2, 4, 6)]
    assert [adam[name].lr_mult for name in weights] == [1, 1 / 2, 1 / 8, 1]
    assert [adam[name].eps_mult for name in weights] == [1 / 2, 1 / 8, 1 / 2, 1 / 2]
    assert [sgd[name].lr_mult for name in weights] == [2, 4, 1 / 4, 2]
    assert [sgd[f"{i}.bias"].lr_mult for i in (0, 2, 4, 6)] == [2, 8, 2, 1]
    assert [adam[name].forward_mult for name in weights] == [1, 1, 1, 1 / 2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_absorbed_form_has_no_forward_multiplier_and_the_same_products(name, optimizer):
    forward = infer(normal(cnn), parameterization=name, optimizer=optimizer)
    absorbed = infer(normal(cnn), parameterization=name, optimizer=optimizer, form="absorbed")
    for key, a in absorbed.items():
        f, power = forward[key], 2 if optimizer == "sgd" else 1
        assert a.forward_mult == 1
        assert a.init_mult == pytest.approx(f.init_mult * f.forward_mult, rel=1e-15)
        assert a.lr_mult == pytest.approx(f.lr_mult * f.forward_mult**power, rel=1e-15)
        assert a.lr_mult * a.wd_mult == pytest.approx(f.lr_mult * f.wd_mult, rel=1e-15)
        assert a.eps_mult == pytest.approx(f.eps_mult / f.forward_mult if optimizer == "adam" else 1, rel=1e-15)


def test_weight_decay_follows_the_policy():
    wd = {policy: infer(mlp, wd_policy=policy) for policy in rules.WdPolicy}
    found = {policy: (plan["0.weight"].wd_mult, plan["2.weight"].wd_mult) for policy, plan in wd.items()}
    assert found == {"independent": (1, 4), "sqrt": (0, 2), "standard": (1, 1)}  # with lr factors (1, 1/4)


def test_eps_stays_where_it_is_asked_to():
    assert {s.eps_mult for s in infer(mlp).values()} == {1 / 4, 1}
    assert {s.eps_mult for s in infer(mlp, scale_eps=False).values()} == {1}


@pytest.mark.parametrize(("name", "factor"), [("mup", 1 / 4), ("mf", 1 / 4), ("ntk", 1 / 2), ("sp", 1 / 2)])
@pytest.mark.parametrize("form", list(rules.Form))
def test_a_tied_readout_multiplies_its_use_and_not_the_tensor_in_either_form(name, factor, form):
    plan = infer(TiedLM, parameterization=name, form=form)
    assert plan.sites == {"head": Site(kind="tied readout", factor=factor, mechanism="input")}
    embedding = plan["embedding.weight"]
    assert (embedding.role, embedding.init_mult, embedding.forward_mult) == (Role.INPUT, 1, 1)


def test_as_is_leaves_a_tied_model_alone():
    plan = infer(TiedLM, parameterization="as_is")
    assert not plan.sites
    assert {(s.init_mult, s.forward_mult, s.lr_mult, s.wd_mult, s.eps_mult) for s in plan.values()} == {(1,) * 5}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("build", "base", "width"),
    [(cnn, 8, 24), (TiedLM, 8, 40), (two_widths, {"d_model": 8, "d_ff": 16}, {"d_model": 24, "d_ff": 80})],
)
@pytest.mark.filterwarnings("ignore:.*its input grows by.*SGD:UserWarning")  # said of widths that grow apart
def test_json_gives_the_same_plan_back(build, base, width, name):
    plan = Plan.infer(build, width=width, base_width=base, parameterization=name, check=False)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert json.loads(plan.to_json()) == json.loads(again.to_json())
    assert all(type(s.role) is Role for s in again.values())
    assert again != Plan.infer(build, width=width, base_width=base, parameterization=name, optimizer="sgd", check=False)


def test_a_plan_cannot_be_changed_nor_by_changing_the_width_it_was_made_with():
    width = {"d_model": 16, "d_ff": 64}
    plan = Plan.infer(two_widths, width=width, base_width=MappingProxyType({"d_model": 8, "d_ff": 16}), check=False)
    width["d_ff"] = 3
    assert plan.width == {"d_model": 16, "d_ff": 64}
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.form = "absorbed"
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan["0.weight"].lr_mult = 1.0


def test_a_plan_prints_one_line_per_kind_of_layer_with_its_reason():
    build = lambda w: nn.Sequential(nn.Linear(6, w), *[nn.Linear(w, w) for _ in range(12)], nn.Linear(w, 3))  # noqa: E731
    lines = str(infer(build)).splitlines()
    assert lines[0] == "mup for adamw, forward form, width 8 -> 32"
    assert len(lines) == 2 + 6 + 1
    assert lines[-1] == "measured at widths 32, 64, 128: as the table predicts"
    hidden = next(line for line in lines if line.startswith("{1..12}.weight"))
    assert "hidden" in hidden
    assert "32x32" in hidden
    assert "fan_in and fan_out grow; drawn fan_in^-1/2 [Tensor Programs V Table 8, hidden]" in hidden
    assert "tied readout" in str(infer(TiedLM))


def test_a_plan_is_a_mapping_from_names():
    plan = infer(mlp)
    assert list(plan) == [name for name, _ in mlp(8).named_parameters()]
    assert len(plan) == 6
    assert dict(plan)["2.weight"] is plan["2.weight"]
    assert plan.shapes["2.weight"] == (128, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "table 8"}, "unknown form 'table 8': expected one of forward, absorbed"),
        ({"lr_rule": "everett"}, "unknown lr_rule 'everett'"),
        ({"optimizer": "lbfgs"}, "no rule for optimizer 'lbfgs'"),
        ({"wd_policy": "coupled"}, "unknown wd_policy 'coupled'"),
        ({"parameterization": "ntp"}, "unknown parameterization 'ntp'"),
        ({"width": {"d": 8}}, "must be two ints, or two mappings with the same keys"),
        ({"width": {"d": 8}, "base_width": {"ff": 8}}, "must be two ints, or two mappings with the same keys"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(arguments, message):
    with pytest.raises(PlanError, match=message):
        Plan.infer(mlp, **{"width": 32, "base_width": 8, **arguments}, check=False)


def test_a_width_that_is_no_size_is_refused_by_its_name():
    with pytest.raises(BuildError, match=r"base_width must be a positive int"):
        Plan.infer(mlp, width=32, base_width=0, check=False)


@pytest.mark.parametrize("name", ["sp", "ntk", "mup", "mf"])
@pytest.mark.parametrize("build", [mlp, cnn, TiedLM, normal(partial(mlp, bias=False))])
def test_a_plan_from_modules_scales_as_the_inferred_one(build, name):
    plan = Plan.from_models(build(32), base=build(8), delta=build(16), width=32, base_width=8, parameterization=name)
    inferred = infer(build, parameterization=name)
    assert numbers(plan) == numbers(inferred)
    assert plan.sites == inferred.sites
    assert (plan.base_width, plan.width) == (8, 32)


def test_a_plan_from_meta_modules_takes_torchs_default_init():
    build = lambda w: nn.Sequential(cnn(w), nn.ConvTranspose2d(w, 3, 2), nn.ConvTranspose2d(2 * w, w, 2))  # noqa: E731
    with torch.device("meta"):
        base, model = build(8), build(32)
    inferred = numbers(infer(build))
    assert numbers(Plan.from_models(model, base=base)) == inferred
    assert numbers(Plan.from_models(build(32), base=base)) == inferred
    assert numbers(Plan.from_models(model, base=build(8))) == inferred


def test_an_embedding_beside_a_meta_base_must_be_torchs_standard_normal():
    with torch.device("meta"):
        base = TiedLM(8)
    assert Plan.from_models(TiedLM(32), base=base)["embedding.weight"].init_mult == 1
    with pytest.raises(ClassificationError, match=r"embedding\.weight: .* torch's default gives 1\b"):
        Plan.from_models(normal(TiedLM)(32), base=base)


def test_an_init_that_a_meta_base_cannot_show_is_refused():
    with torch.device("meta"):
        base = mlp(8)
    with pytest.raises(ClassificationError, match=r"(?s)holds no values.*2\.weight: root-mean-square 0\.0[12]\d*"):
        Plan.from_models(normal(mlp)(32), base=base)


def test_one_sample_of_a_readouts_bias_does_not_overrule_torchs_default():
    # Ten numbers per width: a maximum-likelihood law would be wrong for about one model in twenty.
    build = lambda w: nn.Sequential(nn.Linear(6, w), nn.Linear(w, 10))  # noqa: E731
    found = {Plan.from_models(build(64), base=build(16))["1.bias"].init_mult for _ in range(100)}
    assert found == {2}


def test_delta_shows_growth_that_base_and_model_hide():
    plan = Plan.from_models(mlp(8), base=mlp(8), delta=mlp(16))
    assert (plan["2.weight"].role, plan["2.weight"].m_in) == (Role.HIDDEN, 1)


def _loaded(width):
    """A model as a checkpoint leaves it: not of the sizes that torch draws."""
    model = mlp(width)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_a_plan_from_meta_modules_refuses_a_loaded_checkpoint_as_an_inferred_one_does(where):
    with torch.device("meta"):
        base, model = mlp(8), mlp(32)
    plan = Plan.from_models(model if where == "meta" else mlp(32), base=base)
    with pytest.raises(PlanError, match=r"is not as the factory draws it"):
        apply(_loaded(32), plan)
    apply(mlp(32), plan)


def test_biases_that_start_at_zero_are_no_reason_to_refuse_beside_a_meta_base():
    def build(width):
        model = mlp(width)
        for layer in (model[0], model[2], model[4]):
            nn.init.zeros_(layer.bias)
        return model

    with torch.device("meta"):
        base = mlp(8)
    model = build(32)
    apply(model, Plan.from_models(model, base=base))
    assert not model[4].bias.any()
