"""Growth that one factor per tensor cannot follow is told when a plan is made: what fades or grows, the way out."""

import re
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer import apply, param_groups, parameterize
from mutransfer.parameterization.plan import Plan

from .models import mlp, two_widths

BASE, WIDTH = 16, 256
X = torch.randn(6, 15, generator=torch.Generator().manual_seed(0))


class Skip(nn.Module):
    """``fixed(x)`` is read beside what grows."""

    def __init__(self, width, fixed=lambda x: x, count=15, bias=True, head=False):
        super().__init__()
        self.inward, self.fixed = nn.Linear(15, width), fixed
        self.mid = nn.Linear(width + count, 3 if head else width, bias=bias)
        self.head = nn.Identity() if head else nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.mid(torch.cat([self.fixed(x), torch.relu(self.inward(x))], -1)))


class ConvSkip(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inward, self.mid = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(2 * width + 3, width, 1)

    def forward(self, x):
        h = torch.relu(self.inward(x))
        return self.mid(torch.cat([x, h, h.flip(1)], 1)).mean()


class Split(nn.Module):
    """The way out that the warning names."""

    def __init__(self, width):
        super().__init__()
        self.inward, self.mid, self.beside = nn.Linear(15, width), nn.Linear(width, width), nn.Linear(15, width, False)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.mid(torch.relu(self.inward(x))) + self.beside(x))


def told(build, base=BASE, width=WIDTH, **more):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Plan.infer(build, width=width, base_width=base, **more, check=False)
    return [str(w.message) for w in caught]


MIXED = {
    "the input again": (Skip, "mid: mid.weight reads 15 fixed inputs", {}),
    "a time": (partial(Skip, fixed=lambda x: x[:, :1], count=1), "reads 1 fixed inputs", {}),
    "a constant without a bias": (
        partial(Skip, fixed=lambda x: torch.ones(len(x), 1), count=1, bias=False),
        "reads 1 fixed inputs",
        {"example": X},
    ),
    "a readout": (partial(Skip, head=True), "planned as output as a whole", {}),
    "channels": (ConvSkip, "mid: mid.weight reads 3 fixed inputs", {"example": torch.randn(1, 3, 4, 4)}),
    "a mapping of widths": (
        lambda w: nn.Sequential(two_widths(w), nn.Linear(5, w["d_ff"]), nn.Linear(w["d_ff"] + 7, w["d_model"])),
        "reads 7 fixed inputs",
        {"base": {"d_model": 8, "d_ff": 16}, "width": {"d_model": 16, "d_ff": 128}},
    ),
}


@pytest.mark.parametrize("case", MIXED)
def test_fixed_inputs_beside_growing_ones_are_told_with_what_fades_and_the_way_out(case):
    build, text, more = MIXED[case]
    for name in ("mup", "ntk"):
        (message,) = [m for m in told(build, parameterization=name, **more) if "fixed inputs" in m]
        assert text in message
        assert "n^-1/2" in message
        assert "n^-1 of" in message
        assert re.search(r"another, without bias, for the \d+ fixed ones, whose outputs are added", message)
    assert not told(build, parameterization="as_is", **more)


def larger_inside(width):
    n = width + 15  # of all its layers: nothing in it is fixed
    return nn.Sequential(nn.Linear(6, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 3))


