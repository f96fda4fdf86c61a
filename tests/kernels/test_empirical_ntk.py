"""The kernel is what its definition says, whatever the model, to rounding."""

import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.errors import ConfigError, DataError
from mutransfer.kernels import empirical_ntk
from tests.kernels.jacobian import difference, explicit_kernels
from tests.kernels.models import MODELS, Recurrent, Tokens, perceptron

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("name", MODELS)
def test_every_parameters_kernel_is_the_product_of_jacobians(name):
    build, draw = MODELS[name]
    model, x = build(), draw()
    expected = explicit_kernels(model, x)
    assert difference(empirical_ntk(model, x, outputs="full", per_layer=True), expected) < 1e-10
    traces = {name: torch.einsum("nmoo->nm", kernel) for name, kernel in expected.items()}
    assert difference(empirical_ntk(model, x, per_layer=True), traces) < 1e-10


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("memory_bytes", [1, 40_000])
def test_a_small_memory_budget_changes_nothing(name, memory_bytes):
    build, draw = MODELS[name]
    model, x1, x2 = build(), draw(), draw()[:2]
    for second in (None, x2):
        for outputs in ("trace", "full"):
            whole = empirical_ntk(model, x1, second, outputs=outputs)
            parts = empirical_ntk(model, x1, second, outputs=outputs, memory_bytes=memory_bytes)
            assert (whole - parts).abs().max() < 1e-10 * whole.abs().max()


@pytest.mark.parametrize("name", ["perceptron", "tokens", "convolutions", "recurrent"])
def test_cross_kernels_are_the_product_of_jacobians(name):
    build, draw = MODELS[name]
    model, x1, x2 = build(), draw(), draw()[:2]
    expected = explicit_kernels(model, x1, x2)
    assert difference(empirical_ntk(model, x1, x2, outputs="full", per_layer=True), expected) < 1e-10
    backwards = empirical_ntk(model, x2, x1, outputs="full").permute(1, 0, 3, 2)
    assert difference({"": backwards}, {"": sum(expected.values())}) < 1e-10


@pytest.mark.parametrize(("n1", "n2"), [(1, None), (1, 1), (1, 3), (2, None), (3, 1)])
def test_kernels_of_one_to_three_examples_are_the_product_of_jacobians(n1, n2):
    model, x1 = Tokens(), torch.randint(0, 9, (n1, 4))
    x2 = None if n2 is None else torch.randint(0, 9, (n2, 4))
    found = empirical_ntk(model, x1, x2, outputs="full", per_layer=True)
    assert difference(found, explicit_kernels(model, x1, x2)) < 1e-10


def test_sum_mean_and_full_agree():
    model, x = perceptron(), torch.randn(4, 5)
    full, trace = empirical_ntk(model, x, outputs="full"), empirical_ntk(model, x, outputs="trace")
    torch.testing.assert_close(torch.einsum("nmoo->nm", full), trace)
    torch.testing.assert_close(empirical_ntk(model, x, outputs="mean"), trace / 3)
    torch.testing.assert_close(sum(empirical_ntk(model, x, per_layer=True).values()), trace)


@pytest.mark.parametrize("memory_bytes", [1, 2**30])
def test_without_x2_the_kernel_is_exactly_symmetric(memory_bytes):
    model, x = perceptron(), torch.randn(7, 5)
    trace = empirical_ntk(model, x, memory_bytes=memory_bytes)
    full = empirical_ntk(model, x, outputs="full", memory_bytes=memory_bytes)
    assert torch.equal(trace, trace.mT)
    assert torch.equal(full, full.permute(1, 0, 3, 2))
    torch.testing.assert_close(trace, empirical_ntk(model, x, x))


def test_the_kernel_of_one_direction_is_that_of_the_combined_output():
    model, x = perceptron(), torch.randn(4, 5)
    full = empirical_ntk(model, x, outputs="full")
    shared, own = torch.randn(3), torch.randn(4, 3)
    torch.testing.assert_close(
        empirical_ntk(model, x, direction=shared), torch.einsum("o,nmop,p->nm", shared, full, shared)
    )
    torch.testing.assert_close(empirical_ntk(model, x, direction=own), torch.einsum("no,nmop,mp->nm", own, full, own))
    with pytest.raises(DataError, match="3 outputs"):
        empirical_ntk(model, x, direction=torch.randn(5))


def test_outputs_of_any_shape_are_flattened():
    model, x = nn.Conv1d(2, 3, 2), torch.randn(3, 2, 5)
    assert empirical_ntk(model, x, outputs="full").shape == (3, 3, 12, 12)
    assert difference(empirical_ntk(model, x, outputs="full", per_layer=True), explicit_kernels(model, x)) < 1e-10


