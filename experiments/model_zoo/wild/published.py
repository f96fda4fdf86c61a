"""Published architectures written down by hand, as their papers or first code have them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.model_zoo.wild.check import Row
from experiments.model_zoo.wild.packages import guess, tokens
from experiments.model_zoo.wild.text import VOCABULARY

CLASSES = 8


class WaveNet(nn.Module):
    """Dilated causal convolutions with gates, residuals and skips (van den Oord et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.filters = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.gates = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))
        self.end = nn.Conv1d(width, width, 1)
        self.out = nn.Conv1d(width, VOCABULARY, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, total = self.tokens(x).transpose(1, 2), 0.0
        for i, layers in enumerate(zip(self.filters, self.gates, self.residuals, self.skips, strict=True)):
            f, g, residual, skip = layers
            padded = F.pad(h, (2**i, 0))
            z = torch.tanh(f(padded)) * torch.sigmoid(g(padded))
            total, h = total + skip(z), h + residual(z)
        return self.out(F.relu(self.end(F.relu(total)))).transpose(1, 2)


class TemporalBlock(nn.Module):
    """Two dilated convolutions under weight norm (Bai et al. 2018)."""

    def __init__(self, n_in: int, n_out: int, dilation: int) -> None:
        super().__init__()
        norm = torch.nn.utils.parametrizations.weight_norm
        self.pad = (2 * dilation, 0)
        self.conv1 = norm(nn.Conv1d(n_in, n_out, 3, dilation=dilation))
        self.conv2 = norm(nn.Conv1d(n_out, n_out, 3, dilation=dilation))
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv2(F.pad(F.relu(self.conv1(F.pad(x, self.pad))), self.pad)))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class TCN(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(TemporalBlock(6, width, 1), TemporalBlock(width, width, 2))
        self.linear = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.network(x)[:, :, -1])


