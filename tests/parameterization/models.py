"""Small models, data and training loops that the tests of this folder share."""

import random
from functools import partial

import numpy as np
import torch
from torch import nn

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
D_IN, D_OUT, VOCAB = 6, 3, 11


def mlp(width, bias=True):
    """input, hidden, output; with a hidden matrix that is not square."""
    return nn.Sequential(
        nn.Linear(D_IN, width, bias=bias),
        nn.Tanh(),
        nn.Linear(width, 4 * width, bias=bias),
        nn.Tanh(),
        nn.Linear(4 * width, D_OUT, bias=bias),
    )


def two_widths(width):
    """A residual-free transformer's MLP: d_model and d_ff grow on their own."""
    d_model, d_ff = width["d_model"], width["d_ff"]
    return nn.Sequential(
        nn.Linear(D_IN, d_model), nn.Tanh(), nn.Linear(d_model, d_ff), nn.Tanh(), nn.Linear(d_ff, d_model), nn.Tanh(),
        nn.Linear(d_model, D_OUT),
    )  # fmt: skip


def normal(build, std=0.02):
    """The same factory with every parameter drawn N(0, std), whatever its width: its init_mult is the rule's own."""

    def redrawn(width):
        model = build(width)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=std)
        return model

    return redrawn


def cnn(width, bias=True, norm=True):
    """Images 3x6x6 to D_OUT scores."""
    layers = [nn.Conv2d(3, width, 3, bias=bias), nn.Tanh(), nn.Conv2d(width, 2 * width, 3, bias=bias)]
    if norm:
        layers.append(nn.GroupNorm(1, 2 * width))
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(8 * width, D_OUT, bias=bias))


class TiedLM(nn.Module):
    """Tokens to logits, reading out with the embedding's own tensor."""

    def __init__(self, width, bias=False, head_first=False):
        super().__init__()
        if head_first:
            self.head = nn.Linear(width, VOCAB, bias=bias)
        self.embedding = nn.Embedding(VOCAB, width)
        self.hidden = nn.Linear(width, width, bias=bias)
        if not head_first:
            self.head = nn.Linear(width, VOCAB, bias=bias)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.hidden(self.embedding(tokens))))


class Dice(nn.Module):
    """A factory that draws from torch, numpy and Python alike."""

    def __init__(self, width):
        super().__init__()
        self.body = mlp(width)
        self.gain = nn.Parameter(torch.tensor(np.random.normal(size=width), dtype=torch.float32))  # noqa: NPY002
        self.offset = nn.Parameter(torch.tensor([random.gauss(0, 1) for _ in range(width)]))

    def forward(self, x):
        return self.body(x)


def random_state():
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()


def restore(state):
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(torch.tensor(state[2], dtype=torch.uint8))


def regression(n=16, shape=(D_IN,)):
    """Inputs and targets of the default dtype."""
    return torch.randn(n, *shape), torch.randn(n, D_OUT)


def losses(model, optimizer, x, y, steps=6):
    """Mean squared errors before each of ``steps`` full-batch steps, and after the last."""
    found = []
    for step in range(steps + 1):
        loss = (model(x) - y).square().mean()
        found.append(loss.item())
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return found
