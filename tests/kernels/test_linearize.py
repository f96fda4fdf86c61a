"""The twin is the Taylor polynomial, and trains, copies, saves and stacks like the model."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

import mutransfer as mt
from mutransfer.errors import ConfigError, PlanError
from mutransfer.kernels import empirical_ntk, lazy, linearize
from tests.kernels.models import Packed, Recurrent, TimeFirst, Tokens, perceptron

pytestmark = pytest.mark.usefixtures("float64")


def _moved(model, twin, size):
    """Both at the same parameters, ``size`` away from where they were."""
    with torch.no_grad():
        for (name, p), (other, q) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
            assert name == other
            p.add_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))))
            q.copy_(p)
    return model, twin


class Cubic(nn.Module):
    """Of degree 3 in its parameters."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_buffer("mask", torch.ones(2))

    def forward(self, x):
        return self.c(self.b(self.a(x))) * self.mask


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_cubic_is_its_own_expansion_from_third_order_on(order):
    x = torch.randn(5, 3)
    model = Cubic()
    model, twin = _moved(model, linearize(model, order=order), 0.3)
    error = (model(x) - twin(x)).abs().max()
    assert (error < 1e-12) if order >= 3 else (error > 1e-3)


@pytest.mark.parametrize("order", [1, 2])
def test_the_error_is_of_the_next_order_in_the_step(order):
    errors = []
    for size in (2e-3, 1e-3):
        torch.manual_seed(0)
        model, x = nn.Sequential(Cubic(), nn.Tanh()), torch.randn(5, 3)
        model, twin = _moved(model, linearize(model, order=order), size)
        errors.append(float((model(x) - twin(x)).detach().abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2 ** (order + 1), rel=0.05)


@pytest.mark.parametrize(
    ("build", "draw"),
    [
        (Recurrent, lambda: torch.randn(3, 4, 4)),
        (Packed, lambda: torch.randn(3, 5, 4)),
        (lambda: TimeFirst().eval(), lambda: torch.randn(3, 4, 4)),
        (Tokens, lambda: torch.randint(0, 9, (4, 4))),
    ],
)
def test_the_kernel_of_the_twin_stays_where_the_models_was(build, draw):
    model, x = build(), draw()
    start = empirical_ntk(model, x)
    model, twin = _moved(model, linearize(model), 0.1)
    torch.testing.assert_close(empirical_ntk(twin, x), start)
    assert (empirical_ntk(model, x) - start).abs().max() > 1e-3 * start.abs().max()


def test_at_its_origin_it_has_the_models_values_and_gradients():
    model, x = perceptron(), torch.randn(4, 5)
    twin = linearize(model)
    assert torch.allclose(twin(x), model(x))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        a, b = torch.autograd.grad(model(x).sum(), p)[0], torch.autograd.grad(twin(x).sum(), q)[0]
        assert torch.allclose(a, b)


@pytest.mark.parametrize("make", [linearize, lambda model: lazy(model, 3.0)])
def test_the_model_is_left_alone_and_the_twin_copies_and_saves(make):
    model, x = perceptron(), torch.randn(4, 5)
    before = copy.deepcopy(model.state_dict())
    twin = make(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.003)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (twin(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(copy.deepcopy(twin)(x), twin(x))
    other = make(perceptron())
    assert not torch.allclose(other(x), twin(x))
    other.load_state_dict(twin.state_dict())
    assert torch.equal(other(x), twin(x))
    assert before.keys() < twin.state_dict().keys()


@pytest.mark.parametrize("make", [linearize, lambda model: lazy(model, 3.0)])
def test_stacked_twins_are_the_twins_one_by_one(make):
    x = torch.randn(4, 5)
    twins = [make(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))) for _ in range(3)]
    for i, twin in enumerate(twins):
        with torch.no_grad():
            for p in twin.parameters():
                p.add_(0.1 * (i + 1))
    parameters, buffers = stack_module_state(twins)
    base = copy.deepcopy(twins[0])

    def loss(p, b):
        return functional_call(base, (p, b), (x,)).square().sum()

    found = vmap(grad(loss))(parameters, buffers)
    for i, twin in enumerate(twins):
        twin(x).square().sum().backward()
        assert all(torch.allclose(found[name][i], p.grad) for name, p in twin.named_parameters())


def test_a_plans_groups_fit_the_twin():
    def build(width):
        return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 2))

    model, plan = mt.parameterize(build, width=16, base_width=4, optimizer="sgd", check=False)
    twin, x = linearize(model), torch.randn(3, 5)
    assert torch.allclose(twin(x), model(x))
    groups = mt.param_groups(twin, plan, lr=0.1)
    reference = mt.param_groups(model, plan, lr=0.1)
    assert [[tuple(p.shape) for p in g["params"]] for g in groups] == [
        [tuple(p.shape) for p in g["params"]] for g in reference
    ]
    assert [g["lr"] for g in groups] == [g["lr"] for g in reference]
    model[2] = nn.Linear(16, 2)  # without its multiplier
    with pytest.raises(PlanError, match="is not on this model at 2"):
        mt.param_groups(linearize(model), plan, lr=0.1)


