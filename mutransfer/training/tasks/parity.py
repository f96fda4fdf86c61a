"""The parity of a few bits among many: what a network learns by finding the bits, and a fixed kernel hardly learns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.training.batches import mean_loss
from mutransfer.training.models.mlp import mlp

BitsAndParity = tuple[Tensor, Tensor]  # bits (batch, bits) of -1 and 1, their parity (batch, 1) as 0 or 1; float32

N_TEST = 1024


@dataclass(frozen=True, kw_only=True)
class ParityMLP:
    """Logistic loss on the parity of the first ``relevant`` of ``bits`` random bits, with a multilayer perceptron.

    The first bits are as good as any: a network that is initialised alike in all inputs knows no order of them.
    Batches are drawn without replacement within an epoch from ``n_train`` examples, shuffled by the seed; what is left
    of an epoch after the last full batch is dropped. Evaluation is the loss on 1024 other examples.

    A kernel that treats all bits alike has bits^2 / 2 products of two bits in one eigenspace, so that it needs as many
    examples to tell which of them counts; a network that finds the bits needs a number that grows like ``bits``
    (Wei et al. 2019, "Regularization matters", theorem 2.1; Daniely & Malach 2020, "Learning parities with neural
    networks"). The default ``n_train`` lies in between.
    """

    bits: int = 40
    relevant: int = 2
    hidden_layers: int = 1
    batch_size: int = 64
    n_train: int = 512

    def __post_init__(self) -> None:
        if not 1 <= self.relevant <= self.bits:
            raise ValueError(f"need 1 <= relevant <= bits, found relevant={self.relevant}, bits={self.bits}")
        if not 1 <= self.batch_size <= self.n_train:
            raise ValueError(
                f"need 1 <= batch_size <= n_train, found batch_size={self.batch_size}, n_train={self.n_train}"
            )

    def build(self, width: int, /) -> nn.Module:
        return mlp(width, n_inputs=self.bits, n_outputs=1, hidden_layers=self.hidden_layers)

    def batch(self, seed: int, step: int, /) -> BitsAndParity:
        bits, parity = _examples(self.n_train, self.bits, self.relevant, 0)
        per_epoch = self.n_train // self.batch_size
        order = torch.randperm(
            self.n_train, generator=torch.Generator().manual_seed(seed * 100_003 + step // per_epoch)
        )
        chosen = order[step % per_epoch * self.batch_size :][: self.batch_size]
        return bits[chosen], parity[chosen]

    def loss(self, model: nn.Module, batch: BitsAndParity, /) -> Tensor:
        bits, parity = batch
        return F.binary_cross_entropy_with_logits(model(bits), parity)

    def evaluate(self, model: nn.Module, /) -> float:
        return mean_loss(self.loss, model, [_examples(N_TEST, self.bits, self.relevant, 1)])


@lru_cache(maxsize=8)
def _examples(n: int, bits: int, relevant: int, seed: int) -> BitsAndParity:
    drawn = torch.randint(2, (n, bits), generator=torch.Generator().manual_seed(seed))
    return 2.0 * drawn - 1, (drawn[:, :relevant].sum(1, keepdim=True) % 2).float()
