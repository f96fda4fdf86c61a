"""Rows of smaller packages: x-transformers, torch-geometric, peft and a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.model_zoo.wild.check import Row
from experiments.model_zoo.wild.text import BATCH, CONTEXT, VOCABULARY

CLASSES, NODES = 8, 24


def tokens(generator: torch.Generator) -> Tensor:
    return torch.randint(0, VOCABULARY, (BATCH, CONTEXT), generator=generator)


def guess(model: nn.Module, batch: Any) -> Tensor:
    """Cross-entropy of scores over the last dimension against fixed classes drawn at random."""
    logits = model(*batch) if isinstance(batch, tuple) else model(batch)
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, logits.shape[-1], logits.shape[:-1], generator=generator)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


def _x_decoder(width: int) -> nn.Module:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(
        dim=width,
        depth=2,
        heads=width // 8,
        attn_dim_head=8,
        ff_mult=2,
        rotary_pos_emb=True,
        ff_glu=True,
        use_rmsnorm=True,
    )
    return TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=CONTEXT, attn_layers=layers)


def _x_encoder(width: int) -> nn.Module:
    """Cosine attention with a learned scale and relative positions."""
    from x_transformers import Encoder, TransformerWrapper

    layers = Encoder(
        dim=width, depth=2, heads=4, attn_dim_head=width // 4, ff_mult=2, rel_pos_bias=True, attn_qk_norm=True
    )
    return TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=CONTEXT, attn_layers=layers)


def graph(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features of nodes, and edges between them."""
    nodes = torch.randn(NODES, 6, generator=generator)
    ends = torch.randint(0, NODES, (2, 60), generator=generator)
    return nodes, ends


def _graph(name: str, arguments: Callable[[int], dict[str, Any]] = lambda w: {}) -> Row:
    def build(width: int) -> nn.Module:
        from torch_geometric.nn import models

        return getattr(models, name)(
            in_channels=6, hidden_channels=width, num_layers=3, out_channels=CLASSES, **arguments(width)
        )

    return Row(build=build, inputs=graph, loss=guess, source="torch-geometric")


def _lora(width: int) -> nn.Module:
    import peft
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        head_dim=8,
        num_attention_heads=width // 8,
        num_key_value_heads=width // 8,
        max_position_embeddings=32,
        use_cache=False,
    )
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"], lora_dropout=0.0)
    return peft.get_peft_model(transformers.LlamaForCausalLM(config), lora)


def _guess_logits(model: nn.Module, batch: Any) -> Tensor:
    return guess(lambda ids: model(input_ids=ids).logits, batch)


class _Mixture(nn.Module):
    """Tokens, the package's layer as a residual, scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from mixture_of_experts import MoE

        self.tokens = nn.Embedding(VOCABULARY, width)
        self.norm = nn.LayerNorm(width)
        self.moe = MoE(
            dim=width,
            num_experts=4,
            hidden_dim=2 * width,
            second_policy_train="all",
            second_policy_eval="all",
            capacity_factor_train=4.0,
            capacity_factor_eval=4.0,
        )
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x)
        mixed, self.balance = self.moe(self.norm(h))
        return self.head(h + mixed)


PACKAGES: dict[str, Row] = {
    "x-transformers-decoder": Row(build=_x_decoder, inputs=tokens, loss=guess, source="x-transformers"),
    "x-transformers-cosine": Row(build=_x_encoder, inputs=tokens, loss=guess, source="x-transformers"),
    "graph-gcn": _graph("GCN"),
    "graph-gat": _graph("GAT", lambda w: {"heads": w // 8}),
    "graph-gin": _graph("GIN"),
    "graph-sage": _graph("GraphSAGE"),
    "peft-lora": Row(build=_lora, inputs=tokens, loss=_guess_logits, source="peft"),
    "mixture-of-experts": Row(build=_Mixture, inputs=tokens, loss=guess, source="mixture-of-experts"),
}
