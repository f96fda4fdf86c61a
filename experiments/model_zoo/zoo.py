"""The families of the zoo: a factory by width, batches and a loss each; tiny, randomly initialised, no download.

Heads grow in number and keep their size unless a family's name says otherwise; d_ff is twice the width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import transformers as hf
from torch import Tensor, nn

import mutransfer as mt
from experiments.model_zoo.data import (
    CONTEXT,
    VOCABULARY,
    causal,
    continued,
    cross_entropy,
    images,
    masked,
    next_token,
    noisy,
    rows,
)
from experiments.model_zoo.data import pixel_values as pixels
from experiments.model_zoo.own import HEAD, Encoder, LatentGPT, RecurrentClassifier, RecurrentLM, ResNet, UNet
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

Loss = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the coordinate check needs of one kind of model."""

    build: Callable[[int], nn.Module]
    batch: Callable[[int, int], Any]
    loss: Loss | None = None  # None: the model's own
    base_width: int = 64
    overrides: Mapping[str, str | mt.Axes] = field(default_factory=dict)


def gpt2(width: int) -> nn.Module:
    config = hf.GPT2Config(
        **{"vocab_size": VOCABULARY, "n_positions": CONTEXT, "n_embd": width, "n_layer": 2, "n_head": width // HEAD},
        **{"n_inner": 2 * width, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False},
        **{"bos_token_id": 0, "eos_token_id": 0},
    )
    return hf.GPT2LMHeadModel(config)


def _decoder(width: int, kv_heads: int | None = None) -> dict[str, Any]:
    """What the Llama-like configurations have in common; ``kv_heads`` None: half as many as query heads."""
    heads = width // HEAD
    return {
        **{"vocab_size": VOCABULARY, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2},
        **{"num_attention_heads": heads, "num_key_value_heads": kv_heads or heads // 2, "head_dim": HEAD},
        **{"max_position_embeddings": CONTEXT, "use_cache": False},
        **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None},
    }


def llama(width: int) -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_decoder(width)))


def llama_mqa(width: int) -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_decoder(width, kv_heads=1)))


def gemma(width: int) -> nn.Module:
    return hf.GemmaForCausalLM(hf.GemmaConfig(**_decoder(width)))


def qwen3(width: int) -> nn.Module:
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**_decoder(width)))


def mixtral(width: int) -> nn.Module:
    return hf.MixtralForCausalLM(hf.MixtralConfig(**_decoder(width), num_local_experts=4, num_experts_per_tok=2))


def bert(width: int) -> nn.Module:
    config = hf.BertConfig(
        **{"vocab_size": VOCABULARY, "hidden_size": width, "num_hidden_layers": 2},
        **{"num_attention_heads": width // HEAD, "intermediate_size": 2 * width, "max_position_embeddings": CONTEXT},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    return hf.BertForMaskedLM(config)


def vit(width: int) -> nn.Module:
    config = hf.ViTConfig(
        **{"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": width // HEAD},
        **{"intermediate_size": 2 * width, "image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    return hf.ViTForImageClassification(config)


def t5(width: int) -> nn.Module:
    config = hf.T5Config(
        **{"vocab_size": VOCABULARY, "d_model": width, "d_kv": HEAD, "num_heads": width // HEAD, "d_ff": 2 * width},
        **{"num_layers": 2, "dropout_rate": 0.0, "use_cache": False, "tie_word_embeddings": True},
        **{"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
    )
    return hf.T5ForConditionalGeneration(config)


def mamba(width: int) -> nn.Module:
    config = hf.MambaConfig(
        **{"vocab_size": VOCABULARY, "hidden_size": width, "state_size": 8, "num_hidden_layers": 2},
        **{"time_step_rank": 4, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None},
    )
    return hf.MambaForCausalLM(config)


def timm_vit(width: int) -> nn.Module:
    return timm.models.VisionTransformer(
        **{"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10},
        **{"embed_dim": width, "depth": 2, "num_heads": width // HEAD, "mlp_ratio": 2},
    )


_MLP, _GPT = DigitsMLP(), SourceBytesGPT(context=CONTEXT, batch_size=8)
_TEXT: dict[str, Any] = {"batch": next_token, "loss": cross_entropy}

FAMILIES: dict[str, Family] = {
    "digits-mlp": Family(build=_MLP.build, batch=_MLP.batch, loss=_MLP.loss),
    "byte-gpt": Family(build=_GPT.build, batch=_GPT.batch, loss=_GPT.loss),
    "gpt2": Family(build=gpt2, batch=causal),
    "llama": Family(build=llama, batch=causal),
    "llama-mqa": Family(build=llama_mqa, batch=causal),
    "gemma": Family(build=gemma, batch=causal),
    "qwen3": Family(build=qwen3, batch=causal),
    "mixtral": Family(build=mixtral, batch=causal),
    "bert": Family(build=bert, batch=masked),
    "t5": Family(build=t5, batch=continued),
    "mamba": Family(build=mamba, batch=causal),
    "vit": Family(build=vit, batch=pixels),
    "timm-vit": Family(build=timm_vit, batch=images, loss=cross_entropy),
    "encoder": Family(build=lambda w: Encoder(w, w // HEAD), batch=rows, loss=cross_entropy),
    "encoder-4-heads": Family(build=lambda w: Encoder(w, 4), batch=rows, loss=cross_entropy),
    "latent-gpt": Family(build=lambda w: LatentGPT(w, VOCABULARY), **_TEXT),
    "latent-gpt-norm": Family(build=lambda w: LatentGPT(w, VOCABULARY, norm=True), **_TEXT),
    "lstm": Family(build=lambda w: RecurrentLM(w, VOCABULARY), **_TEXT),
    "gru": Family(build=RecurrentClassifier, batch=rows, loss=cross_entropy),
    "resnet": Family(build=ResNet, batch=images, loss=cross_entropy, base_width=32),
    "unet": Family(build=UNet, batch=noisy, loss=cross_entropy, base_width=16),
}
