"""Muon beside AdamW: the rate makes up for torch's own factor of the shape, at every adjust_lr_fn."""

import math

import pytest
import torch
from torch import nn

from mutransfer import muon_groups, param_groups, parameterize
from mutransfer.errors import PlanError


def build(width):
    """A square and two rectangular hidden matrices between an embedding and a readout."""
    return nn.Sequential(
        nn.Embedding(13, width), nn.Linear(width, width), nn.Linear(width, 4 * width), nn.Linear(4 * width, 16),
        nn.Linear(16, width), nn.Linear(width, 5),
    )  # fmt: skip


def torch_factor(adjust_lr_fn, shape):
    from torch.optim._muon import _adjust_lr

    return _adjust_lr(1.0, adjust_lr_fn, torch.Size(shape))


@pytest.fixture
def wrapped():
    return parameterize(build, width=128, base_width=32, optimizer="muon", check=False)


@pytest.mark.parametrize("adjust_lr_fn", ["original", "match_rms_adamw", "spectral_unclamped"])
def test_the_step_of_a_hidden_matrix_has_the_spectral_size_of_its_shape(wrapped, adjust_lr_fn):
    model, plan = wrapped
    muon, _ = muon_groups(model, plan, lr=0.02, adamw_lr=1e-3, adjust_lr_fn=adjust_lr_fn)
    base = {n: p.shape for n, p in build(32).named_parameters()}
    names = {id(p): n for n, p in model.named_parameters()}
    seen = 0
    for group in muon:
        for p in group["params"]:
            shape = base[names[id(p)]]
            # Step size now over step size at base: group rate times torch's factor, as spectral norms.
            grown = group["lr"] / 0.02 * torch_factor(adjust_lr_fn, p.shape) / torch_factor(adjust_lr_fn, shape)
            assert grown == pytest.approx(math.sqrt(p.shape[0] / shape[0]) / math.sqrt(p.shape[1] / shape[1]))
            seen += 1
    assert seen == 2


def test_matrices_of_which_one_side_grows_are_adamws():
    def mixed(width):
        return nn.Sequential(
            nn.Linear(8, width["d"]), nn.Linear(width["d"], width["f"]), nn.Linear(width["f"], width["d"])
        )

    model, plan = parameterize(
        mixed, width={"d": 64, "f": 1024}, base_width={"d": 64, "f": 16}, optimizer="muon", check=False
    )
    muon, adamw = muon_groups(model, plan, lr=1.0, adamw_lr=1e-3)
    assert muon == []  # up: fan_out alone grows, an input weight; down: fan_in alone, an output
    assert sum(len(group["params"]) for group in adamw) == 6


def test_everything_else_goes_to_adamw_with_its_own_row(wrapped):
    model, plan = wrapped
    muon, adamw = muon_groups(model, plan, lr=0.02, adamw_lr=1e-3, weight_decay=0.1)
    _, adam_plan = parameterize(build, width=256, base_width=64, optimizer="adamw", check=False)
    names = {id(p): n for n, p in model.named_parameters()}
    for group in adamw:
        for p in group["params"]:
            s = adam_plan[names[id(p)]]
            assert group["lr"] == pytest.approx(1e-3 * s.lr_mult)
            assert group["weight_decay"] == pytest.approx(0.1 * s.wd_mult)
            assert group["eps"] == pytest.approx(1e-8 * s.eps_mult)
    for group in muon:
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.02 * 0.1)
    grouped = [id(p) for group in [*muon, *adamw] for p in group["params"]]
    assert sorted(grouped) == sorted(names)


def test_both_optimizers_take_their_groups_and_train(wrapped):
    model, plan = wrapped
    muon, adamw = muon_groups(model, plan, lr=0.02, adamw_lr=1e-2)
    optimizers = [torch.optim.Muon(muon, adjust_lr_fn="original"), torch.optim.AdamW(adamw)]
    ids = torch.randint(13, (32,), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(ids), ids % 5)
        losses.append(loss.item())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_a_plan_for_muon_is_no_plan_for_one_optimizer(wrapped):
    model, plan = wrapped
    with pytest.raises(PlanError, match="muon_groups"):
        param_groups(model, plan, lr=0.1)
    with pytest.raises(PlanError, match="adjust_lr_fn must be one of"):
        muon_groups(model, plan, lr=0.1, adamw_lr=0.1, adjust_lr_fn="frobenius")
    model, plan = parameterize(build, width=256, base_width=64, optimizer="adamw", check=False)
    with pytest.raises(PlanError, match="optimizer='muon'"):
        muon_groups(model, plan, lr=0.1, adamw_lr=0.1)
