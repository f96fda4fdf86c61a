"""Parameter groups: factors on lr, weight decay and eps, the user's own groups kept apart and unharmed."""

import copy

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.param_groups import param_groups, set_lr
from mutransfer.parameterization.wrapping.apply import parameterize

from .models import OPTIMIZERS, TiedLM, mlp


@pytest.fixture
def wrapped():
    return parameterize(mlp, width=32, base_width=8, check=False)  # m = 4


def by_name(model, groups):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group for group in groups for p in group["params"]}


def test_each_parameter_is_in_one_group_with_its_own_factors(wrapped):
    model, plan = wrapped
    groups = param_groups(model, plan, lr=0.5, weight_decay=0.25, eps=1e-4)
    assert sum(len(group["params"]) for group in groups) == len(plan)
    found = by_name(model, groups)
    assert found.keys() == plan.keys()
    for name, s in plan.items():
        group = found[name]
        assert (group["lr"], group["lr_mult"]) == (0.5 * s.lr_mult, s.lr_mult)
        assert group["weight_decay"] == 0.25 * s.wd_mult
        assert group["eps"] == 1e-4 * s.eps_mult


@pytest.mark.parametrize("lr", [0.0, 0.003])
def test_lr_mult_is_the_plans_to_the_last_bit_at_any_learning_rate(wrapped, lr):
    model, plan = wrapped
    found = by_name(model, param_groups(model, plan, lr=lr))
    assert {name: group["lr_mult"] for name, group in found.items()} == {name: s.lr_mult for name, s in plan.items()}


def test_there_is_one_group_per_distinct_set_of_factors(wrapped):
    model, plan = wrapped
    groups = param_groups(model, plan, lr=0.5)
    factors = {(s.lr_mult, s.wd_mult, s.eps_mult) for s in plan.values()}
    assert len(groups) == len(factors) == 3  # vectors and embeddings, the hidden matrix, the readout's bias
    assert all(group["params"] for group in groups)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("policy", ["independent", "sqrt", "standard"])
def test_groups_of_equal_numbers_are_one(decay, policy):
    model, plan = parameterize(mlp, width=32, base_width=8, wd_policy=policy, check=False)
    groups = param_groups(model, plan, lr=0.5, weight_decay=decay)
    numbers = [(g["lr"], g["weight_decay"], g["lr_mult"], g["eps"]) for g in groups]
    assert len(set(numbers)) == len(numbers)
    # 'sqrt' decays nothing but hidden matrices: without decay it must not tell groups apart.
    if not decay:
        assert len(numbers) == 3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_groups_are_named_by_their_roles_and_name_their_parameters(optimizer):
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer=optimizer, check=False)
    made = OPTIMIZERS[optimizer](param_groups(model, plan, lr=0.5))
    names = {id(p): name for name, p in model.named_parameters()}
    for group in made.param_groups:
        assert group["param_names"] == [names[id(p)] for p in group["params"]]
        assert set(group["name"].split("_")) == {plan[name].role.value for name in group["param_names"]}
    assert len({group["name"] for group in made.param_groups}) == len(made.param_groups)


def test_names_are_unique_and_a_users_own_are_kept(wrapped):
    model, plan = wrapped
    own = [
        {"params": [model[0].weight], "name": "first"},
        {"params": [model[0].bias], "name": "rest"},
        {"params": [model[2].weight, model[2].bias], "name": "rest"},
        {"params": [model[4].weight]},
        {"params": [model[4].bias], "name": "output"},
    ]
    groups = param_groups(model, plan, lr=1.0, params=own)
    assert [g["name"] for g in groups] == ["first", "rest_vector", "rest_hidden", "rest_vector_2", "output_2", "output"]
    assert [g["param_names"] for g in groups][:2] == [["0.weight"], ["0.bias"]]


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_parameters_are_named_as_in_the_plan_whatever_wraps_the_model(wrapped, wrap):
    model, plan = wrapped
    groups = param_groups(wrap(model), plan, lr=1.0)
    assert {name for group in groups for name in group["param_names"]} == plan.keys()


def test_optimizer_checkpoints_from_before_names_still_load(wrapped):
    model, plan = wrapped
    unnamed = [
        {key: value for key, value in group.items() if key not in ("name", "param_names")}
        for group in param_groups(model, plan, lr=2.0)
    ]
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=1.0))
    optimizer.load_state_dict(torch.optim.AdamW(unnamed).state_dict())
    assert {g["lr"] / g["lr_mult"] for g in optimizer.param_groups} == {2.0}
    assert all(len(g["param_names"]) == len(g["params"]) for g in optimizer.param_groups)