def test_weights_count_by_parameter_by_module_and_by_plan():
    def build(width):
        return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 2))

    model, x = build(16), torch.randn(4, 5)
    kernels = empirical_ntk(model, x, per_layer=True)
    found = empirical_ntk(model, x, weights={"": 0.5, "0": 2.0, "0.bias": 3.0})
    torch.testing.assert_close(
        found, 2 * kernels["0.weight"] + 3 * kernels["0.bias"] + 0.5 * (kernels["2.weight"] + kernels["2.bias"])
    )
    plan = mt.Plan.infer(build, width=16, base_width=4, parameterization="mup", optimizer="sgd", check=False)
    assert {plan[name].lr_mult for name in kernels} != {1.0}
    expected = sum(plan[name].lr_mult * kernel for name, kernel in kernels.items())
    torch.testing.assert_close(empirical_ntk(model, x, weights=plan), expected)
    with pytest.raises(ConfigError, match=r"2\.weight"):
        empirical_ntk(model, x, weights={"0": 1.0})
    with pytest.raises(ConfigError, match="readout"):
        empirical_ntk(model, x, weights={"": 1.0, "readout": 1.0})


def test_a_wrapped_models_multipliers_count():
    def build(width):
        return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 2))

    model, _ = mt.parameterize(build, width=16, base_width=4, parameterization="mup", optimizer="sgd", check=False)
    x = torch.randn(4, 5)
    assert difference(empirical_ntk(model, x, outputs="full", per_layer=True), explicit_kernels(model, x)) < 1e-10
    assert not torch.allclose(empirical_ntk(model, x), empirical_ntk(mt.fold(model, _), x), rtol=1e-3)


def test_the_lr_weighted_kernel_is_the_same_in_equivalent_forms():
    """theory.md section 3: the forms of mup differ in K but not in sum of lr_l K_l; the plain sum does differ."""

    def build(width):
        return nn.Sequential(nn.Linear(5, width, bias=False), nn.Tanh(), nn.Linear(width, 2, bias=False))

    x, weighted, plain = torch.randn(4, 5), [], []
    for form in ("forward", "absorbed"):
        torch.manual_seed(0)
        model, plan = mt.parameterize(build, width=64, base_width=4, optimizer="sgd", form=form, check=False)
        weighted.append(empirical_ntk(model, x, weights=plan))
        plain.append(empirical_ntk(model, x))
    torch.testing.assert_close(*weighted)
    assert (plain[0] - plain[1]).abs().max() > 0.1 * plain[0].abs().max()


def test_frozen_parameters_are_left_out_and_tied_ones_are_one():
    model = perceptron()
    model[0].weight.requires_grad_(False)
    assert empirical_ntk(model, torch.randn(3, 5), per_layer=True).keys() == {
        "0.bias",
        "2.weight",
        "2.bias",
        "3.weight",
        "3.bias",
    }
    tied = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    x = torch.randn(3, 4)
    found = empirical_ntk(tied, x, outputs="full", per_layer=True)
    assert found.keys() == {"0.weight", "0.bias", "2.bias"}
    assert difference(found, explicit_kernels(tied, x)) < 1e-10


def test_arguments_by_name_and_by_position_give_one_kernel():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, x, y, scale=1.0):
            return {"logits": scale * self.a(x) * self.b(y)}

    model, x, y = Two(), torch.randn(4, 3), torch.randn(4, 4)
    by_name = empirical_ntk(model, {"x": x, "y": y, "scale": 2.0})
    torch.testing.assert_close(by_name, empirical_ntk(model, (x, y, 2.0)))
    torch.testing.assert_close(by_name, 4 * empirical_ntk(model, (x, y)))
    with pytest.raises(DataError, match="first dimension"):
        empirical_ntk(model, (x, y[:2]))


def test_float32_is_float32_and_close():
    for build, draw in (MODELS["convolutions"], MODELS["tokens"]):
        model, x = build(), draw()
        exact = empirical_ntk(model, x)
        found = empirical_ntk(model.float(), x.float() if x.is_floating_point() else x)
        assert found.dtype == torch.float32
        assert (found - exact).abs().max() < 1e-4 * exact.abs().max()


def test_a_layer_whose_gradient_is_exactly_zero_has_a_kernel_of_zeros():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    nn.init.zeros_(model[1].weight)
    kernels = empirical_ntk(model, torch.randn(3, 4), per_layer=True)
    assert not kernels["0.weight"].any()
    assert kernels["1.bias"].eq(2).all()


