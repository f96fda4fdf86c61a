"""The refined coordinate check: a module's own update apart from what reaches it, by hand; and nothing is changed."""

import math

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.parameterization.measuring.updates import alignment_exponent, output_changes, own_updates, start


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 2))


def moved(model):
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)


def rms(x):
    return float(x.detach().square().mean().sqrt())


@pytest.fixture
def x():
    return torch.randn(9, 5, generator=torch.Generator().manual_seed(1))


def test_the_two_parts_of_a_linear_layer_are_those_of_the_definition(x):
    model = network()
    before = start(model, lambda: model(x))
    w, b, inputs = model[2].weight.clone(), model[2].bias.clone(), model[:2](x)
    moved(model)
    found = output_changes(model, before, lambda: model(x))["2"]
    after = model[:2](x)
    effective = after @ (model[2].weight - w).T + model[2].bias - b
    propagated = (after - inputs) @ w.T
    assert float(found.effective) == pytest.approx(rms(effective), rel=1e-5)
    assert float(found.propagated) == pytest.approx(rms(propagated), rel=1e-5)
    assert float(found.change) == pytest.approx(rms(effective + propagated), rel=1e-5)
    assert float(found.before) == pytest.approx(rms(inputs @ w.T + b), rel=1e-5)
    product, bound, fan_in = found.alignment
    assert fan_in == 7
    assert float(product) == pytest.approx(rms(after @ (model[2].weight - w).T), rel=1e-5)
    assert float(bound) == pytest.approx(rms(model[2].weight - w) * rms(after), rel=1e-5)


def test_a_layer_that_only_hands_on_has_no_effective_update(x):
    model = network()
    before = start(model, lambda: model(x))
    with torch.no_grad():
        model[0].weight += 1.0
    found = output_changes(model, before, lambda: model(x))
    assert float(found["0"].propagated) == 0.0
    assert float(found["2"].effective) == 0.0
    assert float(found["2"].propagated) > 0.0


def test_multipliers_of_a_plan_count(x):
    def build(width):
        return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 2))

    model, _ = mt.parameterize(build, width=32, base_width=8, check=False)
    before = start(model, lambda: model(x), inputs=True)
    with torch.no_grad():
        model[2].weight += 1.0
    by_hand = 0.25 * model[:2](x).sum(1, keepdim=True).expand(-1, 2)  # 1 / m_in
    change = output_changes(model, before, lambda: model(x))["2"]
    assert float(change.effective) == pytest.approx(rms(by_hand), rel=1e-5)
    assert float(own_updates(model, before)["2.weight"]) == pytest.approx(rms(by_hand), rel=1e-5)


def test_an_own_update_is_that_of_one_parameter_on_the_initial_inputs(x):
    model = network()
    before = start(model, lambda: model(x), inputs=True)
    w, b, inputs = model[2].weight.clone(), model[2].bias.clone(), model[:2](x)
    moved(model)
    found = own_updates(model, before)
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert float(found["2.weight"]) == pytest.approx(rms(inputs @ (model[2].weight - w).T), rel=1e-5)
    assert float(found["2.bias"]) == pytest.approx(rms((model[2].bias - b).expand(9, -1)), rel=1e-5)


def test_looking_leaves_parameters_their_memory_gradients_modes_and_hooks_as_they_were(x):
    model = network()
    before = start(model, lambda: model(x), inputs=True)
    moved(model)
    values = [p.clone() for p in model.parameters()]
    places = [p.data_ptr() for p in model.parameters()]
    model[1].eval()
    output_changes(model, before, lambda: model(x))
    own_updates(model, before)
    assert all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))
    assert [p.data_ptr() for p in model.parameters()] == places
    assert model.training
    assert not model[1].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_is_kept_of_the_start_is_not_changed_by_training_in_place(x):
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    before = start(model, lambda: model(x), inputs=True)
    first, weight = model[0](x), model[0].weight.detach().clone()
    moved(model)
    assert torch.equal(before.outputs["0"], first)
    assert torch.equal(before.weights["0"]["weight"], weight)
    assert float(before.inputs["2"][0][0].min()) >= 0.0  # behind the ReLU


def test_a_weight_that_a_parametrization_makes_moves_with_what_it_is_made_of(x):
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), nn.Linear(4, 2))
    before = start(model, lambda: model(x), inputs=True)
    w = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].parametrizations.weight.original0 *= 2  # the norm
    assert float(output_changes(model, before, lambda: model(x))["0"].effective) == pytest.approx(
        rms(x @ w.T), rel=1e-5
    )
    assert float(own_updates(model, before)["0.parametrizations.weight.original0"]) == pytest.approx(
        rms(x @ w.T), rel=1e-5
    )


def test_each_use_of_a_tied_tensor_has_an_update():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, t):
            return self.head(self.tokens(t))

    model, t = Tied(), torch.arange(6)
    before = start(model, lambda: model(t), inputs=True)
    inputs = model.tokens(t).detach()
    with torch.no_grad():
        model.tokens.weight += 1.0
    found = own_updates(model, before)
    assert float(found["tokens.weight"]) == pytest.approx(1.0)
    assert float(found["head:tokens.weight"]) == pytest.approx(rms(inputs.sum(1, keepdim=True)), rel=1e-5)


@pytest.mark.parametrize("layer", [nn.Linear(256, 64), nn.Conv1d(128, 64, 2)])
def test_alignment_is_1_for_an_update_along_its_input_and_half_for_a_random_one(layer):
    torch.manual_seed(0)
    x = torch.randn(1, 256) if isinstance(layer, nn.Linear) else torch.randn(1, 128, 2)
    found = []
    for update in (x.flatten().expand(64, -1).reshape(layer.weight.shape), torch.randn_like(layer.weight)):
        model = nn.Sequential(layer)
        before = start(model, lambda model=model: model(x))
        with torch.no_grad():
            layer.weight += update
            layer.bias += 10.0  # no part of it
        product, bound, fan_in = output_changes(model, before, lambda model=model: model(x))["0"].alignment
        assert fan_in == 256
        found.append(alignment_exponent((float(product), float(bound)), fan_in))
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    assert found[1] == pytest.approx(0.5, abs=0.05)  # 64 outputs: their root-mean-square is known to 9 %


def test_no_alignment_where_nothing_moved():
    assert math.isnan(alignment_exponent((0.0, 0.0), 16))
