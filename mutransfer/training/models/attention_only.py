"""A transformer of attention layers alone, whose heads are all that can move information between positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mutransfer.training.models.gpt import CausalSelfAttention


class AttentionOnly(nn.Module):
    """Token ids (batch, time) to logits (batch, time, vocabulary): x + attention(norm(x)) in every layer, no MLP."""

    def __init__(self, width: int, *, vocabulary: int, context: int, layers: int, head_size: int) -> None:
        super().__init__()
        if width % head_size:
            raise ValueError(f"width {width} is not a multiple of head_size {head_size}")
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.layers = nn.ModuleList(CausalSelfAttention(width, head_size) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.readout(self.norm(x))
