"""What is saved for others under Hugging Face's Trainer: the plain function, or a note that says what it lacks."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import mutransfer as mt
from mutransfer.integrations.hf import TransferCallback
from mutransfer.integrations.plain_saving import NOTE, PlainSaving

from .hf_runs import LABELS, ROWS, trainer


def gpt2(tie):
    sizes = {"n_layer": 1, "vocab_size": 64, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
    return lambda width: GPT2LMHeadModel(
        GPT2Config(n_embd=width, n_head=width // 16, tie_word_embeddings=tie, loss_type="ForCausalLM", **sizes)
    )


def loss(model):
    with torch.no_grad():
        return model.eval()(input_ids=ROWS[:4], labels=LABELS[:4]).loss.item()


def trained(build, folder, **options):
    torch.manual_seed(0)
    model, plan = mt.parameterize(build, width=128, base_width=16, **options, check=False)
    run = trainer(
        model, plan, folder, TransferCallback(plan, movement_every=0), max_steps=2, save_strategy="steps", save_steps=1
    )
    run.train()
    return run


@pytest.mark.parametrize("parameterization", ["mup", "ntk"])
def test_the_final_save_is_the_plain_function_and_checkpoints_are_not(tmp_path, parameterization):
    run = trained(gpt2(tie=False), tmp_path, parameterization=parameterization)
    expected = loss(run.model)
    run.save_model()
    run.model.save_pretrained(tmp_path / "again")
    for folder in (tmp_path, tmp_path / "again"):
        assert loss(AutoModelForCausalLM.from_pretrained(folder)) == pytest.approx(expected, rel=1e-5)
        assert "weights are plain" in (folder / NOTE).read_text()
        assert not (folder / "mutransfer_plan.json").exists()
    resumable = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert loss(resumable) != pytest.approx(expected, rel=1e-3)
    assert loss(mt.attach(resumable, mt.load_plan(tmp_path / "checkpoint-2"))) == pytest.approx(expected, rel=1e-6)


def test_a_tied_readout_is_saved_with_its_plan_and_a_note(tmp_path):
    run = trained(gpt2(tie=True), tmp_path)
    expected = loss(run.model)
    with pytest.warns(UserWarning, match="another function: 1 multipliers .tied readout at lm_head"):
        run.save_model()
    note = (tmp_path / NOTE).read_text()
    assert "lm_head: tied readout, factor 0.125" in note
    assert "mutransfer.attach(model, mutransfer.load_plan(folder))" in note
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loss(plain) != pytest.approx(expected, rel=1e-3)
    assert loss(mt.attach(plain, mt.load_plan(tmp_path))) == pytest.approx(expected, rel=1e-6)


def growing_heads(family):
    """Two heads whose size grows, so that logits are scaled."""
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{family}Config")
    sizes = {
        "num_hidden_layers": 1,
        "vocab_size": 64,
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": False, "pad_token_id": None}

    def build(width):
        # Scales as the families have them: a number of the config's own, or by the size of a head.
        own = {"attention_multiplier": (width // 2) ** -0.5} if family == "Granite" else {}
        if family == "Gemma2":
            own = {"query_pre_attn_scalar": width // 2, "head_dim": width // 2}
        return getattr(transformers, f"{family}ForCausalLM")(
            config(hidden_size=width, intermediate_size=2 * width, **sizes, **own)
        )

    return build


@pytest.mark.parametrize(("family", "key"), [("Granite", "attention_multiplier"), ("Gemma2", "query_pre_attn_scalar")])
def test_a_scale_that_the_config_holds_is_written_there(tmp_path, family, key):
    torch.manual_seed(0)
    model, plan = mt.parameterize(growing_heads(family), width=64, base_width=16, check=False)
    assert plan.sites
    with torch.no_grad():
        for parameter in model.parameters():  # so that logits of attention matter
            parameter.mul_(3.0)
    expected = loss(model)
    with pytest.warns(UserWarning, match=f"scale of attention that was trained.*{key}"):
        PlainSaving(model)(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loss(plain) == pytest.approx(expected, rel=1e-5)
    assert key in (tmp_path / NOTE).read_text()
    assert getattr(model.config, key) != getattr(plain.config, key)


def test_a_scale_that_no_config_holds_is_noted(tmp_path):
    model, plan = mt.parameterize(growing_heads("Llama"), width=64, base_width=16, check=False)
    assert plan.sites
    expected = loss(model)
    with pytest.warns(UserWarning, match="attention logits at model.layers.0.self_attn"):
        PlainSaving(model)(tmp_path)
    assert loss(mt.attach(AutoModelForCausalLM.from_pretrained(tmp_path), mt.load_plan(tmp_path))) == pytest.approx(
        expected, rel=1e-6
    )


def test_copies_save_themselves_and_folded_models_as_they_are(tmp_path):
    model, plan = mt.parameterize(gpt2(tie=False), width=64, base_width=16, check=False)
    vars(model)["save_pretrained"] = PlainSaving(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lm_head.weight.mul_(20.0)
    other.save_pretrained(tmp_path / "copy")
    assert loss(AutoModelForCausalLM.from_pretrained(tmp_path / "copy")) == pytest.approx(loss(other), rel=1e-5)
    assert loss(other) != pytest.approx(loss(model), rel=1e-3)
    mt.fold(other, plan).save_pretrained(tmp_path / "folded")
    assert loss(AutoModelForCausalLM.from_pretrained(tmp_path / "folded")) == pytest.approx(loss(other), rel=1e-5)
    assert not (tmp_path / "folded" / NOTE).exists()
    given = mt.plain_state_dict(model, plan)
    model.save_pretrained(tmp_path / "given", state_dict=given)
    assert loss(AutoModelForCausalLM.from_pretrained(tmp_path / "given")) == pytest.approx(loss(model), rel=1e-5)