QUIET = {
    "an mlp": mlp,
    "all of another size than the width": larger_inside,
    "a constant beside a bias": partial(Skip, fixed=lambda x: torch.ones(len(x), 1), count=1),
    "the fixed inputs apart": Split,
    "rounded sizes": lambda w: nn.Sequential(
        nn.Linear(6, w), nn.Linear(w, -(-8 * w // 24) * 8), nn.Linear(-(-8 * w // 24) * 8, w), nn.Linear(w, 3)
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_told_of_what_does_not_fade(case):
    example = None if case in ("an mlp", "all of another size than the width", "rounded sizes") else X
    for optimizer in ("adamw", "sgd"):
        assert not told(QUIET[case], 64, 512, optimizer=optimizer, example=example)


def test_what_the_layer_makes_of_its_fixed_inputs_fades_as_told_and_not_when_split():
    def size(build, width, weight):
        torch.manual_seed(0)
        model, _ = parameterize(build, width=width, base_width=64, example=X, check=False)
        return F.linear(X, weight(model)).square().mean().sqrt().item()

    with pytest.warns(UserWarning, match="15 fixed inputs"):
        sizes = [size(Skip, w, lambda m: m.mid.weight[:, :15]) for w in (256, 4096)]
    assert sizes[1] / sizes[0] == pytest.approx(16**-0.5, rel=0.15)
    sizes = [size(Split, w, lambda m: m.beside.weight) for w in (256, 4096)]
    assert sizes[1] / sizes[0] == pytest.approx(1, rel=0.15)


class Apart(nn.Module):
    """Hidden features that grow like the width to the power 3/2, between layers that grow like the width."""

    def __init__(self, width, power=1.5):
        super().__init__()
        wide = round(64 * (width / 64) ** power)
        self.layers = nn.ModuleList([nn.Linear(15, width), nn.Linear(width, wide), nn.Linear(wide, width)])
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)


@pytest.mark.parametrize("name", ["mup", "mup_t3", "mup_t9", "mf"])
def test_layers_that_grow_apart_are_told_under_sgd(name):
    (message,) = told(Apart, 64, 1024, optimizer="sgd", parameterization=name)
    assert message.startswith("layers.1.weight (and 1 more): its input grows by 16 and its output by 64 ")
    assert "off by (m_in / m_out)^1/2 = 0.5" in message
    assert not told(Apart, 64, 1024, optimizer="adamw", parameterization=name)


def test_layers_that_grow_apart_are_told_of_wherever_it_is_not_rounding():
    widths = {"base": {"d_model": 8, "d_ff": 16}, "width": {"d_model": 16, "d_ff": 128}}
    assert any("its input grows by 2 and its output by 8" in m for m in told(two_widths, optimizer="sgd", **widths))
    assert not told(two_widths, optimizer="sgd", parameterization="ntk", **widths)
    assert told(partial(Apart, power=1.25), 64, 512, optimizer="sgd")
    assert not told(partial(Apart, power=1.0), 64, 512, optimizer="sgd")


def test_the_change_of_features_before_a_layer_that_narrows_grows_as_told():
    def change(width):
        torch.manual_seed(0)
        with pytest.warns(UserWarning, match="grow alike"):
            model, plan = parameterize(Apart, width=width, base_width=64, optimizer="sgd", example=X, check=False)
        step = torch.optim.SGD(param_groups(model, plan, lr=0.01))
        layer = model.layers[1]
        before = layer.weight.detach().clone()
        h = torch.tanh(model.layers[0](X)).detach()
        (model(X) - 1).square().mean().backward()
        step.step()
        return F.linear(h, layer.weight.detach() - before).square().mean().sqrt().item()

    m = 4.0
    assert change(1024) / change(256) == pytest.approx((m**1.5 / m) ** 0.5, rel=0.1)


class Fused(nn.Module):
    """One layer makes ``count`` fixed features and growing ones, which are read apart, or all of them together."""

    def __init__(self, width, count=4, grown=1, together=False):
        super().__init__()
        self.inward, self.fused = nn.Linear(15, width), nn.Linear(width, grown * width + count)
        self.sizes = (grown * width, count)
        self.back = nn.Linear(sum(self.sizes), width) if together else None
        self.wide, self.narrow = nn.Linear(grown * width, width), nn.Linear(count, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        made = self.fused(torch.relu(self.inward(x)))
        if self.back is not None:
            return self.head(self.back(made))
        grown, fixed = made.split(self.sizes, -1)
        return self.head(self.wide(grown) + self.narrow(fixed))


class FusedKeys(nn.Module):
    """Queries of growing many heads, one head of keys and one of values, by one layer."""

    def __init__(self, width):
        super().__init__()
        self.inward, self.qkv, self.out = nn.Linear(15, width), nn.Linear(width, width + 8), nn.Linear(width, 3)

    def forward(self, x):
        q, k, v = self.qkv(self.inward(x)).split([self.out.in_features, 4, 4], -1)
        q, k, v = q.unflatten(-1, (-1, 4))[None].transpose(1, 2), k[None, None], v[None, None]
        return self.out(F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1))


FIXED_OUTPUTS = {
    "a few": (Fused, 4),
    "as many as the base is wide": (partial(Fused, count=16), 16),
    "beside twice the width": (partial(Fused, count=3, grown=2), 3),
    "one head of keys and values": (FusedKeys, 8),
}


@pytest.mark.parametrize("case", FIXED_OUTPUTS)
def test_fixed_outputs_beside_growing_ones_are_told_under_sgd(case):
    build, count = FIXED_OUTPUTS[case]
    under = {o: [t for t in told(build, optimizer=o, example=X) if "puts out" in t] for o in ("sgd", "adam")}
    assert len(under["sgd"]) == 1
    assert f"puts out {count} fixed features" in under["sgd"][0]
    assert "n^+1/2" in under["sgd"][0]
    assert not under["adam"]
    assert not any("puts out" in t for t in told(build, parameterization="ntk", optimizer="sgd", example=X))


def test_fixed_outputs_that_are_read_with_the_growing_ones_are_not_told():
    assert not any("puts out" in t for t in told(partial(Fused, together=True), optimizer="sgd", example=X))


def test_a_step_of_sgd_on_fixed_outputs_grows_as_it_is_told():
    moved = [_moved(width) for width in (64, 1024)]
    assert float(torch.log2(moved[1] / moved[0])) / 4 == pytest.approx(0.5, abs=0.15)


def _moved(width, seeds=8):
    """What a step does to the fixed outputs of Fused, on average."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = Plan.infer(Fused, width=width, base_width=16, optimizer="sgd", example=X, check=False)
    squares = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = apply(Fused(width), plan)
        inward = torch.relu(model.inward(X)).detach()
        before = model.fused(inward).detach()
        F.cross_entropy(model(X), torch.arange(6) % 3).backward()
        torch.optim.SGD(param_groups(model, plan, lr=0.1)).step()
        squares.append((model.fused(inward).detach() - before)[:, -4:].square().mean())
    return torch.stack(squares).mean().sqrt()
