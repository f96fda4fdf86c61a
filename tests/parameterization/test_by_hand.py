"""Contractions by hand: an elementwise product with a parameter that a sum follows."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.theory.rules import Role

BASE, WIDTH = 16, 64
M = WIDTH / BASE
X = torch.randn(2, 5, 6)


class ByHand(nn.Module):
    """A parameter of a shape, used by a function of the parameter and of activations of growing size."""

    def __init__(self, width, shape, use, draw=torch.randn):
        super().__init__()
        self.inward, self.w = nn.Linear(6, width), nn.Parameter(draw(shape(width)))
        self.use = use

    def forward(self, x):
        return self.use(torch.tanh(self.inward(x)), self.w)


def planned(shape, use, draw=torch.randn):
    return Plan.infer(lambda w: ByHand(w, shape, use, draw), width=WIDTH, base_width=BASE, example=X, check=False)["w"]


row = lambda w: (w,)  # noqa: E731
CONTRACTED = [
    (row, lambda h, v: (h * v).sum(-1), Role.OUTPUT, (M, 1)),
    (row, lambda h, v: (v * h).mean((1, 2)), Role.OUTPUT, (M, 1)),
    (row, lambda h, v: (h * v + 1.0).sum(), Role.OUTPUT, (M, 1)),
    (row, lambda h, v: (h.mT * v[:, None]).sum(1), Role.OUTPUT, (M, 1)),
    (row, lambda h, v: torch.einsum("btd,d->bt", h, v), Role.OUTPUT, (M, 1)),
    (row, lambda h, v: torch.dot(h[0, 0], v), Role.OUTPUT, (M, 1)),
    (row, lambda h, v: (h * v).unflatten(-1, (4, -1)).sum((-1, -2)), Role.OUTPUT, (M, 1)),
    (lambda w: (w, 3), lambda h, v: (h[..., None] * v).sum(-2), Role.OUTPUT, (M, 1)),
    (lambda w: (3, w), lambda h, v: (h[..., None, :] * v).mean(-1), Role.OUTPUT, (M, 1)),
    (lambda w: (w, 2 * w), lambda h, v: (h[..., None] * v).sum(-2), Role.HIDDEN, (M, M)),
    (lambda w: (4 * w, w), lambda h, v: (h[..., None, :] * v).sum(-1), Role.HIDDEN, (M, M)),
    (lambda w: (5, w), lambda h, v: (h * v).sum(1), Role.INPUT, (1, M)),  # over positions, which are as many
]
ELEMENTWISE = [
    (row, lambda h, v: (h * v).mean(1)),  # over positions
    (row, lambda h, v: h * v),
    (row, lambda h, v: torch.relu(h * v).sum(-1)),  # what is summed is not linear in v
    (row, lambda h, v: h + v * h - (v * h).mean(-1, keepdim=True)),  # a layer norm by hand after a gain
    (lambda w: (1, 1, w), lambda h, v: (h * v).cumsum(1)),
]


@pytest.mark.parametrize(("shape", "use", "role", "grown"), CONTRACTED)
def test_a_product_that_is_summed_over_the_growing_dimension_is_a_contraction(shape, use, role, grown):
    found = planned(shape, use)
    assert (found.role, (found.m_in, found.m_out)) == (role, grown)


@pytest.mark.parametrize(("shape", "use"), ELEMENTWISE)
def test_a_product_that_is_not_summed_so_stays_elementwise(shape, use):
    assert planned(shape, use).role is Role.VECTOR


def test_the_contracted_dimension_is_the_one_that_is_summed_over_and_not_the_other():
    tall = ByHand(16, lambda w: (8, w), lambda h, v: (h[..., None, :] * v).sum(-1))
    wide = ByHand(16, lambda w: (w, 8), lambda h, v: (h[..., None] * v).sum(-2))
    assert (trace(tall, X).axes("w", 2).fan_in, trace(wide, X).axes("w", 2).fan_in) == ((1,), (0,))


def test_a_mean_over_the_growing_dimension_brings_the_readouts_factor_with_it():
    summed, mean = (planned(row, lambda h, v, how=how: getattr(h * v, how)(-1)) for how in ("sum", "mean"))
    assert (summed.init_mult, summed.lr_mult) == pytest.approx((1 / M, 1 / M))
    assert (mean.init_mult, mean.lr_mult) == pytest.approx((1.0, 1.0))


def test_by_hand_or_by_a_linear_layer_the_same_function_is_trained():
    """The two factories draw the same numbers and get the same plan, so their losses agree."""
    from mutransfer import param_groups, parameterize

    def linear(w):
        model = ByHand(w, lambda w: (3, w), lambda h, v: F.linear(h, v))
        return model

    def by_hand(w):
        return ByHand(w, lambda w: (3, w), lambda h, v: (h[..., None, :] * v).sum(-1))

    histories = []
    for build in (linear, by_hand):
        torch.manual_seed(0)
        model, plan = parameterize(build, width=WIDTH, base_width=BASE, optimizer="adam", example=X, check=False)
        optimizer = torch.optim.Adam(param_groups(model, plan, lr=1e-2))
        losses = []
        for _ in range(4):
            loss = (model(X) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        histories.append(losses)
    assert histories[1] == pytest.approx(histories[0], rel=1e-4)
    assert histories[0][-1] < histories[0][0]


def test_a_matrix_that_is_used_elementwise_too_is_refused():
    with pytest.raises(ClassificationError, match=r"w .*could be hidden"):
        planned(lambda w: (w, 2 * w), lambda h, v: ((h[..., None] * v).sum(-2), torch.relu(h[..., None] * v)))