def test_kernels_of_hugging_face_models_are_the_product_of_jacobians():
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 5, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=8, **sizes))
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            **sizes,
        )
    )
    x = torch.randint(0, 5, (3, 3))
    for model in (gpt2.eval().double(), llama.eval().double()):
        expected = {name: torch.einsum("nmoo->nm", k) for name, k in explicit_kernels(model, x).items()}
        found = empirical_ntk(model, {"input_ids": x}, per_layer=True)
        assert difference(found, expected) < 1e-7  # Llama's norms compute in float32


@pytest.mark.parametrize("build", [perceptron, Tokens, Recurrent])
def test_state_gradients_hooks_and_random_state_are_untouched(build):
    model = build()
    x = {perceptron: torch.randn(4, 5), Tokens: torch.randint(0, 9, (4, 4)), Recurrent: torch.randn(4, 4, 4)}[build]
    calls = []
    for p in model.parameters():
        p.grad = torch.ones_like(p)
        p.register_hook(calls.append)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    identities, random_state = [id(p) for p in model.parameters()], torch.get_rng_state()
    with torch.no_grad():
        empirical_ntk(model, x)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad.eq(1).all() for p in model.parameters())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert identities == [id(p) for p in model.parameters()]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not calls


def test_running_statistics_are_untouched_in_train_mode():
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.InstanceNorm1d(3, affine=True, track_running_stats=True))
    before = model[1].running_mean.clone()
    x = torch.randn(3, 2, 5)
    found = empirical_ntk(model, x, outputs="full", per_layer=True)
    assert torch.equal(model[1].running_mean, before)
    assert model[1].num_batches_tracked == 0
    assert difference(found, explicit_kernels(model, x)) < 1e-10


def test_a_compiled_and_a_wrapped_model_are_the_model_inside():
    model, x = perceptron(), torch.randn(4, 5)
    expected = empirical_ntk(model, x)
    torch.testing.assert_close(empirical_ntk(torch.compile(model), x), expected)
    assert empirical_ntk(nn.DataParallel(model), x, per_layer=True).keys() == dict(model.named_parameters()).keys()


class Halved(torch.autograd.Function):
    """Its backward pass reads a number, which torch.func.vmap cannot."""

    @staticmethod
    def forward(ctx, x):
        return x / 2

    @staticmethod
    def backward(ctx, gradient):
        assert gradient.abs().max().item() >= 0
        return gradient / 2


@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_backward_passes_that_cannot_run_together_run_one_after_the_other(outputs):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.second(Halved.apply(self.first(x)).tanh())

    model, x = Model(), torch.randn(4, 5)
    _agrees(model, x, outputs)


@pytest.mark.parametrize(
    "function", [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.ELU(0.7), nn.SELU(), nn.CELU(), nn.Softplus(2.0)]
)
def test_slopes_that_are_kept_are_those_of_the_function(function):
    model = nn.Sequential(nn.Linear(5, 6), function, nn.Linear(6, 3))
    _agrees(model, 3 * torch.randn(4, 5), "full")


@pytest.mark.parametrize(("positions", "width"), [(2, 3), (4, 40), (6, 200)])
def test_pairs_of_outputs_at_several_positions_are_the_product_of_jacobians(positions, width):
    """Wide weights make products of positions the cheaper form."""
    model = nn.Sequential(
        nn.Linear(width, 7), nn.Tanh(), nn.Linear(7, width), nn.Flatten(), nn.Linear(positions * width, 3)
    )
    _agrees(model, torch.randn(5, positions, width), "full")


def _agrees(model, x, outputs):
    found = empirical_ntk(model, x, outputs=outputs, per_layer=True)
    expected = explicit_kernels(model, x)
    if outputs == "trace":
        expected = {name: torch.einsum("nmoo->nm", kernel) for name, kernel in expected.items()}
    assert difference(found, expected) < 1e-12


def test_the_kernel_is_the_same_bit_for_bit_in_every_process():
    """Parameters are summed in an order that Python's hash seed has no part in."""
    script = """
import torch
from torch import nn
from mutransfer.kernels import empirical_ntk
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
print([x.hex() for x in empirical_ntk(model, torch.randn(6, 5)).flatten().tolist()])
"""
    here = StringIO()
    torch.set_default_dtype(torch.float32)  # as there; the fixture sets back what was before it
    with redirect_stdout(here):
        exec(script, {})
    other = "0" if sys.flags.hash_randomization else "1"  # the flag is 0 where this process has the seed 0
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": other, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert process.stdout == here.getvalue()
