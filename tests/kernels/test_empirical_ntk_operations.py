"""Kernels and twins of models that write to their state, of complex numbers, checkpoints, and what vmap gets wrong.

The reference is one plain backward pass for every output, each example by a fresh copy of the model.
"""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from mutransfer.errors import KernelError
from mutransfer.kernels import empirical_ntk, linearize, sketched_ntk
from tests.kernels.jacobian import difference

pytestmark = pytest.mark.usefixtures("float64")


class Model(nn.Module):
    """Parts, and a forward pass that uses them."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def parameter(*shape, **options):
    return nn.Parameter(torch.randn(*shape, **options))


def distances(p):
    def forward(self, x):
        return self.readout(torch.exp(-torch.cdist(self.first(x), self.centres, p=p)))

    return lambda: Model(forward, first=nn.Linear(5, 4), centres=parameter(3, 4), readout=nn.Linear(3, 2))


def clamped(self, x):
    with torch.no_grad():
        self.first.weight.clamp_(-0.2, 0.2)
    return self.readout(self.first(x).tanh())


def normed_data(self, x):
    self.first.weight.data.div_(self.first.weight.data.norm(dim=1, keepdim=True))
    return self.readout(self.first(x).tanh())


def counted(self, x):
    self.count = self.count + 1
    return self.readout(self.first(x).tanh()) * self.count


def counted_in_place(self, x):
    self.count.add_(1)
    return self.readout(self.first(x).tanh()) * self.count


def layers(forward, **parts):
    return lambda: Model(forward, first=nn.Linear(5, 4), readout=nn.Linear(4, 2), **{k: v() for k, v in parts.items()})


def table(make):
    def build():
        model = Model(lambda self, x: self.readout(self.table(x)), table=make(), readout=nn.Linear(4, 2))
        with torch.no_grad():
            model.table.weight.mul_(3)
        return model

    return build


def mean_table():
    return nn.EmbeddingBag(9, 4, max_norm=0.5)


class Positions(nn.Embedding):
    """The mean of the rows of an example's tokens."""

    def forward(self, x):
        return super().forward(x).tanh().mean(1)


def encoder(reentrant, activation):
    def forward(self, x):
        return self.readout(checkpoint(self.layer, self.first(x), use_reentrant=reentrant).mean(1))

    def build():
        layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, activation=activation)
        return Model(forward, first=nn.Linear(4, 4), layer=layer, readout=nn.Linear(4, 2))

    return build


def in_sequence(self, x):
    return self.readout(checkpoint_sequential(self.layers, 2, self.first(x), use_reentrant=False))


def spectrum_filter(self, x):
    return self.readout(torch.fft.irfft(torch.fft.rfft(self.first(x)) * self.filter, n=4))


def real_filter(self, x):
    return self.readout((torch.fft.rfft(x) * self.filter).abs())


MODELS = {
    **{f"distances, p = {p}": (distances(p), (4, 5)) for p in (1.0, 2.0, 3.0, float("inf"))},
    "renormed table": (table(lambda: Positions(9, 4, max_norm=0.5)), 9),
    "renormed and frozen": (table(lambda: Positions(9, 4, max_norm=0.5).requires_grad_(False)), 9),
    "renormed bags": (table(mean_table), 9),
    "spectral norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 2)),
        (4, 5),
    ),
    "clamped": (layers(clamped), (4, 5)),
    "overwritten data": (layers(normed_data), (4, 5)),
    "counting buffer": (layers(counted, count=lambda: nn.Buffer(torch.zeros(()))), (4, 5)),
    "buffer counted in place": (layers(counted_in_place, count=lambda: nn.Buffer(torch.zeros(()))), (4, 5)),
    "counting attribute": (layers(counted, count=lambda: 0), (4, 5)),
    "complex layer": (
        lambda: Model(
            lambda self, x: self.readout(self.inner(x.to(torch.complex128)).real.tanh()),
            inner=nn.Linear(5, 3, dtype=torch.complex128),
            readout=nn.Linear(3, 2),
        ),
        (4, 5),
    ),
    "complex filter": (layers(spectrum_filter, filter=lambda: parameter(3, dtype=torch.complex128)), (4, 5)),
    "complex, two numbers": (
        lambda: Model(
            lambda self, x: self.readout((torch.fft.rfft(x) * torch.view_as_complex(self.filter)).abs()),
            filter=parameter(3, 2),
            readout=nn.Linear(3, 2),
        ),
        (4, 5),
    ),
    "real filter of complex data": (
        lambda: Model(real_filter, filter=parameter(3), readout=nn.Linear(3, 2)),
        (4, 5),
    ),
    "checkpointed encoder": (encoder(False, "relu"), (3, 5, 4)),
    "checkpointed encoder, gelu": (encoder(False, "gelu"), (3, 5, 4)),
    "reentrant checkpoint": (encoder(True, "gelu"), (3, 5, 4)),
    "checkpointed sequence": (
        layers(in_sequence, layers=lambda: nn.Sequential(nn.GELU(), nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 4))),
        (4, 5),
    ),
}


