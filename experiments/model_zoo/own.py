"""Models of the zoo that no library brings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 16


class Encoder(nn.Module):
    """Image rows through nn.TransformerEncoder to class scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.embed = nn.Linear(8, width)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.encoder(self.embed(x)).mean(1))


class RecurrentLM(nn.Module):
    """Tokens through a two-layer LSTM to next-token scores."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, 2, batch_first=True)
        self.readout = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.lstm(self.tokens(x))[0])


class RecurrentClassifier(nn.Module):
    """Image rows through a two-layer GRU, whose first input does not grow, to class scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(8, width, 2, batch_first=True)
        self.readout = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.gru(x)[0][:, -1])


class Residual(nn.Module):
    """relu(shortcut(x) + two convolutions of x), with batch norm."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.norm2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(inner)))


class ResNet(nn.Sequential):
    """Two stages, of ``width`` and twice ``width`` channels."""

    def __init__(self, width: int) -> None:
        stem = [nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        stages = [Residual(width, width, 1), Residual(width, 2 * width, 2)]
        super().__init__(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


class UNet(nn.Module):
    """One level down and up again with a skip; a convolution reads out two classes per pixel."""

    def __init__(self, width: int, groups: int = 4) -> None:
        super().__init__()

        def block(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1), nn.GroupNorm(groups, n_out), nn.SiLU())

        self.enter, self.down = block(1, width), block(width, 2 * width, stride=2)
        self.middle = block(2 * width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge = block(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enter(x)
        deep = self.up(self.middle(self.down(skip)))
        return self.head(self.merge(torch.cat([skip, deep], 1)))


class LatentBlock(nn.Module):
    """Pre-norm attention whose keys and values pass through ``rank`` numbers, as in multi-head latent attention."""

    def __init__(self, width: int, rank: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.down = nn.Linear(width, rank, bias=False)
        self.latent_norm = nn.RMSNorm(rank) if norm else nn.Identity()
        self.key, self.value = nn.Linear(rank, width, bias=False), nn.Linear(rank, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        latent = self.latent_norm(self.down(h))
        parts = (self.query(h), self.key(latent), self.value(latent))
        q, k, v = (part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class LatentGPT(nn.Module):
    """Two latent-attention blocks between an embedding and a readout."""

    def __init__(self, width: int, vocabulary: int, *, rank: int = 8, norm: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(LatentBlock(width, rank, norm), LatentBlock(width, rank, norm))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.norm(self.blocks(self.tokens(x))))
