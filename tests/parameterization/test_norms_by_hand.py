"""Norms that are written in a forward: whether a factor behind one makes anything grow is a matter of sizes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer import apply
from mutransfer.parameterization.plan import Plan

BASE, WIDTH = 16, 128
M = WIDTH / BASE
X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """``norm(h, gain, width)`` stands before a hidden layer."""

    def __init__(self, width, norm):
        super().__init__()
        self.inward, self.hidden, self.head = nn.Linear(6, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.gain, self.norm, self.width = nn.Parameter(torch.ones(width)), norm, width

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.norm(torch.relu(self.inward(x)), self.gain, self.width))))


def length(h):
    return h.norm(dim=-1, keepdim=True)


def grouped(h, g, d):
    return F.normalize(h.unflatten(-1, (4, -1)), dim=-1).flatten(-2) * g * (d / 4) ** 0.5


# By the power of the width with which the entries that the hidden layer reads grow.
NORMS = {
    "gain before the factor": (0, lambda h, g, d: F.normalize(h, dim=-1) * g * d**0.5),
    "gain after the factor": (0, lambda h, g, d: F.normalize(h, dim=-1) * d**0.5 * g),
    "gain on the left": (0, lambda h, g, d: g * F.normalize(h, dim=-1) * d**0.5),
    "gain holds the factor": (0, lambda h, g, d: F.normalize(h, dim=-1) * (g * d**0.5)),
    "one plus the gain": (0, lambda h, g, d: F.normalize(h, dim=-1) * (1 + g) * d**0.5),
    "divided by its length": (0, lambda h, g, d: h / length(h) * g * d**0.5),
    "in place": (0, lambda h, g, d: h.clone().div_(length(h)) * g * d**0.5),
    "times a root": (0, lambda h, g, d: h * torch.rsqrt(h.square().sum(-1, keepdim=True) + 1e-6) * g * d**0.5),
    "factor in the length": (0, lambda h, g, d: h / (length(h) / d**0.5) * g),
    "a third of it": (0, lambda h, g, d: h / (3 * length(h)) * g * d**0.5),
    "in groups": (0, grouped),
    "sum of absolutes": (0, lambda h, g, d: h / h.abs().sum(-1, keepdim=True) * g * d),
    "a softmax": (0, lambda h, g, d: h.softmax(-1) * g * d),
    "over the batch": (0, lambda h, g, d: F.normalize(h, dim=0) * g),
    "all at once": (0, lambda h, g, d: h / h.norm() * d**0.5),
    "with a bias": (0, lambda h, g, d: F.normalize(h, dim=-1) * g * d**0.5 + g),
    "mean of squares": (0, lambda h, g, d: h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6) * g),
    "a gate is no norm": (0, lambda h, g, d: h * torch.sigmoid(h.mean(-1, keepdim=True)) * g),
    "length one": (-0.5, lambda h, g, d: F.normalize(h, dim=-1) * g),
    "too much": (0.5, lambda h, g, d: F.normalize(h, dim=-1) * g * d),
    "no norm": (0.5, lambda h, g, d: h * d**0.5),
    "no norm, with a gain": (0.5, lambda h, g, d: torch.tanh(h) * d**0.5 * g),
    "too much in the length": (0.5, lambda h, g, d: h / (length(h) / d) * g),
    "torch's norm": (0.5, lambda h, g, d: F.layer_norm(h, (d,)) * g * d**0.5),
}


@pytest.mark.parametrize("case", NORMS)
def test_the_size_of_the_result_decides_whether_a_factor_makes_it_grow(case):
    power, norm = NORMS[case]
    build = lambda w: Net(w, norm)  # noqa: E731
    own = M**power
    for name in ("mup", "ntk", "mf"):
        plan = Plan.infer(build, width=WIDTH, base_width=BASE, example=X, parameterization=name, check=False)
        plain = Plan.infer(
            lambda w: Net(w, lambda h, g, d: h), width=WIDTH, base_width=BASE, parameterization=name, check=False
        )
        assert plan["hidden.weight"].own_mult == pytest.approx(own, rel=1e-4)
        made_up = lambda s: (s.init_mult * s.forward_mult, s.lr_mult * s.forward_mult)  # noqa: E731
        expected = [x / own for x in made_up(plain["hidden.weight"])]
        assert made_up(plan["hidden.weight"]) == pytest.approx(expected, rel=1e-4)
        for other in ("inward.weight", "gain", "head.weight"):
            assert plan[other].own_mult == pytest.approx(1)
            assert plan[other].lr_mult == pytest.approx(plain[other].lr_mult)


@pytest.mark.parametrize("case", [name for name, (power, _) in NORMS.items() if power])
def test_what_the_hidden_layer_puts_out_keeps_its_size(case):
    _, norm = NORMS[case]
    sizes = []
    for width in (128, 1024):
        plan = Plan.infer(lambda w: Net(w, norm), width=width, base_width=128, example=X, check=False)
        torch.manual_seed(0)
        model, seen = apply(Net(width, norm), plan), []
        nn.init.zeros_(model.hidden.bias)
        model.hidden.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out))
        model(X)
        sizes.append(seen[0].square().mean().sqrt().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)


def test_a_gain_makes_up_for_its_own_factor_where_nothing_was_normed():
    plan = Plan.infer(
        lambda w: Net(w, lambda h, g, d: torch.tanh(h) * (g * d**0.5)), width=WIDTH, base_width=BASE, check=False
    )
    assert plan["gain"].own_mult == pytest.approx(M**0.5)
    assert plan["hidden.weight"].own_mult == 1


def test_a_normed_vector_with_a_gain_shrinks_a_product_too():
    """Logits of normed queries and keys, by hand: what shrinks is counted once, with a gain or without."""

    class Cosine(nn.Module):
        def __init__(self, width, gain):
            super().__init__()
            self.inward, self.out = nn.Linear(6, width), nn.Linear(width, 3)
            self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)
            self.gain = nn.Parameter(torch.ones(width)) if gain else 1.0

        def forward(self, x):
            h = torch.tanh(self.inward(x))
            q, k = F.normalize(self.q(h), dim=-1) * self.gain, F.normalize(self.k(h), dim=-1) * self.gain
            return self.out(torch.softmax(10 * q @ k.mT, -1) @ h)

    for gain in (False, True):
        plan = Plan.infer(lambda w, g=gain: Cosine(w, g), width=WIDTH, base_width=BASE, example=X, check=False)
        assert not plan.sites
