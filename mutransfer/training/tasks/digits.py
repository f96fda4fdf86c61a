"""Handwritten digits (scikit-learn's, 1797 images of 8 x 8) with a multilayer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.training.batches import mean_loss
from mutransfer.training.models.mlp import mlp

ImagesAndLabels = tuple[Tensor, Tensor]  # images (batch, 64) float32, labels (batch,) int64


@dataclass(frozen=True, kw_only=True)
class DigitsMLP:
    """Cross-entropy on digits. Batches are drawn without replacement within an epoch, shuffled by the seed;
    what is left of an epoch after the last full batch is dropped.

    Evaluation is the loss on ``eval_on``: "train" (the whole training set: what optimization reached) or "test".
    """

    hidden_layers: int = 2
    batch_size: int = 64
    n_train: int = 1437
    eval_on: str = "train"

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.n_train < 1797:
            raise ValueError(
                f"need 1 <= batch_size <= n_train < 1797, found batch_size={self.batch_size}, n_train={self.n_train}"
            )
        if self.eval_on not in ("train", "test"):
            raise ValueError(f"eval_on must be 'train' or 'test', found {self.eval_on!r}")

    def build(self, width: int, /) -> nn.Module:
        return mlp(width, n_inputs=64, n_outputs=10, hidden_layers=self.hidden_layers)

    def batch(self, seed: int, step: int, /) -> ImagesAndLabels:
        images, labels = _digits()
        per_epoch = self.n_train // self.batch_size
        order = _order(seed, step // per_epoch, self.n_train)
        chosen = order[step % per_epoch * self.batch_size :][: self.batch_size]
        return images[chosen], labels[chosen]

    def loss(self, model: nn.Module, batch: ImagesAndLabels, /) -> Tensor:
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def evaluate(self, model: nn.Module, /) -> float:
        images, labels = _digits()
        part = slice(None, self.n_train) if self.eval_on == "train" else slice(self.n_train, None)
        return mean_loss(self.loss, model, [(images[part], labels[part])])


@lru_cache(maxsize=1)
def _digits() -> ImagesAndLabels:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))  # the file is sorted by writer
    pixels = torch.tensor(images, dtype=torch.float32)
    return ((pixels - pixels.mean()) / pixels.std())[order], torch.tensor(labels)[order]


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