@pytest.mark.parametrize("flat", [False, True])
def test_sharded_optimizer_checkpoints_keep_the_names(wrapped, flat):
    model, plan = wrapped
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=1.0))
    model(torch.ones(1, model[0].in_features)).sum().backward()
    optimizer.step()
    again = torch.optim.AdamW(param_groups(model, plan, lr=9.0))
    saved = get_optimizer_state_dict(model, optimizer, options=options)
    set_optimizer_state_dict(model, again, saved, options=options)
    for one, other in zip(optimizer.param_groups, again.param_groups, strict=True):
        assert [one[k] for k in ("name", "param_names", "lr")] == [other[k] for k in ("name", "param_names", "lr")]


def test_a_group_of_ones_own_joins_with_names(wrapped):
    model, plan = wrapped
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=1.0))
    optimizer.add_param_group({"params": nn.Linear(3, 3).named_parameters()})
    assert optimizer.param_groups[-1]["param_names"] == ["weight", "bias"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_groups_fit_the_optimizer_and_override_its_constructor(optimizer):
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer=optimizer, check=False)
    made = OPTIMIZERS[optimizer](param_groups(model, plan, lr=0.5), lr=77.0, weight_decay=77.0)
    assert {group["lr"] / group["lr_mult"] for group in made.param_groups} == {0.5}
    assert {group["weight_decay"] for group in made.param_groups} == {0.0}


def test_weight_decay_is_always_written():
    # A group without it would fall back to AdamW's 0.01, unscaled.
    model, plan = parameterize(mlp, width=32, base_width=8, check=False)
    assert {group["weight_decay"] for group in torch.optim.AdamW(param_groups(model, plan, lr=1.0)).param_groups} == {0}


def test_eps_is_torchs_default_where_none_is_given_and_absent_for_sgd(wrapped):
    model, plan = wrapped
    default = torch.optim.AdamW(model.parameters()).defaults["eps"]
    assert {g["eps"] for g in param_groups(model, plan, lr=1.0)} == {default * s.eps_mult for s in plan.values()}
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer="sgd", check=False)
    assert not any("eps" in group for group in param_groups(model, plan, lr=1.0))


def test_the_users_own_groups_are_kept_apart_and_keep_their_options(wrapped):
    model, plan = wrapped
    own = [
        {"params": [model[2].weight, model[2].bias], "lr": 0.1, "betas": (0.8, 0.9), "name": "middle"},
        {"params": list(model[4].parameters()), "weight_decay": 0.5, "eps": 1e-3},
        {"params": model[0].weight},
    ]
    groups = param_groups(model, plan, lr=1.0, weight_decay=0.25, params=own)
    found = by_name(model, groups)
    assert found["2.weight"]["lr"] == 0.1 / 4
    assert found["2.bias"]["lr"] == 0.1
    assert all(found[f"2.{kind}"]["betas"] == (0.8, 0.9) for kind in ("weight", "bias"))
    assert found["2.weight"]["weight_decay"] == 0.25 * 4
    assert found["4.weight"]["weight_decay"] == 0.5
    assert found["4.weight"]["eps"] == 1e-3 / 4
    # 0.weight and 2.bias have the same factors, but belong to different groups of the user.
    assert found["0.weight"] is not found["2.bias"]
    assert found["2.weight"]["name"] == "middle_hidden"
    assert found["2.bias"]["name"] == "middle_vector"
    assert found["0.weight"]["name"] == "input"
    assert "0.bias" not in found  # the user left it out


def test_the_users_own_groups_are_not_changed(wrapped):
    model, plan = wrapped
    own = [{"params": list(model.parameters()), "lr": 0.1, "betas": (0.8, 0.9)}]
    before = copy.copy(own[0]), list(own[0]["params"])
    groups = param_groups(model, plan, lr=1.0, params=own)
    set_lr(torch.optim.AdamW(groups), 3.0)
    assert len(own) == 1
    assert own[0].keys() == before[0].keys()
    assert own[0]["lr"] == 0.1
    assert all(a is b for a, b in zip(own[0]["params"], before[1], strict=True))


@pytest.mark.parametrize(
    "params",
    [
        lambda model: model.parameters(),
        lambda model: list(model.named_parameters()),
        lambda model: model.named_parameters(),
        lambda model: [{"params": model.named_parameters()}],
        lambda model: [{"params": model.parameters()}],
        lambda model: None,
    ],
)
def test_parameters_are_accepted_in_every_shape_that_torch_accepts(wrapped, params):
    model, plan = wrapped
    found = by_name(model, param_groups(model, plan, lr=1.0, params=params(model)))
    assert {name: group["lr"] for name, group in found.items()} == {name: s.lr_mult for name, s in plan.items()}