def test_tied_and_frozen_parameters_stay_so():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    twin = linearize(model)
    parameters = dict(twin.named_parameters())
    assert parameters.keys() == dict(model.named_parameters()).keys()
    assert not parameters["0.bias"].requires_grad
    model, twin = _moved(model, linearize(model, order=2), 1e-3)
    x = torch.randn(3, 4)
    assert (model(x) - twin(x)).abs().max() < 1e-7


def test_train_and_eval_reach_the_model_inside():
    model = nn.Sequential(nn.Linear(5, 50), nn.Dropout(0.5), nn.BatchNorm1d(50), nn.Linear(50, 1))
    twin, x = linearize(model), torch.randn(8, 5)
    assert not torch.equal(twin(x), twin(x))
    assert twin.state_dict()["2.num_batches_tracked"] == 0
    twin.eval()
    assert torch.equal(twin(x), twin(x))
    assert torch.allclose(twin(x), model.eval()(x))


def test_several_outputs_are_expanded_each_and_whatever_else_is_kept():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return {"logits": self.layer(x), "hidden": (x * self.layer.weight[0], 7, None)}

    model, x = Several(), torch.randn(4, 3)
    model, twin = _moved(model, linearize(model), 0.5)
    found, expected = twin(x), model(x)
    assert torch.allclose(found["logits"], expected["logits"])  # linear already
    assert torch.allclose(found["hidden"][0], expected["hidden"][0])
    assert found["hidden"][1:] == (7, None)


@pytest.mark.parametrize("order", [0, -1, 1.5, True])
def test_orders_below_one_are_refused(order):
    with pytest.raises(ConfigError, match="order"):
        linearize(perceptron(), order=order)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_scales_that_are_not_positive_are_refused(alpha):
    with pytest.raises(ConfigError, match="alpha"):
        lazy(perceptron(), alpha)


def test_the_lazy_model_is_the_scaled_change():
    model, x = perceptron(), torch.randn(4, 5)
    start = model(x).detach()
    model, twin = _moved(model, lazy(model, 3.0), 0.1)
    assert torch.allclose(twin(x), 3 * (model(x) - start))
    linear = lazy(linearize(perceptron()), 2.0)
    assert not linear(x).any()
    assert len(list(linear.parameters())) == len(list(model.parameters()))


def test_laziness_has_the_exponents_of_theorem_2_2():
    """Chizat et al. 2019: on loss / alpha^2, |th - th0| ~ 1/alpha and the error of linearising alpha f ~ 1/alpha.

    Over four seeds of the model, octave by octave from alpha = 32 on: -1.002 to -0.999 and -1.05 to -0.96, ever closer
    to -1; from 8 to 16 the error's slope is still -1.18 to -0.86.
    """
    x, y = torch.randn(20, 5), torch.randn(20, 1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 1))
    alphas, moves, errors = [32.0, 64.0, 128.0, 256.0], [], []
    for alpha in alphas:
        outputs = []
        for twin in (lazy(model, alpha), lazy(linearize(model), alpha)):
            optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
            for _ in range(60):
                optimizer.zero_grad()
                ((twin(x) - y).square().mean() / alpha**2).backward()
                optimizer.step()
            outputs.append(twin(x).detach())
            step = [p.detach() - q.detach() for p, q in zip(twin.parameters(), model.parameters(), strict=True)]
            moves.append(float(torch.cat([s.flatten() for s in step]).norm()))
        errors.append(float((outputs[0] - outputs[1]).norm()))
    log = torch.log(torch.tensor([alphas, moves[::2], errors])).double()
    slopes = [float(torch.linalg.lstsq(torch.stack([log[0], torch.ones(4)], 1), log[i]).solution[0]) for i in (1, 2)]
    assert slopes == pytest.approx([-1, -1], abs=0.05)
