"""Rows of language, speech and pairs from transformers: two layers, tiny, randomly initialised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.model_zoo.wild.check import Row

VOCABULARY, CONTEXT, BATCH, HEAD = 64, 6, 2, 8  # few tokens: see the page


def tokens(generator: torch.Generator) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(2, VOCABULARY, (BATCH, CONTEXT), generator=generator)}


def pairs(generator: torch.Generator) -> dict[str, Tensor]:
    """For encoders with a decoder."""
    return tokens(generator) | {"decoder_input_ids": tokens(generator)["input_ids"]}


def with_labels(generator: torch.Generator) -> dict[str, Tensor]:
    batch = tokens(generator)
    return batch | {"labels": batch["input_ids"]}


def guess(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Cross-entropy of the model's scores against fixed classes drawn at random."""
    logits = model(**batch).logits
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, logits.shape[-1], logits.shape[:-1], generator=generator)
    return F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


def own_loss(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return model(**batch).loss


def _common(width: int, **more: Any) -> dict[str, Any]:
    """What most configurations call the same."""
    heads = width // HEAD
    return {
        **{"vocab_size": VOCABULARY, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2},
        **{"num_attention_heads": heads, "max_position_embeddings": 32, "use_cache": False},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "hidden_dropout": 0.0},
        **{"attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
        **more,
    }


def _row(
    name: str, config: Callable[[int], dict[str, Any]], inputs: Any = tokens, loss: Any = guess, **more: Any
) -> Row:
    """A model of transformers by the prefix of its classes: ``NAME:HEAD`` is NAMEConfig and NAMEHEAD.

    ``NAME(PART):HEAD``: the configuration is of a part, NAMEPARTConfig.
    """
    family, _, head = name.partition(":")
    family, _, part = family.removesuffix(")").partition("(")

    def build(width: int) -> nn.Module:
        import transformers

        made = getattr(transformers, f"{family}{part}Config")(**config(width))
        return getattr(transformers, f"{family}{head}")(made)

    return Row(build=build, inputs=inputs, loss=loss, source="transformers", **more)


def _grouped(width: int, **more: Any) -> dict[str, Any]:
    return _common(width, num_key_value_heads=width // HEAD // 2, head_dim=HEAD, **more)


def _encoder_decoder(width: int, **more: Any) -> dict[str, Any]:
    sides = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 1), ("attention_heads", width // HEAD), ("ffn_dim", 2 * width))
    }
    return {
        **{"vocab_size": VOCABULARY, "d_model": width, "dropout": 0.0, "attention_dropout": 0.0, "use_cache": False},
        **{"activation_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0},
        **{"decoder_start_token_id": 0, "forced_eos_token_id": None, **sides, **more},
    }


def _speech(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "input_features": torch.randn(BATCH, 8, 32, generator=generator),
        **{"decoder_input_ids": tokens(generator)["input_ids"]},
    }


def _wave(generator: torch.Generator) -> dict[str, Tensor]:
    return {"input_values": torch.randn(BATCH, 400, generator=generator)}


def _pixels(generator: torch.Generator) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(BATCH, 3, 16, 16, generator=generator)}


def _image_and_text(generator: torch.Generator) -> dict[str, Tensor]:
    return tokens(generator) | _pixels(generator)


def _contrast(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return model(**batch, return_loss=True).loss


def _clip(width: int) -> dict[str, Any]:
    side = {k: v for k, v in _common(width).items() if k not in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = side | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "projection_dim": 16}
    vision = side | {"image_size": 16, "patch_size": 4, "projection_dim": 16}
    return {"text_config": text, "vision_config": vision, "projection_dim": 16}


def _perceiver(width: int) -> dict[str, Any]:
    return {
        **{"num_latents": 8, "d_latents": width, "d_model": width, "num_blocks": 1, "num_self_attends_per_block": 2},
        **{"num_self_attention_heads": 4, "num_cross_attention_heads": 4, "vocab_size": VOCABULARY},
        **{"max_position_embeddings": 32, "attention_probs_dropout_prob": 0.0, "qk_channels": width},
        **{"v_channels": width},
    }


def _perceiver_inputs(generator: torch.Generator) -> dict[str, Tensor]:
    return {"inputs": tokens(generator)["input_ids"]}


TEXT: dict[str, Row] = {
    "bert": _row("Bert:ForMaskedLM", _common),
    "roberta-prelayernorm": _row("RobertaPreLayerNorm:ForMaskedLM", _common),
    "deberta": _row(
        "DebertaV2:ForMaskedLM",
        lambda w: _common(
            w,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            max_relative_positions=16,
            position_biased_input=False,
        ),
    ),
    "electra": _row("Electra:ForMaskedLM", lambda w: _common(w, embedding_size=w)),
    "funnel": _row(
        "Funnel:ForMaskedLM",
        lambda w: {
            **{"vocab_size": VOCABULARY, "block_sizes": [1, 1], "d_model": w, "n_head": w // HEAD, "d_head": HEAD},
            **{"d_inner": 2 * w, "hidden_dropout": 0.0, "attention_dropout": 0.0, "num_decoder_layers": 1},
        },
    ),
    "gpt-neox": _row("GPTNeoX:ForCausalLM", _common),
    "opt": _row("OPT:ForCausalLM", lambda w: _common(w, ffn_dim=2 * w, word_embed_proj_dim=w, dropout=0.0)),
    "bloom": _row("Bloom:ForCausalLM", lambda w: _common(w, n_layer=2, n_head=w // HEAD)),
    "falcon": _row("Falcon:ForCausalLM", lambda w: _common(w, new_decoder_architecture=False, multi_query=True)),
    "phi": _row("Phi:ForCausalLM", lambda w: _common(w, resid_pdrop=0.0, embd_pdrop=0.0)),
    "mistral": _row("Mistral:ForCausalLM", _grouped),
    "qwen2-moe": _row(
        "Qwen2Moe:ForCausalLM",
        lambda w: _grouped(
            w, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=w, shared_expert_intermediate_size=w
        ),
    ),
    "gemma2": _row("Gemma2:ForCausalLM", lambda w: _grouped(w, query_pre_attn_scalar=HEAD)),
    "gemma3": _row("Gemma3(Text):ForCausalLM", lambda w: _grouped(w, query_pre_attn_scalar=HEAD)),
    "olmo2": _row("Olmo2:ForCausalLM", _grouped),
    "deepseek-v3": _row(
        "DeepseekV3:ForCausalLM",
        lambda w: _common(
            w,
            q_lora_rank=None,
            kv_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=8,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            n_shared_experts=1,
            moe_intermediate_size=w,
            first_k_dense_replace=1,
            num_key_value_heads=w // HEAD,
        ),
    ),
    "granite": _row("Granite:ForCausalLM", _grouped),
    "mamba2": _row(
        "Mamba2:ForCausalLM",
        lambda w: {
            **{"vocab_size": VOCABULARY, "hidden_size": w, "num_hidden_layers": 2, "state_size": 8, "head_dim": 16},
            **{"num_heads": w // 8, "n_groups": 1, "chunk_size": 8, "use_cache": False, "pad_token_id": 0},
        },
    ),
    "rwkv": _row(
        "Rwkv:ForCausalLM",
        lambda w: {
            **{"vocab_size": VOCABULARY, "hidden_size": w, "num_hidden_layers": 2, "context_length": 32},
            **{"use_cache": False, "attention_hidden_size": w, "intermediate_size": 2 * w},
        },
    ),
    "t5-v1.1": _row(
        "T5:ForConditionalGeneration",
        lambda w: {
            **{
                "vocab_size": VOCABULARY,
                "d_model": w,
                "d_kv": HEAD,
                "num_heads": w // HEAD,
                "d_ff": 2 * w,
                "num_layers": 1,
            },
            **{
                "dropout_rate": 0.0,
                "use_cache": False,
                "tie_word_embeddings": False,
                "feed_forward_proj": "gated-gelu",
            },
            **{"decoder_start_token_id": 0, "pad_token_id": 0},
        },
        inputs=pairs,
    ),
    "bart": _row("Bart:ForConditionalGeneration", _encoder_decoder, inputs=pairs),
    "whisper": _row(
        "Whisper:ForConditionalGeneration",
        lambda w: _encoder_decoder(w, num_mel_bins=8, max_source_positions=16, max_target_positions=32),
        inputs=_speech,
    ),
    "wav2vec2": _row(
        "Wav2Vec2:ForSequenceClassification",
        lambda w: _common(
            w,
            conv_dim=[w, w],
            conv_kernel=[8, 4],
            conv_stride=[8, 4],
            num_feat_extract_layers=2,
            feat_proj_dropout=0.0,
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            mask_time_prob=0.0,
            layerdrop=0.0,
            activation_dropout=0.0,
            final_dropout=0.0,
            num_labels=8,
            classifier_proj_size=w,
        ),
        inputs=_wave,
    ),
    "clip": _row("CLIP:Model", _clip, inputs=_image_and_text, loss=_contrast),
    "perceiver": _row("Perceiver:ForMaskedLM", _perceiver, inputs=_perceiver_inputs),
}
