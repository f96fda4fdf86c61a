"""In-context copying: sequences that repeat a random pattern, to be continued by looking back in the same sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.training.batches import mean_loss
from mutransfer.training.models.attention_only import AttentionOnly
from mutransfer.training.task import EVAL_SEED

TokensAndNext = tuple[Tensor, Tensor]  # tokens (batch, length) int64; the next tokens, -100 where they cannot be known

UNKNOWN = -100  # what cross_entropy leaves out


@dataclass(frozen=True, kw_only=True)
class InductionAttention:
    """Cross-entropy on the next token of sequences that repeat a random pattern, with attention layers alone.

    Every sequence is a pattern of its own, of a random period between ``shortest`` and half the length, over and over.
    A token is predicted from the second time on, where it follows from what followed its like before; the first time
    nothing is known. A constant answer has the loss log(vocabulary) = 2.77; the set of tokens that a sequence holds is
    worth about log(period), 1.8 on average; only looking back at what followed gives less. With two layers, the second
    can look for what the first has marked (Elhage et al. 2021, "A mathematical framework for transformer circuits";
    Olsson et al. 2022, "In-context learning and induction heads").

    Training batches are new sequences at every step, drawn by (seed, step); evaluation is on 256 others.
    """

    vocabulary: int = 16
    length: int = 16
    shortest: int = 4
    layers: int = 2
    head_size: int = 16
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.length // 2:
            raise ValueError(f"need 1 <= shortest <= length / 2, found shortest={self.shortest}, length={self.length}")

    def build(self, width: int, /) -> nn.Module:
        return AttentionOnly(
            width, vocabulary=self.vocabulary, context=self.length, layers=self.layers, head_size=self.head_size
        )

    def batch(self, seed: int, step: int, /) -> TokensAndNext:
        return self._sequences(self.batch_size, seed * 100_003 + step)

    def loss(self, model: nn.Module, batch: TokensAndNext, /) -> Tensor:
        tokens, following = batch
        return F.cross_entropy(model(tokens).flatten(0, 1), following.flatten(), ignore_index=UNKNOWN)

    def evaluate(self, model: nn.Module, /) -> float:
        return mean_loss(self.loss, model, [self._sequences(256, EVAL_SEED)])

    def _sequences(self, n: int, seed: int) -> TokensAndNext:
        generator = torch.Generator().manual_seed(seed)
        periods = torch.randint(self.shortest, self.length // 2 + 1, (n, 1), generator=generator)
        patterns = torch.randint(self.vocabulary, (n, self.length), generator=generator)
        places = torch.arange(self.length + 1)
        sequences = patterns.gather(1, places % periods)
        following = sequences[:, 1:].masked_fill(places[1:] < periods + 1, UNKNOWN)
        return sequences[:, :-1], following
