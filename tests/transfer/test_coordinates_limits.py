"""Documented limits are told with theory's exponent and pass; a wrong factor in the same models is found."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.transfer.coordinates.check import coordinate_check

WIDTHS = (32, 64, 128, 256)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(64, 16, generator=GENERATOR), torch.randint(10, (64,), generator=GENERATOR)
TEXT = torch.randint(16, (16, 8), generator=GENERATOR)


pytestmark = pytest.mark.filterwarnings("ignore:.*each head of keys serves")  # as the models here are meant to be


def narrow(width):
    return nn.Sequential(
        nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 8), nn.Linear(8, width), nn.Linear(width, 10)
    )


def narrow_and_normed(width):
    layers = list(narrow(width))
    return nn.Sequential(*layers[:3], nn.LayerNorm(8), *layers[3:])


class Attention(nn.Module):
    """One attention layer: all heads share keys and values of 16 entries, or logits are cosines of growing heads."""

    def __init__(self, width, cosines=False):
        super().__init__()
        self.size, self.cosines, shared = width // 4 if cosines else 16, cosines, width if cosines else 16
        self.embed, self.norm, self.readout = nn.Embedding(16, width), nn.LayerNorm(width), nn.Linear(width, 16)
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, shared), nn.Linear(width, shared)
        self.o, self.scale = nn.Linear(width, width), nn.Parameter(torch.tensor(10.0))

    def forward(self, text):
        x = self.embed(text)
        h = self.norm(x)
        q, k, v = (f(h).unflatten(-1, (-1, self.size)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.cosines:
            logits = self.scale * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
        else:
            logits = q @ k.transpose(-1, -2) / 4
        return self.readout(x + self.o((logits.softmax(-1) @ v).transpose(1, 2).flatten(2)))


def shared_values(width):
    return Attention(width)


def cosines(width):
    return Attention(width, cosines=True)


def loss(model, batch):
    if isinstance(batch, tuple):
        return F.cross_entropy(model(batch[0]), batch[1])
    return F.cross_entropy(model(batch).flatten(0, 1), batch.roll(-1, 1).flatten())


def check(build, parameterization, optimizer="adam", edit=None):
    batch = TEXT if build in (shared_values, cosines) else IMAGES

    def plan(width):
        right = Plan.infer(
            build,
            width=width,
            base_width=32,
            parameterization=parameterization,
            optimizer=optimizer,
            example=lambda model: loss(model, batch),
            check=False,
        )
        return replace(right, scalings={n: edit(n, s) for n, s in right.items()})

    return coordinate_check(
        build,
        widths=WIDTHS,
        batch=batch,
        loss=loss,
        parameterization=parameterization,
        optimizer=optimizer,
        plan=plan if edit else None,
        device="cpu",
    )


@pytest.mark.parametrize(
    ("build", "parameterization", "optimizer", "told"),
    [
        (shared_values, "mup", "adam", ("k, v: its output", "theory down to n^-0.5 at first, by bottlenecks")),
        (shared_values, "mup", "sgd", ("what its update does", "theory up to n^1 too faint a gradient")),
        (cosines, "mup", "sgd", ("what its update does", "theory up to n^1 too faint a gradient at first, by cosines")),
        (narrow, "ntk", "sgd", ("change of 3 goes", "theory up to n^+0 behind bottlenecks")),
        (narrow_and_normed, "ntk", "adam", ("change of 3 goes", "theory up to n^+0 behind bottlenecks")),
    ],
)
def test_a_limit_is_told_with_its_exponent_and_passes(build, parameterization, optimizer, told):
    found = check(build, parameterization, optimizer)
    assert found.passed, found.failures
    assert any(all(words in limit for words in told) for limit in found.limits), found.limits
    assert f"within its limits: {found.limits[0]}" in found.table()


@pytest.mark.parametrize(
    ("build", "parameterization", "name", "factors"),
    [
        (shared_values, "mup", "o.weight", {"lr_mult": 1.0}),
        (shared_values, "mup", "v.weight", {"init_mult": 1.0}),
        (cosines, "mup", "o.weight", {"lr_mult": 1.0}),
        (narrow_and_normed, "ntk", "5.weight", {"lr_mult": 1.0}),
        (narrow, "mup", "2.weight", {"init_mult": 1.0}),
    ],
)
def test_a_wrong_factor_is_found_beside_the_limits(build, parameterization, name, factors):
    found = check(build, parameterization, edit=lambda n, s: replace(s, **factors) if n == name else s)
    assert found.offenders, found.slopes
    assert {o.where for o in found.offenders} == {name}


def test_a_net_without_faint_sources_has_no_limits():
    found = check(lambda width: nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 10)), "mup")
    assert (found.passed, found.limits) == (True, ())
