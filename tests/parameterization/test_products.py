"""Attention without a softmax: where heads grow its logits are divided by their size too, if that can be proven."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.theory.rules import Role

BASE, WIDTH = 32, 128
M = WIDTH / BASE
X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def sigmoid(q, k, v, s):
    return torch.sigmoid(q @ k.mT * s) @ v


def linear(q, k, v, s):
    return q @ (k.mT @ v) * s


def quadratic(q, k, v, s):
    return (q @ k.mT * s) @ v


def causal(q, k, v, s):
    return ((q @ k.mT).tril() * 0.9 ** torch.arange(5.0) * s) @ v  # retention


def capped(q, k, v, s):
    return (20 * torch.tanh(q @ k.mT * s / 20)).softmax(-1) @ v


def squared(q, k, v, s):
    return torch.relu(q @ k.mT * s).square() @ v


def gated(q, k, v, s):
    return q @ (k.mT @ v) * s * torch.sigmoid(v)


def softmax_of_cosines(q, k, v, s):
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * 10).softmax(-1) @ v


def fused_cosines(q, k, v, s):
    return F.scaled_dot_product_attention(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, scale=10.0)


def normalised(q, k, v, s):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return q @ (k.mT @ v) / (q @ k.sum(-2, keepdim=True).mT)


class Attention(nn.Module):
    """Four heads that grow; ``power``: how the user's own scale falls with the size of a head."""

    def __init__(self, width, how, power=0.5, extra=1.0, shared=False):
        super().__init__()
        self.inward = nn.Linear(6, width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.head, self.how, self.shared = nn.Linear(width, 3), how, shared
        self.size = width // 4
        self.scale = extra * self.size**-power

    def forward(self, x):
        h = self.inward(x)
        q = self.q(h)
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in (q, q if self.shared else self.k(h), self.v(h)))
        return self.head(torch.tanh(self.out(self.how(q, k, v, float(self.scale)).transpose(1, 2).flatten(2))))


class Written(Attention):
    """The scale is a number in the code, that no attribute reaches."""

    def __init__(self, width, how, power=0.5, extra=1.0):
        super().__init__(width, how, power, extra)
        self.scale = str(self.scale)


def sites(plan):
    return {path: site for path, site in plan.sites.items() if site.kind is SiteKind.ATTENTION_LOGITS}


FORMS = [sigmoid, linear, quadratic, causal, capped, squared, gated]


@pytest.mark.parametrize("kind", [Attention, Written])
@pytest.mark.parametrize("how", FORMS)
def test_the_logits_of_attention_without_a_softmax_are_multiplied_exactly(how, kind):
    """The wrapped model computes what the model computes whose own scale falls like 1/d, with no factor of ours."""
    plan = Plan.infer(lambda w: kind(w, how), width=WIDTH, base_width=BASE, example=X, check=False)
    assert [site.factor for site in sites(plan).values()] == [pytest.approx(M**-0.5)]
    right = Plan.infer(
        lambda w: kind(w, how, 1.0, (BASE // 4) ** 0.5), width=WIDTH, base_width=BASE, example=X, check=False
    )
    assert not sites(right)
    outputs = []
    for found, power, extra in ((plan, 0.5, 1.0), (right, 1.0, (BASE // 4) ** 0.5)):
        torch.manual_seed(0)
        outputs.append(apply(kind(WIDTH, how, power, extra), found)(X))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", [normalised, softmax_of_cosines, fused_cosines])
def test_logits_that_do_not_grow_are_left_alone(how):
    """Vectors of length 1, whose product is bounded; and a product that is divided by its own sum."""
    assert not sites(Plan.infer(lambda w: Attention(w, how), width=WIDTH, base_width=BASE, example=X, check=False))


def test_a_learned_temperature_on_cosines_is_no_attention_without_a_softmax():
    class Tempered(Attention):
        def __init__(self, width):
            super().__init__(width, self.cosines)
            self.temperature = nn.Parameter(torch.full((4, 1, 1), 2.0))

        def cosines(self, q, k, v, s):
            product = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
            return (product * self.temperature.exp()).softmax(-1) @ v

    assert not sites(Plan.infer(Tempered, width=WIDTH, base_width=BASE, example=X, check=False))


def test_the_standard_parameterization_divides_by_the_root_of_the_size():
    build = lambda w: Written(w, sigmoid, 0.0)  # noqa: E731
    for table, exponent in (("mup", 1.0), ("sp", 0.5)):
        found = sites(Plan.infer(build, width=WIDTH, base_width=BASE, example=X, parameterization=table, check=False))
        assert [site.factor for site in found.values()] == [pytest.approx(M**-exponent)]


class Towers(nn.Module):
    """Two encoders, of which the product is handed out; its factor is the user's."""

    def __init__(self, width, factor):
        super().__init__()
        self.left, self.right = (
            nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width)) for _ in range(2)
        )
        self.factor = factor

    def forward(self, x):
        return self.left(x[0]) @ self.right(x[1]).mT * self.factor


@pytest.mark.parametrize(("power", "factor"), [(0.0, 1 / M), (-0.5, M**-0.5), (-1.0, None)])
def test_the_product_of_two_towers_is_divided_by_their_size(power, factor):
    plan = Plan.infer(lambda w: Towers(w, (w / BASE) ** power), width=WIDTH, base_width=BASE, example=X, check=False)
    assert [s.factor for s in sites(plan).values()] == ([] if factor is None else [pytest.approx(factor)])


def test_a_product_that_nothing_multiplies_alone_is_warned_of():
    with pytest.warns(UserWarning, match="sums over a dimension that grows, no softmax follows, and nothing outside"):
        plan = Plan.infer(lambda w: Bare(w), width=WIDTH, base_width=BASE, example=X, check=False)
    assert not sites(plan)


class Bare(nn.Module):
    """Queries are keys and values too."""

    def __init__(self, width):
        super().__init__()
        self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)

    def forward(self, x):
        h = self.inward(x)
        return self.head(torch.sigmoid(h @ h.mT) @ h)


@pytest.mark.parametrize("bias", [True, False])
def test_a_weight_that_is_made_of_a_buffer_is_no_activation(bias):
    """torch's orthogonal matrices are products of a buffer and of what is made of the parameter."""

    def build(width):
        inner = nn.utils.parametrizations.orthogonal(nn.Linear(width, width, bias=bias))
        return nn.Sequential(nn.Linear(6, width), nn.Tanh(), inner, nn.Tanh(), nn.Linear(width, 3))

    plan = Plan.infer(build, width=WIDTH, base_width=BASE, example=X, check=False)
    assert not sites(plan)
    assert plan["2.parametrizations.weight.original"].role is Role.HIDDEN


def test_a_product_with_a_buffer_is_no_attention():
    class Fixed(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)
            self.register_buffer("mixing", torch.eye(width).flip(0))

        def forward(self, x):
            return self.head(torch.tanh(self.inward(x) @ self.mixing))

    assert not sites(Plan.infer(Fixed, width=WIDTH, base_width=BASE, example=X, check=False))
