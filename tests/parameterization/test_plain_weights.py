"""The plain state dict: the function of the wrapped model, for code that knows of no plan."""

import copy

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import mutransfer as mt
from mutransfer.errors import PlanError

from .models import TiedLM, mlp
from .test_in_place import net


def with_statistics(width):
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


@pytest.mark.parametrize("parameterization", ["mup", "ntk", "mf", "sp"])
@pytest.mark.parametrize("build", [mlp, with_statistics])
def test_a_plain_model_computes_the_same_from_it(build, parameterization):
    model, plan = mt.parameterize(build, width=32, base_width=8, parameterization=parameterization, check=False)
    x = torch.randn(16, model[0].in_features)
    model(x)  # running statistics move
    model.eval()
    before, expected = copy.deepcopy(model.state_dict()), model(x)
    plain = build(32).eval()
    plain.load_state_dict(mt.plain_state_dict(model, plan))
    torch.testing.assert_close(plain(x), expected)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_it_is_what_fold_leaves():
    model, plan = mt.parameterize(mlp, width=32, base_width=8, parameterization="ntk", check=False)
    plain = mt.plain_state_dict(model, plan)
    folded = mt.fold(model, plan).state_dict()
    assert list(plain) == list(folded)
    torch.testing.assert_close(plain, dict(folded), rtol=0, atol=0)


def test_the_wrapped_models_own_is_another_function():
    model, plan = mt.parameterize(mlp, width=32, base_width=8, check=False)
    own, plain = model.state_dict(), mt.plain_state_dict(model, plan)
    torch.testing.assert_close(plain["4.weight"], own["4.weight"] * 0.25)
    assert plain["0.weight"].data_ptr() == own["0.weight"].data_ptr()
    assert not any(tensor.requires_grad for tensor in plain.values())


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda m: torch.compile(m, backend="eager"),
        lambda m: nn.Sequential(*(torch.compile(part, backend="eager") for part in m)),
        lambda m: nn.Sequential(*map(checkpoint_wrapper, m)),
    ],
)
def test_names_are_the_users_own_whatever_wraps_the_model(wrap):
    model, plan = mt.parameterize(mlp, width=32, base_width=8, check=False)
    expected = mt.plain_state_dict(model, plan)
    wrapped = wrap(model)
    if isinstance(wrapped, nn.Sequential):  # parts were wrapped: put them back into the model that carries the plan
        for name, part in wrapped.named_children():
            model[int(name)] = part
        wrapped = model
    found = mt.plain_state_dict(wrapped, plan)
    assert found.keys() == expected.keys()
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)


def test_what_no_weight_can_hold_is_refused_with_what_to_do():
    model, plan = mt.parameterize(TiedLM, width=32, base_width=8, check=False)
    with pytest.raises(
        PlanError, match=r"reads out with a tensor it shares .*save_plan beside its checkpoint, and attach"
    ):
        mt.plain_state_dict(model, plan)
    model, plan = net()
    with pytest.raises(PlanError, match=r"logits of attention are multiplied at attention.*save_plan beside"):
        mt.plain_state_dict(model, plan)


def test_a_model_without_the_plan_is_refused():
    model, plan = mt.parameterize(mlp, width=32, base_width=8, check=False)
    with pytest.raises(PlanError, match="not on the model"):
        mt.plain_state_dict(mt.fold(model, plan), plan)


def test_a_hugging_face_folder_reads_as_the_function_that_was_trained(tmp_path):
    transformers = pytest.importorskip("transformers")

    def build(width):
        sizes = {"n_layer": 1, "vocab_size": 64, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
        config = transformers.GPT2Config(n_embd=width, n_head=width // 8, tie_word_embeddings=False, **sizes)
        return transformers.GPT2LMHeadModel(config)

    model, plan = mt.parameterize(build, width=64, base_width=16, check=False)
    model.eval()
    tokens = torch.arange(16)[None]
    model.save_pretrained(tmp_path, state_dict=mt.plain_state_dict(model, plan))
    plain = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(plain(tokens).logits, model(tokens).logits)
