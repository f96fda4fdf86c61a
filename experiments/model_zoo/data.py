"""Batches of the zoo: bytes of the standard library for language, scikit-learn's digits for vision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

VOCABULARY, CONTEXT, BATCH = 128, 16, 8
MASK = VOCABULARY - 1  # a byte that is in no source file

_TEXT = SourceBytesGPT(context=2 * CONTEXT, batch_size=BATCH)
_DIGITS = DigitsMLP(batch_size=32)


def _windows(seed: int, step: int) -> Tensor:
    return _TEXT.batch(seed, step).clamp(max=MASK - 1)


def causal(seed: int, step: int) -> dict[str, Tensor]:
    """For models that shift the labels themselves."""
    tokens = _windows(seed, step)[:, :CONTEXT]
    return {"input_ids": tokens, "labels": tokens}


def masked(seed: int, step: int) -> dict[str, Tensor]:
    """A quarter of the tokens to be guessed."""
    tokens = _windows(seed, step)[:, :CONTEXT]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    hidden = torch.rand(tokens.shape, generator=generator) < 0.25
    return {"input_ids": tokens.masked_fill(hidden, MASK), "labels": tokens.masked_fill(~hidden, -100)}


def continued(seed: int, step: int) -> dict[str, Tensor]:
    """The second half of a window from the first."""
    tokens = _windows(seed, step)
    return {"input_ids": tokens[:, :CONTEXT], "labels": tokens[:, CONTEXT : 2 * CONTEXT].contiguous()}


def next_token(seed: int, step: int) -> tuple[Tensor, Tensor]:
    tokens = _windows(seed, step)[:, : CONTEXT + 1]
    return tokens[:, :-1], tokens[:, 1:]


def rows(seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Images as eight rows of eight pixels, and their labels."""
    images, labels = _DIGITS.batch(seed, step)
    return images.view(-1, 8, 8), labels


def images(seed: int, step: int) -> tuple[Tensor, Tensor]:
    pixels, labels = rows(seed, step)
    return pixels[:, None], labels


def pixel_values(seed: int, step: int) -> dict[str, Tensor]:
    pixels, labels = images(seed, step)
    return {"pixel_values": pixels, "labels": labels}


def noisy(seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Images with noise on them, and which of their pixels are bright."""
    pixels, _ = images(seed, step)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return pixels + torch.randn(pixels.shape, generator=generator), (pixels[:, 0] > 0).long()


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Over the last dimension, or over the second of images."""
    inputs, targets = batch
    logits = model(inputs)
    return F.cross_entropy(logits.transpose(1, 2) if logits.ndim == 3 else logits, targets)
