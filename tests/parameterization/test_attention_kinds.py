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
    plan = Plan.infer(build, width=WIDTH, base_width=BASE, parameterization=table, example=example, check=False)
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


# Sums of products


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


@pytest.mark.parametrize(("table", "power"), [("mf", 0.5), ("ntk", 0.0), ("sp", 0.0)])
def test_of_a_sum_other_tables_scale_what_they_scale_of_one_product(table, power):
    build = net(disentangled, qp=project, kp=project)
    assert bool(multiplied(build, (0, 1, 2) if power else (), power, table)) is bool(power)


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
        Plan.infer(net(how), width=WIDTH, base_width=BASE, example=X, check=False)


def test_a_product_over_a_dimension_that_does_not_grow_is_left_alone_in_a_sum():
    def how(layer, h, q, k, v):
        small = layer.heads(layer.small(h))
        return layer.merged((q @ k.mT / layer.size**0.5 + small @ small.mT).softmax(-1) @ v)

    assert multiplied(net(how, small=lambda w: nn.Linear(w, 8)), (0,)) == {"attention.q": "output"}


# What a multiplier reaches beside the logits


def soft(layer, q, k, v, scale=None):
    return layer.merged((q @ k.mT * (layer.size**-0.5 if scale is None else scale)).softmax(-1) @ v)


def flat(x):
    return x.transpose(-3, -2).flatten(-2)


def residual_query(layer, h, q, k, v):
    return flat(q) + soft(layer, q, k, v)


def residual_key(layer, h, q, k, v):
    return flat(k) + soft(layer, q, k, v)


def residual_value(layer, h, q, k, v):
    return flat(v) + soft(layer, q, k, v)


def fused_residual_query(layer, h, q, k, v):
    return flat(q) + layer.merged(F.scaled_dot_product_attention(q, k, v))


def gate(layer, h, q, k, v):
    return layer.merged((q @ k.mT * layer.size**-0.5).softmax(-1) @ v * torch.sigmoid(q))


def faint_gate(layer, h, q, k, v):
    return soft(layer, q, k, v) + 1e-4 * torch.sigmoid(flat(q))


def second_product_of_the_query(layer, h, q, k, v):
    return soft(layer, q, k, v) + layer.merged(torch.sigmoid(q @ q.mT / layer.size).sum(-1, keepdim=True) * v)


@pytest.mark.parametrize(
    ("how", "place"),
    [
        (residual_query, "k"),
        (residual_key, "q"),
        (residual_value, "q"),
        (fused_residual_query, "k"),
        (gate, "k"),
        (faint_gate, "k"),
        (second_product_of_the_query, "k"),
    ],
)
def test_a_multiplier_stands_where_it_reaches_nothing_but_logits(how, place):
    assert multiplied(net(how), (0,)) == {f"attention.{place}": "output"}


def test_a_query_and_a_key_that_are_both_residuals_are_refused():
    with pytest.raises(ClassificationError, match="logits cannot be reached"):
        Plan.infer(
            net(lambda a, h, q, k, v: flat(q + k) + soft(a, q, k, v)),
            width=WIDTH,
            base_width=BASE,
            example=X,
            check=False,
        )


class Blocks(nn.Module):
    """Layers of one class, of which one returns its queries as well."""

    def __init__(self, width):
        super().__init__()
        self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        plain = lambda layer, h, q, k, v: soft(layer, q, k, v)  # noqa: E731
        self.layers = nn.ModuleList(Layer(width, how) for how in (plain, residual_query, plain))

    def forward(self, x):
        h = self.inward(x)
        for layer in self.layers:
            h = layer(h)
        return self.head(h)


def test_layers_of_one_class_that_do_not_compute_alike_are_told_apart():
    assert multiplied(Blocks, (0, 2, 4)) == {"layers.0.q": "output", "layers.1.k": "output", "layers.2.q": "output"}


# Several attentions in one module


def fused_alone(layer, h, q, k, v):
    return layer.merged(F.scaled_dot_product_attention(q, k, v))


class Shared(nn.Module):
    def __init__(self, width, how, calls=3):
        super().__init__()
        self.inward, self.head, self.calls = nn.Linear(6, width), nn.Linear(width, 3), calls
        self.layer = Layer(width, how)

    def forward(self, x):
        h = self.inward(x)
        for _ in range(self.calls):
            h = h + self.layer(h)
        return self.head(h)


def self_and_cross(layer, h, q, k, v):
    kc, vc = (layer.heads(f(torch.sin(h))) for f in (layer.kc, layer.vc))
    return soft(layer, q, k, v) + layer.merged((layer.heads(layer.qc(h)) @ kc.mT / layer.size**0.5).softmax(-1) @ vc)


def square(width):
    return nn.Linear(width, width)


