"""A plan whose multipliers are no longer on the model is refused wherever the two meet."""

import copy

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import mutransfer as mt
from mutransfer.errors import PlanError
from mutransfer.parameterization.wrapping.fit import check_in_place

from .models import mlp


class Attention(nn.Module):
    """Heads that grow, with a scale attribute of their own: a site of the plan."""

    def __init__(self, width):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.scale = width**-0.5

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.out((q @ k.transpose(-1, -2) * self.scale).softmax(-1) @ v)


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Linear(8, width), nn.Linear(width, 5)
        self.attention = Attention(width)

    def forward(self, x):
        return self.head(self.attention(self.embed(x)))


def net(**settings):
    return mt.parameterize(Net, width=64, base_width=16, example=torch.randn(2, 3, 8), **settings, check=False)


def replace_head(model):
    model.head = nn.Linear(64, 5)


def replace_attention(model):
    model.attention = Attention(64)


def widen_head(model):
    model.head = nn.Linear(64, 9)


def remove_hooks(model):
    model.head._forward_pre_hooks.clear()


BREAK = {
    replace_head: r"at head \(input x 0\.25\)",
    replace_attention: r"at attention",
    widen_head: r"head\.weight has shape \(9, 64\).*expects \(5, 64\)",
    remove_hooks: r"at head \(input x 0\.25\)",
}
MEET = {
    "param_groups": lambda model, plan: mt.param_groups(model, plan, lr=1e-3),
    "param_groups of one": lambda model, plan: mt.param_groups(model, plan, lr=1e-3, params=[model.embed.weight]),
    "clip_grad_norm_": lambda model, plan: mt.clip_grad_norm_(model, plan, 1.0),
    "fold": mt.fold,
    "apply": mt.apply,
    "attach": mt.attach,
}


@pytest.mark.parametrize("meet", MEET)
@pytest.mark.parametrize("damage", BREAK, ids=lambda f: f.__name__)
def test_a_module_that_was_replaced_is_refused_by_name(damage, meet):
    model, plan = net()
    damage(model)
    with pytest.raises(PlanError, match=rf"{BREAK[damage]}.*was a module replaced after wrapping"):
        MEET[meet](model, plan)


def test_muon_groups_ask_too():
    model, plan = net(optimizer="muon")
    mt.muon_groups(model, plan, lr=0.02, adamw_lr=1e-3)
    replace_head(model)
    with pytest.raises(PlanError, match="was a module replaced"):
        mt.muon_groups(model, plan, lr=0.02, adamw_lr=1e-3)


def test_a_plan_that_was_never_put_on_is_refused():
    plan = mt.Plan.infer(mlp, width=64, base_width=16, check=False)
    with pytest.raises(PlanError, match="or the plan was never put on it"):
        mt.param_groups(mlp(64), plan, lr=1e-3)


@pytest.mark.parametrize("settings", [{"form": "absorbed"}, {"parameterization": "sp"}])
def test_a_plan_without_run_time_factors_needs_none(settings):
    plan = mt.Plan.infer(mlp, width=64, base_width=16, **settings, check=False)
    assert mt.param_groups(mlp(64), plan, lr=1e-3)


@pytest.mark.parametrize("parameterization", ["mup", "ntk", "mf", "mup_t9"])
def test_another_factor_than_the_plans_is_refused(parameterization):
    model, _ = mt.parameterize(mlp, width=64, base_width=16, parameterization=parameterization, check=False)
    other = mt.Plan.infer(mlp, width=64, base_width=8, parameterization=parameterization, check=False)
    with pytest.raises(PlanError, match="is not on this model at"):
        mt.param_groups(model, other, lr=1e-3)


def through_memory(model):
    model.train(False)
    return copy.deepcopy(model)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        through_memory,
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
        lambda m: torch.compile(m, backend="eager"),
        checkpoint_wrapper,
    ],
)
def test_wrappers_pass(wrap):
    model, plan = net()
    check_in_place(wrap(model), plan)


def test_an_exported_model_has_its_multipliers_in_its_code():
    model, plan = net()
    exported = torch.export.export(model, (torch.ones(2, 3, 8),)).module()
    assert mt.param_groups(exported, plan, lr=1e-3)
    torch.testing.assert_close(exported(torch.ones(2, 3, 8)), model(torch.ones(2, 3, 8)))


def test_parts_that_are_wrapped_pass():
    model, plan = net()
    model.attention = checkpoint_wrapper(model.attention)
    model.head = torch.compile(model.head, backend="eager")
    check_in_place(model, plan)
    mt.param_groups(model, plan, lr=1e-3)
    model.attention = checkpoint_wrapper(Attention(64))
    with pytest.raises(PlanError, match="at attention"):
        check_in_place(model, plan)


def test_a_hugging_face_head_that_was_resized_is_refused():
    transformers = pytest.importorskip("transformers")

    def build(width):
        sizes = {"n_layer": 1, "vocab_size": 64, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=width, n_head=4, tie_word_embeddings=False, **sizes)
        )

    model, plan = mt.parameterize(build, width=64, base_width=16, check=False)
    model.resize_token_embeddings(80)
    with pytest.raises(PlanError, match=r"has shape \(80, 64\).*resize_token_embeddings"):
        mt.param_groups(model, plan, lr=1e-3)
    model, plan = mt.parameterize(build, width=64, base_width=16, check=False)
    model.resize_token_embeddings(80)
    model.resize_token_embeddings(64)  # shapes as before, and no multiplier
    with pytest.raises(PlanError, match="lm_head"):
        mt.param_groups(model, plan, lr=1e-3)
