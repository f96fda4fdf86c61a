"""Small models, each with a way of its own to use parameters, and inputs that they take."""

import torch
from torch import nn


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.readout = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.readout(self.inner(x)[0][:, -1])


class Packed(nn.Module):
    """nn.MultiheadAttention with three different inputs; inside, time comes before examples."""

    def __init__(self, **options):
        super().__init__()
        self.attention, self.readout = nn.MultiheadAttention(4, 2, batch_first=True, **options), nn.Linear(4, 2)

    def forward(self, x):
        return self.readout(self.attention(x, torch.tanh(x), 2 * x)[0].mean(1))


class TimeFirst(nn.Module):
    """A transformer whose examples are along the second dimension."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0)
        self.inner, self.readout = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(4, 2)

    def forward(self, x):
        return self.readout(self.inner(x.transpose(0, 1)).mean(0))


class Tokens(nn.Module):
    """Token and position tables, a class token, a tied readout, one layer used twice, bare parameters of all kinds."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(9, 6, padding_idx=3), nn.Embedding(7, 6)
        self.mix, self.square = nn.Linear(6, 6), nn.Parameter(torch.randn(6, 6))
        self.gain, self.temperature = nn.Parameter(torch.randn(6)), nn.Parameter(torch.tensor(1.3))
        self.first, self.shift = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 5, 6))

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1])) + self.shift[:, : tokens.shape[1]]
        x = torch.cat([self.first.expand(len(tokens), -1, -1), x], 1)
        x = torch.tanh(self.mix(x))
        x = torch.tanh(self.mix(x @ self.square.t())) * self.gain
        x = x @ self.square + x / (1 + self.gain**2)
        return (x @ self.tokens.weight.t())[:, -1, :3] / self.temperature


class Squared(torch.autograd.Function):
    """x * w**2, out of sight of function modes and without a rule for vmap."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w**2

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        return gradient * w**2, (2 * gradient * x * w).sum(0)


class Hidden(nn.Module):
    """One weight is used twice: where it can be seen, and where it cannot."""

    def __init__(self):
        super().__init__()
        self.weight, self.readout = nn.Parameter(torch.randn(5)), nn.Linear(5, 2)
        self.experts = nn.Parameter(torch.randn(3, 5, 5))

    def forward(self, x):
        routed = torch.einsum("ni,eij->nj", x, self.experts)
        return self.readout(Squared.apply(torch.tanh(x * self.weight), self.weight) + routed)


class Overwriting(nn.Module):
    """Data of a layer is overwritten after its use; the layer's own gradient cannot then be formed from it."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        with torch.no_grad():
            x = x.clone()
        gate = self.one(x)
        return self.two(gate.relu_())


class Routed(nn.Module):
    """Each example goes through one of two layers: operations depend on data."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(5, 2) for _ in range(2))

    def forward(self, x):
        out = x.new_zeros(len(x), 2)
        for i, expert in enumerate(self.experts):
            chosen = (x[:, 0] > 0) == bool(i)
            if chosen.any():
                out[chosen] = expert(x[chosen])
        return out


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
        nn.GroupNorm(2, 4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2, padding=2),
        nn.BatchNorm2d(6),
        nn.PReLU(6),
        nn.Conv2d(6, 6, (3, 1), groups=6, padding="same"),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    ).eval()


def one_dimensional():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding_mode="reflect", padding=1, bias=False),
        nn.Tanh(),
        nn.ConvTranspose1d(4, 2, 2),
        nn.InstanceNorm1d(2, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(18, 2),
    )


def reparametrized():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
    return nn.Sequential(normed, nn.Tanh(), nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 2))


def perceptron():
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.LayerNorm(7), nn.Linear(7, 3))


# name: (factory, inputs); the number of examples equals the time in some, so that the two could be confused
MODELS = {
    "perceptron": (perceptron, lambda: torch.randn(5, 5)),
    "rms norm": (lambda: nn.Sequential(nn.Linear(5, 4), nn.RMSNorm(4), nn.Linear(4, 2)), lambda: torch.randn(4, 5)),
    "convolutions": (convolutional, lambda: torch.randn(3, 2, 9, 9)),
    "one dimension": (one_dimensional, lambda: torch.randn(4, 2, 8)),
    "three dimensions": (
        lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)),
        lambda: torch.randn(3, 1, 3, 3, 3),
    ),
    "tokens": (Tokens, lambda: torch.randint(0, 9, (5, 4))),
    "tokens, as many as examples": (Tokens, lambda: torch.randint(0, 9, (4, 4))),
    "attention": (Packed, lambda: torch.randn(3, 5, 4)),
    "attention, added keys": (lambda: Packed(add_bias_kv=True), lambda: torch.randn(5, 5, 4)),
    "time first": (TimeFirst, lambda: torch.randn(3, 4, 4)),
    "time first, in eval": (lambda: TimeFirst().eval(), lambda: torch.randn(4, 4, 4)),
    "recurrent": (Recurrent, lambda: torch.randn(3, 4, 4)),
    "reparametrized": (reparametrized, lambda: torch.randn(4, 5)),
    "hidden": (Hidden, lambda: torch.randn(4, 5)),
    "overwriting": (Overwriting, lambda: torch.randn(4, 5)),
    "routed": (Routed, lambda: torch.randn(6, 5)),
}
