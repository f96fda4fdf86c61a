"""A wrapped model stays wrapped through what people do to models: copies, files, compilers, wrappers."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.hooks import RemovableHandle

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.model.layouts import Axes
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply, parameterize
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan

from .models import TiedLM, mlp, regression

wrap = partial(parameterize, width=32, base_width=8, parameterization="mf")  # multipliers 1, 1/2 and 1/4


@pytest.fixture
def wrapped():
    return wrap(mlp)


def without_multipliers(model):
    plain = mlp(32)
    plain.load_state_dict(model.state_dict())
    return plain


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "average": lambda model: AveragedModel(model).module,
    "compile": lambda model: torch.compile(model, backend="eager", fullgraph=True),
    "data parallel": nn.DataParallel,
    "dtype and back": lambda model: copy.deepcopy(model).double().float(),
}


@pytest.mark.parametrize("how", COPIES)
def test_the_multipliers_and_the_plan_survive(wrapped, how):
    model, plan = wrapped
    x, _ = regression()
    again = COPIES[how](model)
    assert torch.equal(again(x), model(x))
    assert not torch.allclose(again(x), without_multipliers(model)(x))
    assert applied_plan(again) == plan
    with pytest.raises(PlanError, match="already"):
        apply(again, plan)
    assert len(param_groups(again, plan, lr=1.0)) == len(param_groups(model, plan, lr=1.0))


def test_a_saved_model_keeps_its_multipliers_when_the_next_process_adds_hooks_of_its_own(wrapped, monkeypatch):
    # Hooks are stored under a number that each process counts from 0: let the count come round to ours again.
    model, _ = wrapped
    x, _ = regression()
    expected, stored = model(x), pickle.dumps(model)
    monkeypatch.setattr(RemovableHandle, "next_id", next(iter(model[4]._forward_pre_hooks)))
    again = pickle.loads(stored)
    seen = []
    for _ in range(3):
        again[4].register_forward_pre_hook(lambda module, args: seen.append(args))
    assert torch.equal(again(x), expected)
    assert len(seen) == 3


def test_functional_call_multiplies(wrapped):
    model, _ = wrapped
    x, _ = regression()
    doubled = {name: 2 * p for name, p in model.named_parameters()}
    found = torch.func.functional_call(model, doubled, (x,))
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for p in expected.parameters():
            p.mul_(2)
    assert torch.equal(found, expected(x))
    per_example = torch.func.vmap(partial(torch.func.functional_call, model, dict(model.named_parameters())))
    torch.testing.assert_close(per_example(x), model(x))


def test_the_state_dict_is_the_users_own(wrapped):
    model, _ = wrapped
    plain = mlp(32)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert not any(isinstance(value, dict) for value in model.state_dict().values())
    plain.load_state_dict(model.state_dict(), strict=True)  # and fits a plain model


def test_nothing_is_hung_on_tensors(wrapped):
    model, _ = wrapped
    assert all(not vars(p) for p in model.parameters())


def test_a_model_that_was_compiled_first_is_wrapped_the_same():
    torch.manual_seed(5)
    model, plan = wrap(mlp)
    torch.manual_seed(5)
    compiled = apply(torch.compile(mlp(32), backend="eager"), plan)
    x, _ = regression()
    assert torch.equal(compiled(x), model(x))
    assert applied_plan(compiled) == plan


def test_blocks_that_the_factory_compiles_keep_their_names_under_another_wrapper():
    def build(width):
        return nn.Sequential(torch.compile(nn.Linear(6, width), backend="eager"), nn.Linear(width, 3))

    model, plan = wrap(build)
    assert "0._orig_mod.weight" in plan
    again = apply(nn.DataParallel(build(32)), plan)
    again.load_state_dict(nn.DataParallel(model).state_dict())
    x, _ = regression()
    assert torch.equal(again(x), model(x))
    assert len(param_groups(again, plan, lr=1.0)) == len(param_groups(model, plan, lr=1.0))


def test_a_users_own_attribute_named_module_is_no_wrapper():
    class Holder(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.module = nn.ModuleDict({"head": nn.Linear(3, 3)})
            self.body = nn.Linear(6, width)
            self.head = nn.Linear(width, 3)

        def forward(self, x):
            return self.module["head"](self.head(torch.tanh(self.body(x))))

    def hooked(model):
        return [path for path, module in model.named_modules() if module._forward_pre_hooks]

    model, plan = wrap(Holder)
    assert {"module.head.weight", "head.weight"} <= plan.keys()
    assert hooked(model) == ["head"]
    parallel = apply(nn.DataParallel(Holder(32)), plan)
    assert hooked(parallel) == ["module.head"]
    names = {id(p): name for name, p in parallel.module.named_parameters()}
    groups = param_groups(parallel, plan, lr=1.0)
    assert all(group["eps"] == 1e-8 * plan[names[id(p)]].eps_mult for group in groups for p in group["params"])


def test_other_hooks_on_the_same_module_still_run(wrapped):
    model, _ = wrapped
    x, _ = regression()
    expected = model(x)
    prune.identity(model[4], "weight")  # a forward pre-hook too
    assert torch.equal(model(x), expected)


def test_torchs_fused_encoder_sees_the_multipliers_in_training_and_in_evaluation():
    class Encoder(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inward = nn.Linear(6, width)
            self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
            self.readout = nn.Linear(width, 3)

        def forward(self, x):
            return self.readout(self.layer(self.inward(x)[:, None])[:, 0])

    model, plan = wrap(Encoder, overrides={"*in_proj_weight": Axes(fan_in=(1,), fan_out=(0,))})
    assert plan["layer.linear1.weight"].forward_mult == 0.5
    assert plan["layer.self_attn.out_proj.weight"].forward_mult == 1  # read without a call: absorbed
    x, _ = regression()
    training = model.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), training)


def test_a_tied_model_survives_a_copy_with_its_tie():
    model, _ = wrap(TiedLM)
    again = copy.deepcopy(model)
    assert again.head.weight is again.embedding.weight
    tokens = torch.arange(5)
    assert torch.equal(again(tokens), model(tokens))


@pytest.mark.parametrize("form", ["forward", "absorbed"])
def test_an_existing_model_takes_a_plan_made_from_itself(form):
    model, base = mlp(32), mlp(8)
    plan = Plan.from_models(model, base=base, delta=mlp(16), form=form, parameterization="mf")
    before = [p.clone() for p in model.parameters()]
    apply(model, plan)
    for (name, parameter), old in zip(model.named_parameters(), before, strict=True):
        assert torch.equal(parameter, old * plan[name].init_mult)
