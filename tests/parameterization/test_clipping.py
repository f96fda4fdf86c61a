"""Clipping by the norm that every width and form has in common, beside the plain norm, which none has."""

import json
from dataclasses import replace

import pytest
import torch

from mutransfer import clip_grad_norm_, param_groups, parameterize, rules
from mutransfer.errors import PlanError
from mutransfer.intervals import fit_slope
from mutransfer.parameterization.plan import Plan
from mutransfer.training.run import run
from tests.training.tiny import Tiny, tiny_spec

from .models import OPTIMIZERS, mlp, regression

FORMS = [{"form": "absorbed"}, {"parameterization": "mf"}, {"parameterization": "mup_t9"}]


def wrapped(width=64, seed=1, **plan):
    torch.manual_seed(seed)
    x, y = regression()
    model, found = parameterize(mlp, width=width, base_width=4, **plan, check=False)
    return model, found, x, y


def plain_clip(model, plan, max_norm):
    return torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def trained(clip, optimizer="adam", max_norm=0.3, steps=6, **plan):
    model, found, x, y = wrapped(optimizer=optimizer, **plan)
    lr = 0.05 if optimizer == "sgd" else 0.01
    opt, losses, shares = OPTIMIZERS[optimizer](param_groups(model, found, lr=lr)), [], []
    for _ in range(steps):
        opt.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        shares.append(float(clip(model, found, max_norm)) > max_norm)
        opt.step()
        losses.append(loss.item())
    return losses, shares


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("other", FORMS, ids=str)
def test_the_forms_stay_one_function_under_clipping(optimizer, other):
    losses, clipped = trained(clip_grad_norm_, optimizer)
    assert any(clipped)
    assert trained(clip_grad_norm_, optimizer, **other)[0] == pytest.approx(losses, rel=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("ignore:gradients had the same plain norm")  # as they have
@pytest.mark.parametrize("other", FORMS, ids=str)
def test_the_plain_norm_tells_the_forms_apart(other):
    assert trained(plain_clip, "sgd", **other)[0] != pytest.approx(trained(plain_clip, "sgd")[0], rel=1e-3)


@pytest.mark.usefixtures("float64")
def test_at_base_width_it_is_the_plain_norm():
    norms = []
    for clip in (clip_grad_norm_, plain_clip):
        model, plan, x, y = wrapped(width=4)
        (model(x) - y).square().mean().backward()
        norms.append((clip(model, plan, 0.1).item(), [p.grad.tolist() for p in model.parameters()]))
    assert norms[0][0] == pytest.approx(norms[1][0], rel=1e-12)
    assert torch.allclose(torch.tensor(norms[0][1][0]), torch.tensor(norms[1][1][0]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["mup", "ntk"])
def test_the_weighted_norm_does_not_change_with_width(name):
    widths, rows = (64, 256, 1024), []
    for width in widths:
        rows.append([])
        for seed in range(4):
            model, plan, x, y = wrapped(width, seed, parameterization=name)
            (model(x) - y).square().mean().backward()
            rows[-1].append(clip_grad_norm_(model, plan, 1e9).item())
    slope = fit_slope(widths, rows)
    assert abs(slope.value) < 0.1
    assert max(abs(slope.low), abs(slope.high)) < 0.25


def test_a_model_without_gradients_has_norm_zero():
    model, plan, _, _ = wrapped()
    assert clip_grad_norm_(model, plan, 1.0).item() == 0.0


def test_a_table_without_a_row_for_sgd_is_refused():
    rows = {
        role: replace(row, lr={k: v for k, v in row.lr.items() if k is not rules.Family.SGD})
        for role, row in rules.MUP.rows.items()
    }
    model, plan, x, _ = wrapped(parameterization=replace(rules.MUP, name="mine", rows=rows))
    model(x).sum().backward()
    with pytest.raises(PlanError, match="'mine' has no rule for SGD"):
        clip_grad_norm_(model, plan, 1.0)
    assert Plan.from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json())["scalings"]["0.weight"]["norm_mult"] is None


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_training_loop_clips_by_it(precision):
    free, tight, loose = (run(tiny_spec(clip_norm=c, precision=precision), Tiny()) for c in (0.0, 1e-3, 1e6))
    assert loose.train_curve == free.train_curve
    # Plain SGD: steps a thousandth as long lower the loss by so much less.
    sgd = {"optimizer": "sgd", "hyperparameters": {"lr": 0.1}, "precision": precision}
    free, tight = (run(tiny_spec(clip_norm=c, **sgd), Tiny()) for c in (0.0, 1e-3))
    assert tight.initial_loss - tight.final_loss < 0.05 * (free.initial_loss - free.final_loss)
