"""Hugging Face models keep their plan through save_pretrained and from_pretrained, and under gradient checkpointing."""

import copy
from functools import cache, partial

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from mutransfer import Plan, apply, attach, load_plan, save_plan
from mutransfer.errors import PlanError
from mutransfer.parameterization.wrapping.apply import remove
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan

from .survival import factors, train

VOCAB, LENGTH = 32, 8


def gpt2(width):
    """Tied; its matrices are Conv1D, which hold (in, out)."""
    none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=width, n_head=width // 8, n_layer=1, vocab_size=VOCAB, n_positions=LENGTH, **none)
    )


def llama(width, heads=None):
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=1,
            num_attention_heads=heads or width // 8,
            vocab_size=VOCAB,
            max_position_embeddings=LENGTH,
        )
    )


# Where the size of heads grows, an attribute of the module is multiplied, which no checkpoint holds.
BUILDS = {"gpt2": gpt2, "llama": llama, "llama, larger heads": partial(llama, heads=1)}
TOKENS = torch.arange(2 * LENGTH).reshape(2, LENGTH) % VOCAB


@cache
def planned(name):
    return Plan.infer(BUILDS[name], width=32, base_width=8, check=False)


@pytest.fixture(params=BUILDS)
def trained(request):
    plan = planned(request.param)
    model = apply(BUILDS[request.param](32), plan)
    steps(model, plan)
    return model, plan


def scales(model):
    return [module.scaling for module in model.modules() if hasattr(module, "scaling")]


def steps(model, plan):
    targets = torch.randn(2, LENGTH, VOCAB, generator=torch.Generator().manual_seed(1))
    return train(model, plan, TOKENS, targets, call=lambda x: model(x).logits)


def test_from_pretrained_and_attach_is_the_model_that_was_saved(trained, tmp_path):
    model, plan = trained
    model.save_pretrained(tmp_path)
    save_plan(plan, tmp_path)
    again = type(model).from_pretrained(tmp_path)
    expected = model(TOKENS).logits
    assert not torch.allclose(again(TOKENS).logits, expected, rtol=0.1)
    with pytest.raises(PlanError, match="not as the factory draws it"):
        apply(again, load_plan(tmp_path))
    attach(again, load_plan(tmp_path))
    assert scales(again) == scales(model)
    torch.testing.assert_close(again(TOKENS).logits, expected, rtol=1e-6, atol=1e-7)
    assert applied_plan(again) == plan
    assert factors(again, plan) == factors(model, plan)
    assert steps(again.train(), plan) == pytest.approx(steps(model, plan), rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
def test_gradient_checkpointing_trains_the_same(trained):
    model, plan = trained
    again = copy.deepcopy(model)
    again.gradient_checkpointing_enable({"use_reentrant": False})
    assert again.is_gradient_checkpointing
    assert steps(again, plan) == pytest.approx(steps(model, plan), rel=1e-5)


def test_a_checkpoint_of_a_wrapped_model_is_a_plain_one(trained, tmp_path):
    model, _ = trained
    model.save_pretrained(tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if "mutransfer" in path.name]
    _, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    type(model)(model.config).load_state_dict(model.state_dict(), strict=True)


def test_the_attribute_that_scales_larger_heads_is_put_back_once(tmp_path):
    build, plan = BUILDS["llama, larger heads"], planned("llama, larger heads")
    model = apply(build(32), plan)
    assert scales(model) == [pytest.approx(8**0.5 / 32)]
    for again in (copy.deepcopy(model), torch.compile(copy.deepcopy(model), backend="eager")):
        assert scales(again) == scales(model)
    checkpointed = build(32)
    apply_activation_checkpointing(checkpointed, check_fn=lambda module: hasattr(module, "scaling"))
    assert set(scales(attach(checkpointed, plan))) == set(scales(model))  # on the module, not on what is around it
    assert scales(remove(model)) == scales(build(32))


@pytest.mark.parametrize("name", BUILDS)
def test_a_plan_made_in_another_process_fits_by_its_names(name, tmp_path):
    save_plan(planned(name), tmp_path)
    with torch.device("meta"):
        model = attach(BUILDS[name](32), load_plan(tmp_path))
    assert applied_plan(model) == load_plan(tmp_path)