class DLRM(nn.Module):
    """Dense features and embeddings, their dot products, and an MLP on top (Naumov et al. 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(20, width, mode="sum") for _ in range(3))
        self.bottom = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(width + 6, width), nn.ReLU(), nn.Linear(width, CLASSES))

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        x = self.bottom(dense)
        all_of_them = torch.stack([x, *(t(sparse[:, i : i + 1]) for i, t in enumerate(self.tables))], 1)
        products = all_of_them @ all_of_them.transpose(1, 2)
        rows, columns = torch.tril_indices(4, 4, -1)
        return self.top(torch.cat([x, products[:, rows, columns]], 1))


class NeRF(nn.Module):
    """Encoded positions with a skip in the middle, density and colour (Mildenhall et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        n = 3 + 2 * 3 * 4
        self.first = nn.ModuleList([nn.Linear(n, width), nn.Linear(width, width), nn.Linear(width + n, width)])
        self.density, self.feature = nn.Linear(width, 1), nn.Linear(width, width)
        self.view, self.colour = nn.Linear(width + 3, width // 2), nn.Linear(width // 2, 3)

    def forward(self, x: Tensor, direction: Tensor) -> Tensor:
        encoded = torch.cat([x, *(f(2**i * x) for i in range(4) for f in (torch.sin, torch.cos))], -1)
        h = encoded
        for i, layer in enumerate(self.first):
            h = F.relu(layer(torch.cat([encoded, h], -1) if i == 2 else h))
        colour = self.colour(F.relu(self.view(torch.cat([self.feature(h), direction], -1))))
        return torch.cat([colour, self.density(h)], -1)


class TabTransformer(nn.Module):
    """Columns embedded and mixed by attention, beside normed numbers, into an MLP (Huang et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.columns = nn.Embedding(60, width)
        layer = nn.TransformerEncoderLayer(width, width // 8, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(6)
        self.mlp = nn.Sequential(nn.Linear(3 * width + 6, 4 * width), nn.ReLU(), nn.Linear(4 * width, CLASSES))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        offsets = torch.arange(3) * 20
        mixed = self.encoder(self.columns(categories + offsets)).flatten(1)
        return self.mlp(torch.cat([mixed, self.norm(numbers)], 1))


class FTTransformer(nn.Module):
    """Every number a token of its own, a class token in front, pre-norm blocks (Gorishniy et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(6, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(6, width).uniform_(-bound, bound))
        self.cls = nn.Parameter(torch.empty(width).uniform_(-bound, bound))
        layer = nn.TransformerEncoderLayer(width, width // 8, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        h = numbers[:, :, None] * self.weight + self.bias
        h = torch.cat([self.cls.expand(len(h), 1, -1), h], 1)
        return self.head(F.relu(self.norm(self.blocks(h)[:, 0])))


class RecurrentLM(nn.Module):
    """Tokens through a recurrent layer of torch, scores tied to the embedding (Merity et al. 2018)."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.rnn = getattr(nn, kind)(width, width, 2, batch_first=True)
        self.decoder = nn.Linear(width, VOCABULARY)
        self.decoder.weight = self.tokens.weight
        nn.init.uniform_(self.tokens.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.rnn(self.tokens(x))[0])


class MinGRU(nn.Module):
    """A recurrence without its state in the gates, by a loop (Feng et al. 2024)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.gate, self.candidate = nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        e = self.tokens(x)
        z, candidate = self.gate(e).sigmoid(), self.candidate(e)
        h, states = torch.zeros_like(e[:, 0]), []
        for t in range(x.shape[1]):
            h = (1 - z[:, t]) * h + z[:, t] * candidate[:, t]
            states.append(h)
        return self.out(torch.stack(states, 1))


class PointNet(nn.Module):
    """Shared layers by point, a maximum over points, an MLP (Qi et al. 2017), without its small networks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [3, width, width, 4 * width]
        layers = [x for a, b in pairwise(sizes) for x in (nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU())]
        self.points = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(4 * width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(), nn.Linear(2 * width, CLASSES)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.points(x).amax(2))


class Siren(nn.Module):
    """Sines with their own initialisation (Sitzmann et al. 2020)."""

    def __init__(self, width: int, omega: float = 30.0) -> None:
        super().__init__()
        self.omega = omega
        self.layers = nn.ModuleList([nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, width)])
        self.out = nn.Linear(width, CLASSES)
        for i, layer in enumerate([*self.layers, self.out]):
            bound = 1 / layer.in_features if i == 0 else math.sqrt(6 / layer.in_features) / omega
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(self.omega * layer(x))
        return self.out(x)


class Highway(nn.Module):
    """Carry gates that start closed (Srivastava et al. 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(6, width)
        self.plain = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.leave = nn.Linear(width, CLASSES)
        for gate in self.gates:
            nn.init.constant_(gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for plain, gate in zip(self.plain, self.gates, strict=True):
            t = gate(h).sigmoid()
            h = t * F.relu(plain(h)) + (1 - t) * h
        return self.leave(h)


def _series(generator: torch.Generator) -> Tensor:
    return torch.randn(8, 6, 16, generator=generator)


def _numbers(generator: torch.Generator) -> Tensor:
    return torch.randn(16, 6, generator=generator)


def _table(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return _numbers(generator), torch.randint(0, 20, (16, 3), generator=generator)


def _rays(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(32, 3, generator=generator), F.normalize(torch.randn(32, 3, generator=generator), dim=-1)


def _points(generator: torch.Generator) -> Tensor:
    return torch.randn(8, 3, 20, generator=generator)


def _positions(generator: torch.Generator) -> Tensor:
    return torch.rand(64, 2, generator=generator) * 2 - 1


def _row(build: Any, inputs: Any, **more: Any) -> Row:
    return Row(build=build, inputs=inputs, loss=guess, source="written down", **more)


PUBLISHED: dict[str, Row] = {
    "wavenet": _row(WaveNet, tokens),
    "tcn": _row(TCN, _series),
    "dlrm": _row(DLRM, _table),
    "nerf": _row(NeRF, _rays),
    "tab-transformer": _row(TabTransformer, _table),
    "ft-transformer": _row(FTTransformer, _table),
    "awd-lstm": _row(lambda w: RecurrentLM("LSTM", w), tokens),
    "tied-gru": _row(lambda w: RecurrentLM("GRU", w), tokens),
    "min-gru": _row(MinGRU, tokens),
    "pointnet": _row(PointNet, _points),
    "siren": _row(Siren, _positions, lr={"adamw": 2.0**-12, "sgd": 2.0**-8}),
    "highway": _row(Highway, _numbers),
}
