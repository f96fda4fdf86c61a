"""What apply does to a model: values rescaled once, inputs multiplied at every pass, and what it refuses."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer import param_groups
from mutransfer.errors import PlanError
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply, parameterize
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan

from .models import D_OUT, OPTIMIZERS, VOCAB, TiedLM, cnn, losses, mlp, normal, regression, two_widths

TOKENS = torch.arange(VOCAB)
infer = partial(Plan.infer, width=32, base_width=8)  # m = 4
wrap = partial(parameterize, width=32, base_width=8)


def single(width):
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))


@pytest.mark.parametrize("name", ["sp", "as_is", "ntk", "mf", "mup"])
@pytest.mark.parametrize("form", ["forward", "absorbed"])
def test_logits_equal_the_manual_computation_with_biases(name, form):
    # Regression: the bias of a layer has a forward multiplier of 1, which once overwrote its weight's.
    model, plan = wrap(mlp, parameterization=name, form=form)
    x, _ = regression()
    h = x
    for i in (0, 2, 4):
        weight, bias = model[i].weight, model[i].bias
        assert bias.abs().min() > 0
        h = F.linear(h, weight) * plan[f"{i}.weight"].forward_mult + bias
        h = torch.tanh(h) if i < 4 else h
    torch.testing.assert_close(model(x), h)
    assert (plan["4.weight"].forward_mult != 1) == (form == "forward" and name in ("ntk", "mf", "mup"))


@pytest.mark.parametrize("name", ["ntk", "mf", "mup"])
def test_convolutions_multiply_their_input_too(name):
    model, plan = wrap(cnn, parameterization=name)
    x = torch.randn(5, 3, 6, 6)
    h = torch.tanh(F.conv2d(x, model[0].weight, model[0].bias))
    h = F.conv2d(h, model[2].weight) * plan["2.weight"].forward_mult + model[2].bias[:, None, None]
    h = F.linear(torch.tanh(model[3](h)).flatten(1), model[6].weight) * plan["6.weight"].forward_mult
    torch.testing.assert_close(model(x), h + model[6].bias)


def test_only_the_values_are_rescaled_and_only_by_init_mult():
    torch.manual_seed(5)
    plain = normal(mlp)(32)
    torch.manual_seed(5)
    model, plan = wrap(normal(mlp), parameterization="mup")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, plain.get_parameter(name) * plan[name].init_mult)
    assert plan["2.weight"].init_mult == 0.5


def test_apply_returns_the_model_itself_and_parameterize_is_infer_build_apply():
    model, plan = mlp(32), infer(mlp)
    assert apply(model, plan) is model
    assert applied_plan(model) is plan
    assert applied_plan(mlp(32)) is None
    torch.manual_seed(5)
    by_hand = apply(mlp(32), plan)
    torch.manual_seed(5)
    at_once, same = wrap(mlp)
    assert same == plan
    assert all(torch.equal(a, b) for a, b in zip(by_hand.parameters(), at_once.parameters(), strict=True))


def test_parameterize_puts_the_model_where_it_is_told():
    model, _ = wrap(mlp, dtype=torch.float64, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.randn(2, 6, dtype=torch.float64)).dtype == torch.float64


def test_a_keyword_input_is_multiplied_as_well():
    model, _ = parameterize(lambda w: nn.Linear(w, 3), width=32, base_width=8, check=False)
    x = torch.randn(2, 32)
    assert torch.equal(model(input=x), model(x))
    torch.testing.assert_close(model(input=x), F.linear(x, model.weight) / 4 + model.bias)


def test_other_arguments_of_the_module_pass_through():
    model, _ = parameterize(lambda w: nn.ConvTranspose1d(w, 3, 2, stride=2), width=32, base_width=8, check=False)
    x = torch.randn(2, 32, 5)
    for found in (model(x, [11]), model(x, output_size=[11])):
        assert found.shape == (2, 3, 11)
        torch.testing.assert_close(found[..., :10] - model.bias[:, None], model(x) - model.bias[:, None])


def test_low_precision_inputs_stay_in_low_precision():
    model, _ = wrap(mlp, parameterization="mf", dtype=torch.bfloat16)
    assert model(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "factor"), [("mup", 1 / 4), ("mf", 1 / 4), ("ntk", 1 / 2), ("sp", 1 / 2)])
@pytest.mark.parametrize("head_first", [False, True])
def test_the_hook_of_a_tied_readout_changes_the_logits_and_leaves_the_shared_tensor(name, factor, head_first):
    build = partial(TiedLM, bias=True, head_first=head_first)
    torch.manual_seed(5)
    plain = build(32)
    torch.manual_seed(5)
    model, plan = wrap(build, parameterization=name)
    assert model.head.weight is model.embedding.weight
    assert torch.equal(model.embedding.weight, plain.embedding.weight)
    h = torch.tanh(plan["hidden.weight"].forward_mult * F.linear(model.embedding(TOKENS), model.hidden.weight)
                   + model.hidden.bias)  # fmt: skip
    for mode in (model.train(), model.eval()):
        torch.testing.assert_close(mode(TOKENS), factor * F.linear(h, model.head.weight) + model.head.bias)


def test_a_plan_goes_on_a_model_once():
    model, plan = wrap(mlp)
    before = [p.clone() for p in model.parameters()]
    for again in (model, nn.Sequential(model), torch.compile(model, backend="eager")):
        with pytest.raises(PlanError, match="a plan is on this model already; applying another would rescale it twice"):
            apply(again, plan)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert len(model[4]._forward_pre_hooks) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_plan_is_refused_after_a_wrapped_checkpoint_was_loaded(optimizer):
    trained, plan = wrap(mlp, optimizer=optimizer)
    fresh = mlp(32)
    fresh.load_state_dict(trained.state_dict())
    before = [p.clone() for p in fresh.parameters()]
    with pytest.raises(
        PlanError, match=r"2\.bias is not as the factory draws it.*Apply the plan to a fresh model first"
    ):
        apply(fresh, plan)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), before, strict=True))
    assert applied_plan(fresh) is None
    assert not any(module._forward_pre_hooks for module in fresh.modules())


def test_a_plan_is_refused_on_a_trained_model():
    model, plan = normal(mlp)(32), infer(normal(mlp))
    x, y = regression()
    losses(model, torch.optim.Adam(model.parameters(), lr=0.05), x, y)
    with pytest.raises(PlanError, match="not as the factory draws it"):
        apply(model, plan)


def test_wrapping_first_and_loading_afterwards_works_and_never_rescales():
    trained, plan = wrap(mlp)
    x, y = regression()
    losses(trained, OPTIMIZERS["adamw"](param_groups(trained, plan, lr=0.01)), x, y)
    for assign in (False, True):
        resumed, _ = wrap(mlp)
        resumed.load_state_dict(trained.state_dict(), assign=assign)
        assert torch.equal(resumed(x), trained(x))
        assert applied_plan(resumed) == plan


def test_a_fresh_model_is_never_mistaken_for_a_trained_one():
    plan = infer(single)
    for seed in range(100):
        torch.manual_seed(seed)
        apply(single(32), plan)
    # A single output's bias is one number, which in one model of a hundred is this small by chance.
    lucky = single(32)
    nn.init.constant_(lucky[4].bias, 1e-3 * lucky[4].bias.item())
    apply(lucky, plan)


def test_a_plan_for_another_width_is_refused():
    plan = infer(mlp)
    with pytest.raises(PlanError, match=r"for another width: 0\.weight has shape \(16, 6\), the plan \(width 32\)"):
        apply(mlp(16), plan)
    mapped = Plan.infer(
        two_widths, width={"d_model": 8, "d_ff": 64}, base_width={"d_model": 8, "d_ff": 16}, check=False
    )
    with pytest.raises(PlanError, match=r"the plan is for another width: 2\.weight"):
        apply(two_widths({"d_model": 8, "d_ff": 32}), mapped)


def test_a_plan_for_another_model_is_refused():
    with pytest.raises(PlanError, match=r"for another model: 0\.bias, 2\.bias, 4\.bias are in only one of them"):
        apply(mlp(32, bias=False), infer(mlp))
    untied = lambda w: nn.ModuleDict({"embedding": nn.Embedding(VOCAB, w), "hidden": nn.Linear(w, w, bias=False)})  # noqa: E731
    with pytest.raises(PlanError, match=r"for another model: it multiplies head, which this one lacks"):
        apply(untied(32), infer(TiedLM))


def test_a_model_without_values_is_taken_as_it_is_and_filled_by_a_checkpoint():
    trained, plan = wrap(mlp)
    with torch.device("meta"):
        model = apply(mlp(32), plan)
    model.load_state_dict(trained.state_dict(), assign=True)
    x, _ = regression()
    assert torch.equal(model(x), trained(x))


def test_a_plan_read_from_a_file_is_as_good_as_the_one_written(tmp_path):
    trained, plan = wrap(cnn, parameterization="mf")
    (tmp_path / "plan.json").write_text(plan.to_json())
    model = apply(cnn(32), Plan.from_json((tmp_path / "plan.json").read_text()))
    model.load_state_dict(trained.state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert model(x).shape == (2, D_OUT)
    assert torch.equal(model(x), trained(x))


def test_one_entry_that_a_truncated_draw_clamped_is_no_trained_model():
    def build(width):
        model = nn.Sequential(nn.Linear(8, width), nn.Linear(width, 2 * width))
        nn.init.trunc_normal_(model[1].weight, std=0.02)
        return model

    plan = Plan.infer(build, width=128, base_width=32, check=False)
    model = build(128)
    with torch.no_grad():
        model[1].weight[3, 5] = -2.0  # as rounding makes of it once in 2**24 entries: 10 % of the size of all
    apply(model, plan)
    trained = build(128)
    with torch.no_grad():
        trained[1].weight.mul_(1.2)
    with pytest.raises(PlanError, match="not as the factory draws it"):
        apply(trained, plan)
