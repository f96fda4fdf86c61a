"""The twin of operations that torch cannot differentiate in some of its ways: values and gradients by Jacobians."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from mutransfer.errors import KernelError
from mutransfer.kernels import linearize
from tests.kernels.models import Squared

pytestmark = pytest.mark.usefixtures("float64")

PLACES = torch.arange(16) % 4


class Between(nn.Module):
    """A function of sixteen features between two linear layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.function = nn.Linear(5, 16), function
        with torch.no_grad():
            width = function(self.first(torch.randn(2, 5))).flatten(1).shape[1]
        self.readout = nn.Linear(width, 2)

    def forward(self, x):
        return self.readout(self.function(self.first(x)).flatten(1))


def image(function):
    return lambda h: function(h.reshape(len(h), 1, 4, 4))


def bags(h):
    table = torch.linspace(0, 1, 48).reshape(16, 3)
    return F.embedding_bag(torch.arange(16).expand(len(h), -1), table, per_sample_weights=h, mode="sum")


# Torch has all derivatives of the first row, lacks some or all of the second, and is wrong forwards in the third.
OPERATIONS = {
    "tanh": torch.tanh,
    "topk": lambda h: h.topk(3, -1)[0],
    "gather of sorted": lambda h: h.gather(1, h.argsort(-1)),
    "einsum": lambda h: torch.einsum("nij,njk->nik", h.reshape(-1, 4, 4), h.reshape(-1, 4, 4)),
    "fft": image(lambda h: torch.fft.rfft2(h).abs()),
    "max pool": image(lambda h: F.max_pool2d(h, 2)),
    "bicubic": image(lambda h: F.interpolate(h, scale_factor=2, mode="bicubic")),
    "loss": lambda h: F.huber_loss(h[:, :8], h[:, 8:], reduction="none"),
    "scatter": lambda h: torch.zeros(len(h), 4).scatter_add(1, PLACES.expand(len(h), -1), h),
    "glu": nn.GLU(),
    "hardsigmoid": nn.Hardsigmoid(),
    "grid sample": lambda h: F.grid_sample(
        h.reshape(-1, 1, 4, 4), torch.tanh(h.reshape(-1, 4, 2, 2)), align_corners=False
    ),
    "distances": lambda h: torch.cdist(h.reshape(-1, 8, 2), torch.linspace(0, 1, 6).reshape(3, 2)),
    "distances in the maximum norm": lambda h: torch.cdist(
        h[:, None], torch.linspace(0, 1, 48).reshape(3, 16), p=float("inf")
    ),
    "bags": bags,
    "sparse product": lambda h: torch.sparse.mm(torch.eye(16).to_sparse(), h.T).T,
    "margin loss": lambda h: F.multi_margin_loss(h, h.argmin(-1), reduction="none")[:, None],
    "scatter of products": lambda h: torch.ones(len(h), 4).scatter_reduce(1, PLACES.expand(len(h), -1), h, "prod"),
    "without a rule of torch.func": lambda h: Squared.apply(h, torch.ones(16)),
}


def _moved(model):
    twin = linearize(model)
    steps = [0.1 * torch.randn_like(p) for p in model.parameters()]
    with torch.no_grad():
        for p, step in zip(twin.parameters(), steps, strict=True):
            p.add_(step)
    return twin, steps


def _expected(model, x, steps):
    """f + J step, and the gradient of half its square, from one backward pass for every output."""
    outputs = model(x).flatten()
    rows = [
        torch.autograd.grad(o, list(model.parameters()), retain_graph=True, materialize_grads=True) for o in outputs
    ]
    values = torch.stack(
        [
            o.detach() + sum((g * s).sum() for g, s in zip(r, steps, strict=True))
            for o, r in zip(outputs, rows, strict=True)
        ]
    )
    return values, [sum(v * row[i] for v, row in zip(values, rows, strict=True)) for i in range(len(steps))]


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients_are_those_of_the_jacobian(name):
    torch.manual_seed(0)
    model, x = Between(OPERATIONS[name]), torch.randn(4, 5)
    twin, steps = _moved(model)
    values, gradients = _expected(model, x, steps)
    for _ in range(2):  # the first call chooses the derivative
        found = twin(x)
        torch.testing.assert_close(found.flatten(), values, rtol=1e-9, atol=1e-10)
        pulled = torch.autograd.grad(found.square().sum() / 2, list(twin.parameters()), materialize_grads=True)
        torch.testing.assert_close(list(pulled), gradients, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["glu", "hardsigmoid"])
def test_stacked_twins_are_the_twins_one_by_one(name):
    x = torch.randn(4, 5)
    twins = [_moved(Between(OPERATIONS[name]))[0] for _ in range(3)]
    parameters, buffers = stack_module_state(twins)
    base = copy.deepcopy(twins[0])
    found = vmap(grad(lambda p, b: functional_call(base, (p, b), (x,)).square().sum()))(parameters, buffers)
    for i, twin in enumerate(twins):
        twin(x).square().sum().backward()
        assert all(torch.allclose(found[name][i], p.grad) for name, p in twin.named_parameters())


def test_weight_norm_is_expanded_in_its_size_and_direction():
    norm = nn.utils.parametrizations.weight_norm
    model, x = nn.Sequential(norm(nn.Linear(5, 4)), nn.GLU(), norm(nn.Linear(2, 2))), torch.randn(4, 5)
    twin, steps = _moved(model)
    torch.testing.assert_close(twin(x).flatten(), _expected(model, x, steps)[0])


def test_second_order_by_two_backward_passes():
    """A gated unit: the second term of the expansion against a central difference."""
    model, x = Between(nn.GLU()), torch.randn(4, 5)
    twin = linearize(model, order=2)
    start = model(x).detach()
    steps = [torch.randn_like(p) for p in model.parameters()]
    with torch.no_grad():
        for p, q, step in zip(twin.parameters(), model.parameters(), steps, strict=True):
            p.add_(step)
            q.add_(1e-3 * step)
        above = model(x)
        for q, step in zip(model.parameters(), steps, strict=True):
            q.sub_(2e-3 * step)
        below = model(x)
    first, second = (above - below) / 2e-3, (above + below - 2 * start) / 1e-6
    torch.testing.assert_close(twin(x).detach(), start + first + second / 2, rtol=1e-4, atol=1e-4)


def test_what_has_first_derivatives_alone_says_so():
    model, x = Between(nn.Hardsigmoid()), torch.randn(4, 5)
    twin = linearize(model)
    parameters = list(twin.parameters())
    gradients = torch.autograd.grad(twin(x).square().sum(), parameters, create_graph=True)
    with pytest.raises(KernelError, match="first derivatives"):
        torch.autograd.grad(sum(g.sum() for g in gradients), parameters)
    with pytest.raises(KernelError, match="forward derivative"):
        linearize(model)(x.requires_grad_())
    with pytest.raises(KernelError, match="forward derivative"):
        linearize(model, order=2)(x.detach())


def test_the_trial_draws_no_random_numbers_and_leaves_errors_of_the_model_alone():
    model, x = nn.Sequential(nn.Linear(5, 16), nn.GLU(), nn.Dropout(0.5), nn.Linear(8, 2)), torch.randn(4, 5)
    twin = linearize(model)
    torch.manual_seed(1)
    first = twin(x)
    torch.manual_seed(1)
    assert torch.equal(twin(x), first)
    assert torch.allclose(_seeded(model, x), first)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linearize(model)(torch.randn(4, 6))


def _seeded(model, x):
    torch.manual_seed(1)
    return model(x)
