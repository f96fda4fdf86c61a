"""Bytes of Python source files (by default the running Python's standard library) with a small GPT."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.errors import DataError
from mutransfer.training.batches import mean_loss
from mutransfer.training.models.gpt import GPT
from mutransfer.training.task import EVAL_SEED

VOCABULARY = 256


@dataclass(frozen=True, kw_only=True)
class SourceBytesGPT:
    """Next-byte prediction on source files, windows drawn at random by (seed, step).

    The last tenth of the bytes is held out; evaluation is the loss on ``eval_windows`` fixed windows of it.
    ``folder``: where ``*.py`` files are read from, None for the standard library's top-level modules.
    """

    layers: int = 2
    head_size: int = 8
    context: int = 64
    batch_size: int = 16
    eval_windows: int = 64
    folder: str | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "head_size", "context", "batch_size", "eval_windows"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number above 0, found {value!r}")

    def build(self, width: int, /) -> nn.Module:
        return GPT(width, vocabulary=VOCABULARY, context=self.context, layers=self.layers, head_size=self.head_size)

    def batch(self, seed: int, step: int, /) -> Tensor:
        train, _ = self._split()
        return self._windows(train, self.batch_size, seed * 1_000_003 + step)

    def loss(self, model: nn.Module, batch: Tensor, /) -> Tensor:
        logits = model(batch[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

    def evaluate(self, model: nn.Module, /) -> float:
        _, held_out = self._split()
        return mean_loss(self.loss, model, [self._windows(held_out, self.eval_windows, EVAL_SEED)])

    def _split(self) -> tuple[Tensor, Tensor]:
        text = _bytes_of(self.folder)
        cut = len(text) * 9 // 10
        if len(text) - cut <= self.context:
            raise DataError(
                f"the *.py files of {self.folder or 'the standard library'} hold {len(text)} bytes; at least "
                f"{10 * (self.context + 1)} are needed for a context of {self.context}"
            )
        return text[:cut], text[cut:]

    def _windows(self, text: Tensor, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(len(text) - self.context, (count,), generator=generator)
        return text[starts[:, None] + torch.arange(self.context + 1)].long()


@lru_cache(maxsize=4)
def _bytes_of(folder: str | None) -> Tensor:
    """All source bytes as one tensor of uint8, files in the order of their names."""
    root = Path(folder) if folder is not None else Path(sysconfig.get_path("stdlib"))
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist")
    files = sorted(root.glob("*.py"))
    if not files:
        raise DataError(f"data folder {root} holds no *.py file")
    return torch.from_numpy(np.frombuffer(b"".join(f.read_bytes() for f in files), dtype=np.uint8).copy())