@pytest.mark.parametrize(
    ("build", "products", "places"),
    [
        (lambda w: Shared(w, lambda layer, h, q, k, v: soft(layer, q, k, v)), (0, 1, 2), {"layer.q"}),
        (lambda w: Shared(w, residual_query, 2), (0, 1), {"layer.k"}),
        (
            lambda w: Shared(w, lambda layer, h, *qkv: layer.merged(F.scaled_dot_product_attention(*qkv))),
            (0, 1, 2),
            {"layer.q"},
        ),
        (net(self_and_cross, kc=square, vc=square, qc=square), (0, 1), {"attention.q", "attention.kc"}),
    ],
)
def test_all_attentions_of_one_module_are_reached(build, products, places):
    assert multiplied(build, products).keys() == places


# Temperatures, padding, cosines


class Held(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(value)


def held(make):
    return {"t": lambda width: Held(torch.as_tensor(make(width // 4)))}


def per_head(value):
    return torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1) * value


def unit(x):
    return F.normalize(x, dim=-1)


def pad(x, size=64):
    return F.pad(x, (0, size - x.shape[-1]))


def padded_with_cat(layer, h, q, k, v):
    zeros = torch.zeros(*q.shape[:-1], 64 - layer.size)
    return soft(layer, torch.cat([q, zeros], -1), torch.cat([k, zeros + 1], -1), v)


def cosine_similarity(layer, h, q, k, v):
    cosines = F.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    return layer.merged((10 * cosines).softmax(-1) @ v)


def normed(layer, h, q, k, v):
    return soft(layer, layer.qn(q), layer.kn(k), v)


def length(size):
    """Vectors of length 1 times root of their size, written as a module that a multiplier can stand on."""
    made = nn.RMSNorm(size)
    made.forward = lambda x: unit(x) * size**0.5
    return made


NORMS = {"qn": lambda w: length(w // 4), "kn": lambda w: length(w // 4)}
FACTORS = {
    # A temperature's initial value counts as a float would.
    "scalar": (M**-0.5, lambda a, h, q, k, v: soft(a, q, k, v, a.t.value), held(lambda d: d**-0.5)),
    "heads": (M**-0.5, lambda a, h, q, k, v: soft(a, q, k, v, a.t.value), held(lambda d: per_head(d**-0.5))),
    "softplus": (
        M**-0.5,
        lambda a, h, q, k, v: soft(a, q, k, v, F.softplus(a.t.value)),
        held(lambda d: torch.full((4, 1, 1), math.log(math.expm1(d**-0.5)))),
    ),
    "exp": (
        M**-0.5,
        lambda a, h, q, k, v: soft(a, q, k, v, a.t.value.exp()),
        held(lambda d: torch.full((4, 1, 1), math.log(d**-0.5))),
    ),
    "divides": (M**-0.5, lambda a, h, q, k, v: soft(a, q, k, v, 1 / a.t.value), held(lambda d: per_head(d**0.5))),
    "on the query": (M**-0.5, lambda a, h, q, k, v: soft(a, q * a.t.value, k, v, 1.0), held(lambda d: d**-0.5)),
    "divides the key": (
        M**-0.5,
        lambda a, h, q, k, v: a.merged(F.scaled_dot_product_attention(q, k / a.t.value, v, scale=1.0)),
        held(lambda d: per_head(d**0.5)),
    ),
    "beside a float": (  # the query makes up for its own float, and the whole 1/d is the site's
        1 / M,
        lambda a, h, q, k, v: soft(a, q * a.size**-0.5 * a.t.value, k, v, 1.0),
        held(lambda d: torch.ones(4, 1, 1)),
    ),
    "one over the size": (1.0, lambda a, h, q, k, v: soft(a, q, k, v, a.t.value), held(lambda d: 1 / d)),
    "without a softmax": (
        M**-0.5,
        lambda a, h, q, k, v: a.merged(torch.sigmoid(q @ k.mT * a.t.value) @ v),
        held(lambda d: d**-0.5),
    ),
    "drawn": (
        1 / M,
        lambda a, h, q, k, v: soft(a, q * a.t.value, k, v, 1.0),
        held(lambda d: torch.rand(4, 1, 1) + 0.5),
    ),
    "drawn once": (1 / M, lambda a, h, q, k, v: soft(a, q, k, v, a.t.value), held(lambda d: torch.rand(1) + 0.5)),
    # Zeros beside queries and keys do not count, only what the model's own scale makes of the size does.
    "padded": (
        1 / M,
        lambda a, h, q, k, v: a.merged(F.scaled_dot_product_attention(pad(q), pad(k), pad(v))[..., : a.size]),
        {},
    ),
    "padded, own scale": (M**-0.5, lambda a, h, q, k, v: soft(a, pad(q), pad(k), v), {}),
    "padded on one side": (M**-0.5, padded_with_cat, {}),
    "padded values": (
        M**-0.5,
        lambda a, h, q, k, v: a.merged(F.scaled_dot_product_attention(q, k, pad(v))[..., : a.size]),
        {},
    ),
    "zeros by chance": (M**-0.5, lambda a, h, q, k, v: soft(a, torch.relu(q), torch.relu(k), v), {}),
    # Cosines are of order one; vectors of length sqrt(d) are not.
    "cosines, clamped exp": (
        1.0,
        lambda a, h, q, k, v: soft(a, unit(q), unit(k), v, a.t.value.clamp(max=math.log(100)).exp()),
        held(lambda d: torch.full((4, 1, 1), math.log(10))),
    ),
    "cosines, scaled query": (
        1.0,
        lambda a, h, q, k, v: soft(a, unit(q) * a.t.value, unit(k), v, 1.0),
        held(lambda d: per_head(10.0)),
    ),
    "cosines, scaled channels": (
        1.0,
        lambda a, h, q, k, v: soft(a, unit(q) * a.t.value, unit(k) * a.t.value, v, 1.0),
        held(lambda d: torch.full((d,), 3.0)),
    ),
    "cosine similarity": (1.0, cosine_similarity, {}),
    "root mean square 1": (M**-0.5, normed, NORMS),
}


@pytest.mark.parametrize("case", FACTORS)
def test_factors_are_what_the_size_of_the_logits_asks_for(case):
    factor, how, more = FACTORS[case]
    plan = Plan.infer(net(how, **more), width=WIDTH, base_width=BASE, example=X, check=False)
    assert [site.factor for site in sites(plan).values()] == ([] if factor == 1 else [pytest.approx(factor)])


@pytest.mark.parametrize(
    "case", ["scalar", "divides", "padded, own scale", "cosines, scaled query", "cosine similarity"]
)
def test_the_standard_tables_leave_logits_that_they_want_alone(case):
    _, how, more = FACTORS[case]
    assert not sites(
        Plan.infer(net(how, **more), width=WIDTH, base_width=BASE, parameterization="ntk", example=X, check=False)
    )


def slope(sizes):
    (first, a), *_, (last, b) = sorted(sizes.items())
    return math.log(b / a) / math.log(last / first)


@pytest.mark.parametrize("case", ["heads", "on the query", "padded", "cosines, scaled channels", "root mean square 1"])
def test_logits_of_queries_that_are_like_keys_do_not_depend_on_width(case):
    """As they come to be by training; the model's own weights, so that only the multipliers act."""
    _, how, more = FACTORS[case]
    build, found = net(how, **more), {}
    for width in (32, 256):
        plan = Plan.infer(build, width=width, base_width=BASE, example=X, check=False)
        torch.manual_seed(0)
        model = apply(build(width), plan)
        model.attention.q.load_state_dict(model.attention.k.state_dict())
        hidden = trace(model, X).attention["attention"].logits
        found[width] = float(hidden.diagonal(dim1=-2, dim2=-1).mean())
    assert slope(found) == pytest.approx(0.0, abs=0.1)


# Softmax over channels


def cross_covariance(layer, h, q, k, v):
    q, k, v = q.mT, k.mT, v.mT
    return layer.merged(((unit(q) @ unit(k).mT * layer.t.value).softmax(-1) @ v).mT)


def by_einsum(layer, h, q, k, v):
    weights = torch.einsum("bhnd,bhne->bhde", q, k).mul(0.5).softmax(-1)
    return layer.merged(torch.einsum("bhde,bhne->bhnd", weights, v))


def by_columns(layer, h, q, k, v):
    return layer.merged(v @ (q.mT @ k / 2).softmax(-2))


def fused(layer, h, q, k, v):
    return layer.merged(F.scaled_dot_product_attention(q.mT, k.mT, v.mT).mT)


@pytest.mark.parametrize("how", [cross_covariance, by_einsum, by_columns, fused])
def test_a_softmax_over_channels_is_warned_of_with_its_exponent(how):
    build, sizes = net(how, t=lambda width: Held(torch.ones(4, 1, 1))), {}
    for width in (64, 512):
        with pytest.warns(UserWarning, match=rf"attention: .* softmax .* over 8 .* and {width // 4} .* at n\^-1/2"):
            plan = Plan.infer(build, width=width, base_width=BASE, example=X, check=False)
        assert not sites(plan)
        torch.manual_seed(0)
        model = apply(build(width), plan)
        nn.init.zeros_(model.attention.out.bias)
        with torch.no_grad():
            sizes[width] = float(model.attention(model.inward(X)).norm()) / width**0.5
    assert slope(sizes) == pytest.approx(-0.5, abs=0.15)


def test_channels_that_do_not_grow_in_number_are_not_warned_of():
    class Wide(Layer):
        def heads(self, x):
            return x.unflatten(-1, (-1, 8)).transpose(-3, -2)

    def build(width):
        model = Net(width, lambda a, h, q, k, v: by_einsum(a, h, q, k, v))
        model.attention.__class__ = Wide
        return model

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not sites(Plan.infer(build, width=WIDTH, base_width=BASE, example=X, check=False))