def test_a_learning_rate_tensor_stays_a_tensor_and_is_not_shared(wrapped):
    # mup divides the one tensor in place, and with it every group's.
    model, plan = wrapped
    lr = torch.tensor(0.5)
    groups = param_groups(model, plan, lr=lr)
    assert all(isinstance(group["lr"], torch.Tensor) for group in groups)
    assert lr.item() == 0.5
    assert len({group["lr"].data_ptr() for group in groups} | {lr.data_ptr()}) == len(groups) + 1
    assert sorted(group["lr"].item() for group in groups) == sorted(0.5 * group["lr_mult"] for group in groups)


@pytest.mark.parametrize("lr", [0.5, torch.tensor(0.5)], ids=["float", "tensor"])
def test_set_lr_keeps_the_ratios(wrapped, lr):
    model, plan = wrapped
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=lr), foreach=False)
    tensors = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 2.0)
    assert {name: float(g["lr"]) for name, g in by_name(model, optimizer.param_groups).items()} == {
        name: 2.0 * s.lr_mult for name, s in plan.items()
    }
    if isinstance(lr, torch.Tensor):  # in place: a captured graph holds on to it
        assert all(group["lr"] is old for group, old in zip(optimizer.param_groups, tensors, strict=True))


def test_set_lr_refuses_groups_that_carry_no_factor():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    with pytest.raises(PlanError, match=r"group 0 has no 'lr_mult': make the optimizer from mutransfer\.param_groups"):
        set_lr(optimizer, 0.1)


def test_lr_mult_survives_the_optimizers_state_dict(wrapped):
    model, plan = wrapped
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=1.0))
    again = torch.optim.AdamW(param_groups(model, plan, lr=9.0))
    again.load_state_dict(optimizer.state_dict())
    set_lr(again, 2.0)
    assert {g["lr"] for g in again.param_groups} == {2.0 * s.lr_mult for s in plan.values()}


def test_schedulers_that_multiply_keep_the_ratios(wrapped):
    model, plan = wrapped
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=1.0))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    bases = [group["lr"] / group["lr_mult"] for group in optimizer.param_groups]
    assert bases == pytest.approx([bases[0]] * len(bases))
    assert bases[0] < 1


def test_a_tied_tensor_is_in_one_group():
    model, plan = parameterize(TiedLM, width=32, base_width=8, check=False)
    parameters = [p for group in param_groups(model, plan, lr=1.0) for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters}) == 2


def test_a_parameter_that_is_not_in_the_plan_is_refused(wrapped):
    model, plan = wrapped
    with pytest.raises(PlanError, match=r"shape \(2, 3\) \(not a parameter of this model\) is not in the plan"):
        param_groups(model, plan, lr=1.0, params=[nn.Parameter(torch.zeros(2, 3))])
    model.append(nn.Linear(3, 2))
    with pytest.raises(PlanError, match=r"shape \(2, 3\) \(5\.weight\) is not in the plan"):
        param_groups(model, plan, lr=1.0)


def test_weight_decay_coupled_into_adams_gradient_is_warned_of():
    # Gradients shrink as 1/m_out and weights as m_in^-1/2 or 1/m_in: no coefficient suits all (theory 1.4).
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer="adam", check=False)
    for arguments in ({"weight_decay": 0.1}, {"params": [{"params": model.parameters(), "weight_decay": 0.1}]}):
        with pytest.warns(UserWarning, match=r"weight_decay=0\.1 with optimizer 'adam'.* use 'adamw'"):
            param_groups(model, plan, lr=1.0, **arguments)


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_wrapped_model_has_the_same_groups(wrapped, wrap):
    model, plan = wrapped
    plain = {name: group["lr"] for name, group in by_name(model, param_groups(model, plan, lr=1.0)).items()}
    outer = param_groups(wrap(model), plan, lr=1.0)
    assert {name: group["lr"] for name, group in by_name(model, outer).items()} == plain


def test_own_learning_rates_keep_their_ratio_when_the_base_rate_is_set(wrapped):
    model, plan = wrapped
    first, *rest = model.parameters()
    groups = param_groups(model, plan, lr=1e-3, params=[{"params": [first], "lr": 1e-2}, {"params": rest}])
    optimizer = torch.optim.AdamW(groups)
    before = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 2e-3)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2 * lr for lr in before])
