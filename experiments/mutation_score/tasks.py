"""Variants of the built-in tasks, in which every mistake finds a place: tied embeddings, growing heads, bottlenecks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from mutransfer.training.models.gpt import GPT
from mutransfer.training.models.mlp import Flatten
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import VOCABULARY, SourceBytesGPT


@dataclass(frozen=True, kw_only=True)
class TaperedDigits(DigitsMLP):
    """Two hidden layers of which the second grows like the root of the first, so that fan_in and fan_out differ."""

    def build(self, width: int, /) -> nn.Module:
        return _relu_network(64, width, round(8 * math.sqrt(width)), 10)


@dataclass(frozen=True, kw_only=True)
class BottleneckDigits(DigitsMLP):
    """A layer of 16 units, at every width, between two that grow."""

    def build(self, width: int, /) -> nn.Module:
        return _relu_network(64, width, 16, width, 10)


@dataclass(frozen=True, kw_only=True)
class TiedGPT(SourceBytesGPT):
    """The readout's weight is the embedding's."""

    def build(self, width: int, /) -> nn.Module:
        model = super().build(width)
        model.readout.weight = model.tokens.weight
        return model


@dataclass(frozen=True, kw_only=True)
class GrowingHeadsGPT(SourceBytesGPT):
    """Four heads at every width, so that their size grows."""

    def build(self, width: int, /) -> nn.Module:
        return GPT(width, vocabulary=VOCABULARY, context=self.context, layers=self.layers, head_size=width // 4)


def _relu_network(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = [Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
