"""Hugging Face language models, unedited, on the source bytes of the standard library: tasks for `mutransfer run`."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
import transformers as hf
from torch import Tensor, nn

from mutransfer.training.tasks.source_bytes import VOCABULARY, SourceBytesGPT


@dataclass(frozen=True, kw_only=True)
class GPT2Bytes(SourceBytesGPT):
    """GPT-2 with tied embeddings; heads of one size, more of them in a wider model."""

    context: int = 32

    def build(self, width: int, /) -> nn.Module:
        sizes = {"n_embd": width, "n_layer": self.layers, "n_head": width // self.head_size}
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        ends = {"bos_token_id": 0, "eos_token_id": 0, "use_cache": False}
        config = hf.GPT2Config(vocab_size=VOCABULARY, n_positions=self.context, **sizes, **dropout, **ends)
        return hf.GPT2LMHeadModel(config)

    def loss(self, model: nn.Module, batch: Tensor, /) -> Tensor:
        logits = model(input_ids=batch[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


@dataclass(frozen=True, kw_only=True)
class LlamaBytes(GPT2Bytes):
    """Llama with grouped queries: two heads share a key, at every width."""

    def build(self, width: int, /) -> nn.Module:
        heads = width // self.head_size
        config = hf.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            head_dim=self.head_size,
            use_cache=False,
        )
        return hf.LlamaForCausalLM(config)
