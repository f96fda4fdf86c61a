"""Variants of the built-in tasks, in which every mistake finds a place: tied weights, BatchNorm, mixtures, states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

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


@dataclass(frozen=True, kw_only=True)
class NormedDigits(DigitsMLP):
    """A BatchNorm behind every hidden layer, which has a bias that it takes out again."""

    def build(self, width: int, /) -> nn.Module:
        layers: list[nn.Module] = [Flatten()]
        for fan_in in (64, width):
            layers += [nn.Linear(fan_in, width), nn.BatchNorm1d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 10))


@dataclass(frozen=True, kw_only=True)
class ConvolutionalDigits(DigitsMLP):
    """Two convolutions with a BatchNorm behind each."""

    def build(self, width: int, /) -> nn.Module:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
        for channels in (1, width):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@dataclass(frozen=True, kw_only=True)
class MixtureDigits(DigitsMLP):
    """Four experts, all of which every example goes through."""

    def build(self, width: int, /) -> nn.Module:
        return Mixture(width)


@dataclass(frozen=True, kw_only=True)
class RoutedDigits(DigitsMLP):
    """Four experts, of which an example goes through the likeliest."""

    def build(self, width: int, /) -> nn.Module:
        return RoutedMixture(width)


@dataclass(frozen=True, kw_only=True)
class RecurrentDigits(DigitsMLP):
    """The rows of an image one after the other."""

    def build(self, width: int, /) -> nn.Module:
        return Recurrent(width)


@dataclass(frozen=True, kw_only=True)
class GatedDigits(DigitsMLP):
    """The rows of an image through torch's GRU."""

    def build(self, width: int, /) -> nn.Module:
        return Gated(width)


class Mixture(nn.Module):
    """Experts between two layers, added to what they read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.gate = nn.Linear(64, width), nn.Linear(width, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(4)
        )
        self.readout = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        h = torch.relu(self.first(images.flatten(1)))
        return self.readout(h + self.mixed(h, self.gate(h).softmax(-1)))

    def mixed(self, h: Tensor, shares: Tensor) -> Tensor:
        return sum((expert(h) * shares[:, i : i + 1] for i, expert in enumerate(self.experts)), torch.zeros_like(h))


class RoutedMixture(Mixture):
    """Only the likeliest expert is run."""

    def mixed(self, h: Tensor, shares: Tensor) -> Tensor:
        out = torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            rows = (shares.argmax(-1) == i).nonzero().flatten()
            out = out.index_add(0, rows, expert(h[rows]) * shares[rows, i : i + 1])
        return out


class Recurrent(nn.Module):
    """A state that reads a row of 8 numbers at a time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.recur, self.readout = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        state = images.new_zeros(len(images), self.recur.in_features)
        for row in images.view(len(images), 8, 8).unbind(1):
            state = torch.tanh(self.read(row) + self.recur(state))
        return self.readout(state)


class Gated(nn.Module):
    """A GRU and a readout of its last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell, self.readout = nn.GRU(8, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.readout(self.cell(images.view(len(images), 8, 8))[0][:, -1])


def _relu_network(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = [Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
