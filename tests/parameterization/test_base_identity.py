"""At base width every parameterization is the user's own model, and the random state is as after one build."""

from functools import partial

import pytest
import torch

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import parameterize

from .models import OPTIMIZERS, VOCAB, Dice, TiedLM, cnn, losses, mlp, random_state, regression, restore, two_widths

NAMES = ["sp", "as_is", "ntk", "mf", "mup"]
FORMS = ["forward", "absorbed"]
HYPERPARAMETERS = {"sgd": {"lr": 0.07}, "adam": {"lr": 0.003, "eps": 1e-5}, "adamw": {"lr": 0.003, "eps": 1e-5}}
TOKENS = torch.arange(VOCAB)


def same_bits(model, other):
    a, b = model.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("build", [partial(mlp, bias=True), Dice, cnn, TiedLM], ids=["mlp", "dice", "cnn", "tied"])
def test_at_base_width_the_wrapped_model_is_the_users_own_bit_for_bit(build, name, form, optimizer):
    before = random_state()
    plain = build(6)
    after_one_build = random_state()
    restore(before)
    model, plan = parameterize(
        build, width=6, base_width=6, parameterization=name, form=form, optimizer=optimizer, check=False
    )
    assert random_state() == after_one_build
    assert same_bits(model, plain)
    for s in plan.values():
        assert (s.init_mult, s.forward_mult, s.lr_mult, s.wd_mult, s.eps_mult, s.m_in, s.m_out) == (1.0,) * 7
    assert all(site.factor == 1.0 for site in plan.sites.values())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NAMES)
def test_at_base_width_training_is_the_users_own_bit_for_bit(name, optimizer):
    x, y = regression()
    decay = {} if optimizer == "adam" else {"weight_decay": 0.1}
    arguments = HYPERPARAMETERS[optimizer] | decay
    torch.manual_seed(3)
    plain = mlp(8)
    expected = losses(plain, OPTIMIZERS[optimizer](plain.parameters(), **arguments), x, y)
    torch.manual_seed(3)
    model, plan = parameterize(mlp, width=8, base_width=8, parameterization=name, optimizer=optimizer, check=False)
    # lr, weight decay and eps come from the groups; what the constructor is given is ignored.
    groups = param_groups(model, plan, **arguments)
    assert losses(model, OPTIMIZERS[optimizer](groups), x, y) == expected
    assert same_bits(model, plain)


def test_with_a_mapping_of_widths_the_base_is_the_users_own_too():
    width = {"d_model": 4, "d_ff": 12}
    torch.manual_seed(3)
    plain = two_widths(width)
    torch.manual_seed(3)
    model, _ = parameterize(two_widths, width=width, base_width=dict(width), parameterization="mf", check=False)
    assert same_bits(model, plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [6, 24])
def test_the_random_state_of_torch_numpy_and_python_is_as_after_one_build(name, width):
    before = random_state()
    plan = Plan.infer(Dice, width=width, base_width=6, parameterization=name, check=False)
    assert random_state() == before  # inference leaves it untouched
    model, parameterized = parameterize(Dice, width=width, base_width=6, parameterization=name, check=False)
    after = random_state()
    assert parameterized == plan
    restore(before)
    plain = Dice(width)
    assert random_state() == after
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, plain.get_parameter(key) * plan[key].init_mult)


def test_away_from_base_the_parameterizations_train_differently():
    x, y = regression()
    ends = []
    for name in ("sp", "ntk", "mup"):
        torch.manual_seed(3)
        model, plan = parameterize(mlp, width=24, base_width=6, parameterization=name, optimizer="adam", check=False)
        ends.append(losses(model, torch.optim.Adam(param_groups(model, plan, lr=0.01)), x, y)[-1])
    assert min(abs(a - b) for a, b in [ends[:2], ends[1:], ends[::2]]) > 0.01


def test_a_tied_model_computes_the_same_logits_at_base_width():
    torch.manual_seed(3)
    plain = TiedLM(6)
    torch.manual_seed(3)
    model, _ = parameterize(TiedLM, width=6, base_width=6, parameterization="sp", check=False)
    assert torch.equal(model(TOKENS), plain(TOKENS))
