"""Attention as people write it: sums of products, queries used elsewhere, temperatures, cosines, over channels."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping
from mutransfer.parameterization.tracing.run_traced import outputs_under, trace
from mutransfer.parameterization.wrapping.apply import apply

BASE, WIDTH = 32, 128
M = WIDTH / BASE
X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def sites(plan):
    return {path: site for path, site in plan.sites.items() if site.kind is SiteKind.ATTENTION_LOGITS}


def multiplied(build, products, power=0.5, table="mup", example=X):
    """The sites of a plan, which do to a model what m^-power on these products does, by number, and nothing else."""
    plan = Plan.infer(build, width=WIDTH, base_width=BASE, parameterization=table, example=example)
    found = sites(plan)
    assert all(site.factor == pytest.approx(M**-power) for site in found.values())
    plain, wrapped = ((torch.manual_seed(1), build(WIDTH))[1] for _ in range(2))
    untouched = {name: replace(s, init_mult=1.0, forward_mult=1.0) for name, s in plan.items()}
    apply(wrapped, replace(plan, scalings=untouched, sites=found, fresh_rms={}))
    wanted = outputs_under(Bookkeeping(plain, dict.fromkeys(products, M**-power)), plain, example)
    for one, other in zip(wanted, outputs_under(Bookkeeping(wrapped), wrapped, example), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    return {path: str(site.mechanism) for path, site in found.items()}


class Layer(nn.Module):
    """Four heads that grow in a model of one layer; ``how`` computes with queries, keys, values and the layer."""

    def __init__(self, width, how, **more):
        super().__init__()
        self.size, self.how = width // 4, how
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        for name, module in more.items():
            setattr(self, name, module)

    def heads(self, x):
        return x.unflatten(-1, (4, -1)).transpose(-3, -2)

    def forward(self, h):
        return self.how(self, h, *(self.heads(f(h)) for f in (self.q, self.k, self.v)))

    def merged(self, x):
        return self.out(x.transpose(-3, -2).flatten(-2))


class Net(nn.Module):
    def __init__(self, width, how, **more):
        super().__init__()
        self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.attention = Layer(width, how, **{name: make(width) for name, make in more.items()})

    def forward(self, x):
        return self.head(torch.tanh(self.attention(self.inward(x))))


def net(how, **more):
    def build(width):
        return Net(width, how, **more)

    build.__name__ = how.__name__
    return build


# Sums of products -----------------------------------------------------------------------------------------------------


def positions(layer, name):
    return layer.heads(getattr(layer, name)(torch.sin(torch.arange(30.0)).view(5, 6)))


def disentangled(layer, h, q, k, v):
    scale = (3 * layer.size) ** -0.5
    qp, kp = positions(layer, "qp"), positions(layer, "kp")
    logits = q @ k.mT * scale
    logits = logits + q @ kp.mT * scale
    logits += qp @ k.mT * scale
    return layer.merged(logits.softmax(-1) @ v)


def transformer_xl(layer, h, q, k, v):
    r = positions(layer, "r")
    logits = (q + layer.u) @ k.mT + (q + layer.w) @ r.mT
    return layer.merged((logits.div(layer.size**0.5).tril() - 1e9 * (1 - torch.ones(5, 5).tril())).softmax(-1) @ v)


class Scores(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.kp = nn.Linear(6, width)

    def forward(self, q):
        kp = self.kp(torch.sin(torch.arange(30.0)).view(5, 6)).unflatten(-1, (4, -1)).transpose(0, 1)
        return torch.einsum("bhid,hjd->bhij", q, kp) * q.shape[-1] ** -0.5


def with_a_submodule(layer, h, q, k, v):
    logits = torch.baddbmm(layer.scores(q).flatten(0, 1), q.flatten(0, 1), k.mT.flatten(0, 1), alpha=layer.size**-0.5)
    return layer.merged(logits.unflatten(0, (-1, 4)).softmax(-1) @ v)


def by_the_mask(layer, h, q, k, v):
    bias = q @ positions(layer, "kp").mT * layer.size**-0.5
    return layer.merged(F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


def memory(layer, h, q, k, v):
    km, vm = positions(layer, "kp").expand_as(k), positions(layer, "vp").expand_as(v)
    logits = torch.cat([q @ k.mT, q @ km.mT], -1) / layer.size**0.5
    return layer.merged(logits.softmax(-1) @ torch.cat([v, vm], -2))


class Table(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 100).view(4, 5, 5))


def relative_bias(layer, h, q, k, v):
    return layer.merged((q @ k.mT * layer.size**-0.5 + layer.bias.table).softmax(-1) @ v)


def biased_before_the_scale(layer, h, q, k, v):
    return layer.merged(((q @ k.mT + layer.bias.table * layer.size**0.5) * layer.size**-0.5).softmax(-1) @ v)


def vector(width):
    return nn.Parameter(torch.full((4, 1, width // 4), 0.5))


def project(width):
    return nn.Linear(6, width)


@pytest.mark.parametrize(
    ("build", "products", "mechanisms"),
    [
        (net(disentangled, qp=project, kp=project), (0, 1, 2), {"q": "output", "qp": "output"}),
        (net(transformer_xl, r=project, u=vector, w=vector), (0, 1), {"k": "output", "r": "output"}),
        (net(with_a_submodule, scores=Scores), (0, 1), {"q": "output"}),
        (net(by_the_mask, kp=project), (0, 1), {"q": "output"}),
        (net(memory, kp=project, vp=project), (0, 1), {"q": "output"}),
        (net(relative_bias, bias=Table), (0,), {"q": "output"}),
        (net(biased_before_the_scale, bias=Table), (0,), {"q": "output"}),
    ],
)
def test_every_product_that_reaches_the_softmax_gets_its_factor(build, products, mechanisms):
    assert multiplied(build, products) == {f"attention.{path}": on for path, on in mechanisms.items()}
    assert multiplied(build, (), 0.0, "sp") == multiplied(build, (), 0.0, "ntk") == {}
    assert multiplied(build, products, table="mf") == {f"attention.{path}": on for path, on in mechanisms.items()}


def test_debertas_three_products_are_all_scaled():
    def build(width):
        config = transformers.DebertaV2Config(
            hidden_size=width, num_attention_heads=4, intermediate_size=64, num_hidden_layers=1, vocab_size=64,
            relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=4, max_relative_positions=8,
            attn_implementation="eager",
        )  # fmt: skip
        return transformers.DebertaV2Model(config)

    example = {"input_ids": torch.tensor([[1, 5, 7, 2, 9, 4], [3, 3, 8, 1, 6, 0]])}
    found = multiplied(build, (0, 1, 2), example=example)
    assert len(found) in (1, 2, 3)


def test_a_sum_of_which_one_product_cannot_be_reached_is_refused_by_name():
    def how(layer, h, q, k, v):
        own = layer.heads(h)
        return layer.merged((((q @ k.mT) + own @ own.mT) / layer.size**0.5).softmax(-1) @ (v + own))

    with pytest.raises(
        ClassificationError, match=r"heads of attention grow .* logits, 2 products of queries and keys, "
    ):
        Plan.infer(net(how), width=WIDTH, base_width=BASE, example=X)


def test_a_product_over_a_dimension_that_does_not_grow_is_left_alone_in_a_sum():
    def how(layer, h, q, k, v):
        small = layer.heads(layer.small(h))
        return layer.merged((q @ k.mT / layer.size**0.5 + small @ small.mT).softmax(-1) @ v)

    assert multiplied(net(how, small=lambda w: nn.Linear(w, 8)), (0,)) == {"attention.q": "output"}