def _drawn(name):
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return build(), torch.randint(0, shape, (4, 6)) if isinstance(shape, int) else torch.randn(shape)


def _real(tensor):
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).flatten()


def _rows(model, x):
    """{parameter: (N, O, size)}, the two parts of complex numbers apart, and the outputs (N, O)."""
    values, by_example = [], []
    for n in range(len(x)):
        fresh = copy.deepcopy(model)
        outputs = fresh(x[n : n + 1]).flatten()
        values.append(outputs.detach())
        parameters = {name: p for name, p in fresh.named_parameters() if p.requires_grad}
        rows = {name: [] for name in parameters}
        for output in outputs:
            fresh.zero_grad()
            output.backward(retain_graph=True)
            for name, p in parameters.items():
                rows[name].append(_real(torch.zeros_like(p) if p.grad is None else p.grad.clone()))
        by_example.append({name: torch.stack(of_outputs) for name, of_outputs in rows.items()})
    return {name: torch.stack([rows[name] for rows in by_example]) for name in by_example[0]}, torch.stack(values)


def _state(model):
    attributes = [{k: v for k, v in vars(m).items() if not isinstance(v, dict)} for m in model.modules()]
    return {name: value.clone() for name, value in model.state_dict().items()}, attributes


def _untouched(model, state):
    tensors, attributes = _state(model)
    return all(torch.equal(tensors[name], value) for name, value in state[0].items()) and attributes == state[1]


@pytest.mark.parametrize("name", MODELS)
def test_kernels_are_the_product_of_jacobians_and_the_model_is_untouched(name):
    model, x = _drawn(name)
    state = _state(model)
    rows, _ = _rows(model, x)
    expected = {name: torch.einsum("nop,mqp->nmoq", row, row) for name, row in rows.items()}
    assert difference(empirical_ntk(model, x, outputs="full", per_layer=True), expected) < 1e-10
    halves = empirical_ntk(model, x, x[:2], outputs="full", per_layer=True, memory_bytes=1)
    assert difference(halves, {name: kernel[:, :2] for name, kernel in expected.items()}) < 1e-10
    sketches = sketched_ntk(model, x, probes=3, size=16)
    assert sketches.shape == (3, len(x), len(x))
    assert not sketches.is_complex()
    assert _untouched(model, state)


@pytest.mark.parametrize("name", MODELS)
def test_twins_are_the_expansion_and_the_model_is_untouched(name):
    model, x = _drawn(name)
    state, x = _state(model), x[:1]
    rows, values = _rows(model, x)
    twin = linearize(model)
    expected = values[0].clone()
    for name, p in twin.named_parameters():
        if p.requires_grad:
            step = 0.1 * torch.randn_like(p)
            expected += rows[name][0] @ _real(step)
            with torch.no_grad():
                p.add_(step)
    parameters = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    for _ in range(2):
        found = twin(x).flatten()
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        gradients = torch.autograd.grad(found.square().sum() / 2, list(parameters.values()), materialize_grads=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(_real(gradient), expected @ rows[name][0], rtol=1e-8, atol=1e-8)
    assert _untouched(model, state)


def test_rows_that_one_example_renorms_and_another_reads_are_refused_and_left_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 4, max_norm=0.5)

        def forward(self, x):
            return self.table(x).mean(1) @ self.table.weight.T

    model = Tied()
    before = model.table.weight.detach().clone()
    with pytest.raises(KernelError, match="examples interact"):
        empirical_ntk(model, torch.arange(8).reshape(4, 2))
    assert torch.equal(model.table.weight, before)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["old weight norm", "kept activations"])
def test_models_that_hold_activations_can_be_linearised(kind):
    def keeping(self, x):
        self.kept = self.first(x).tanh()
        return self.readout(self.kept)

    old = nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 2))
    model, x = old if kind == "old weight norm" else layers(keeping)(), torch.randn(4, 5)
    expected = model(x)
    start = empirical_ntk(model, x)
    twin = linearize(model)
    torch.testing.assert_close(twin(x), expected)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.3)
    torch.testing.assert_close(empirical_ntk(twin, x), start)


def test_checkpoints_are_as_before_afterwards():
    module = torch.utils.checkpoint
    before = dict(vars(module))
    model, x = _drawn("checkpointed encoder")
    empirical_ntk(model, x)
    linearize(model)(x)
    with pytest.raises(RuntimeError):
        linearize(model)(x[..., :3])
    assert dict(vars(module)) == before
