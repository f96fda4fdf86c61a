"""Causes that slopes alone do not tell: the factors of the whole plan are compared before any is called right."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.transfer.coordinates.check import coordinate_check

WIDTHS = (32, 64, 128, 256)
GENERATOR = torch.Generator().manual_seed(0)
BATCH = torch.randn(64, 8, generator=GENERATOR), torch.randn(64, 3, generator=GENERATOR)


def build(width):
    body = [nn.Linear(8, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width)]
    return nn.Sequential(*body, nn.ReLU(), nn.Linear(width, 3))


def check(optimizer, edit, *, parameterization="mup", scale=1.0, **options):
    def plan(width):
        recipe = {"parameterization": parameterization, "optimizer": optimizer, **options}
        return edit(Plan.infer(build, width=width, base_width=32, **recipe, check=False))

    def loss(model, batch):
        return scale * F.mse_loss(model(batch[0]), batch[1])

    return coordinate_check(build, widths=WIDTHS, batch=BATCH, loss=loss, plan=plan, steps=2, seeds=2, device="cpu")


def edited(*names, **factors):
    def edit(plan):
        made = {
            n: replace(s, **{k: f(s) for k, f in factors.items()}) for n, s in plan.items() if n in names or not names
        }
        return replace(plan, scalings={**plan, **made})

    return edit


def slowed(name, power):
    """A learning rate of one parameter that is n**power times the plan's; decay per step is left as it was."""
    return edited(
        name,
        lr_mult=lambda s: s.lr_mult * max(s.m_in, s.m_out) ** power,
        wd_mult=lambda s: s.wd_mult * max(s.m_in, s.m_out) ** -power,
    )


@pytest.mark.parametrize("parameterization", ["mup", "ntk"])
@pytest.mark.parametrize("scale", [1e-6, 1e-9])
def test_an_unscaled_eps_that_outweighs_gradients_is_not_blamed_on_learning_rates(scale, parameterization):
    found = check("adam", edited(eps_mult=lambda s: 1.0), scale=scale, parameterization=parameterization)
    assert found.offenders
    assert all("its eps is not scaled: factor 1" in offender.cause for offender in found.offenders)


@pytest.mark.parametrize("scale", [1e-6, 1e-9])
def test_a_plan_that_leaves_eps_alone_is_not_said_to_have_the_tables_factors(scale):
    found = check("adam", lambda plan: plan, scale=scale, scale_eps=False)
    assert found.offenders
    assert all("eps is " in offender.cause and "scale_eps=False" in offender.cause for offender in found.offenders)
    assert not any("although the plan's factors are those of" in offender.cause for offender in found.offenders)


def test_tiny_gradients_are_no_fault_of_a_right_plan():
    assert check("adam", lambda plan: plan, scale=1e-9).failures == ()


@pytest.mark.parametrize(
    ("name", "power", "parameterization"),
    [
        ("0.weight", -0.5, "mup"),
        ("3.weight", -0.5, "mup"),
        ("3.weight", -0.25, "ntk"),
        ("4.weight", -0.5, "ntk"),
        ("6.weight", -0.5, "mup"),
        ("4.weight", 1.0, "mup"),
    ],
)
def test_a_rate_that_is_off_under_sgd_is_named_though_a_right_one_may_start_as_faint(name, power, parameterization):
    (offender,) = check("sgd", slowed(name, power), parameterization=parameterization).offenders
    assert offender.where == name
    assert "its learning rate is scaled" in offender.cause


def test_a_rate_of_ones_own_that_is_the_same_share_at_every_width_is_no_fault():
    half = edited("3.weight", lr_mult=lambda s: s.lr_mult / 2, wd_mult=lambda s: s.wd_mult * 2)
    assert check("sgd", half).passed


def test_a_rate_that_a_multiplier_makes_up_for_is_no_fault_under_sgd():
    moved = edited(
        "3.weight",
        forward_mult=lambda s: s.forward_mult * s.m_in**0.5,
        init_mult=lambda s: s.init_mult * s.m_in**-0.5,
        lr_mult=lambda s: s.lr_mult / s.m_in,
        wd_mult=lambda s: s.wd_mult * s.m_in,
    )
    assert check("sgd", moved).passed
