"""A model without values: the plan goes on first or last, and what is drawn later is rescaled once."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer import Plan, apply, attach, fold, muon_groups, param_groups, parameterize
from mutransfer.errors import PlanError
from mutransfer.parameterization.initialisation.drawn_sizes import CHUNK

from .models import mlp, regression
from .survival import BASE, BUILDS, CHOICES, WIDTH, factors, wrap

NOT_RESCALED = "had no values .* when the plan was applied, and those that it has now are not rescaled"
SAME_SEED = 5


def drawn(model):
    """Materialised and initialised by the user's own code, as ``mlp`` would be from this seed."""
    model.to_empty(device="cpu")
    torch.manual_seed(SAME_SEED)
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return model


@pytest.fixture
def plan():
    return Plan.infer(mlp, width=WIDTH, base_width=BASE, parameterization="mf", check=False)


@pytest.fixture
def pending(plan):
    """The plan was put on before there were values."""
    with torch.device("meta"):
        return apply(mlp(WIDTH), plan)


@pytest.fixture
def expected():
    torch.manual_seed(SAME_SEED)
    return wrap(mlp)[0]


def same(model, other):
    x, _ = regression()
    return torch.equal(model(x), other(x)) and all(map(torch.equal, model.parameters(), other.parameters()))


def test_the_plan_put_on_after_the_values_are_there_is_as_on_any_fresh_model(plan, expected):
    with torch.device("meta"):
        model = mlp(WIDTH)
    assert same(apply(drawn(model), plan), expected)


COPIES = {"": lambda m: m, "deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}


@pytest.mark.parametrize("how", COPIES)
def test_a_plan_put_on_first_rescales_on_the_second_call_and_on_no_third(plan, pending, expected, how):
    model = drawn(COPIES[how](pending))
    assert not same(model, expected)
    assert same(apply(model, plan), expected)
    assert factors(model, plan) == factors(expected, plan)
    with pytest.raises(PlanError, match="a plan is on this model already; applying another would rescale it twice"):
        apply(model, plan)
    assert same(model, expected)


def test_parameterize_on_meta_leaves_the_values_for_later(expected):
    model, plan = parameterize(mlp, **CHOICES, device="meta", dtype=torch.bfloat16, check=False)
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    assert same(apply(drawn(model.float()), plan), expected)


def test_values_that_were_drawn_and_not_rescaled_get_no_optimizer(plan, pending):
    param_groups(pending, plan, lr=1.0)  # to look at: there are no values yet
    with pytest.raises(PlanError, match=NOT_RESCALED):
        param_groups(drawn(pending), plan, lr=1.0)
    param_groups(apply(pending, plan), plan, lr=1.0)
    model, plan = parameterize(mlp, width=WIDTH, base_width=BASE, optimizer="muon", device="meta", check=False)
    with pytest.raises(PlanError, match=NOT_RESCALED):
        muon_groups(drawn(model), plan, lr=1.0, adamw_lr=1.0)


def test_the_second_call_needs_values_and_the_same_plan(plan, pending):
    other = Plan.infer(mlp, width=WIDTH, base_width=BASE, parameterization="ntk", check=False)
    for wrong, message in ((plan, "already, which has no values yet: call to_empty"), (other, "already")):
        with pytest.raises(PlanError, match=message):
            apply(pending, wrong)
    for put in (apply, attach):
        with pytest.raises(PlanError, match="a plan is on this model already"):
            put(drawn(pending), other)


def test_a_checkpoint_needs_no_second_call_and_is_refused_one(plan, pending, expected):
    for assign in (False, True):
        model = copy.deepcopy(pending).to_empty(device="cpu")
        model.load_state_dict(expected.state_dict(), assign=assign)
        assert same(model, expected)
        assert factors(model, plan) == factors(expected, plan)
        with pytest.raises(PlanError, match="already"):
            apply(model, plan)


def test_a_checkpoint_that_leaves_parameters_out_is_not_enough(plan, pending, expected):
    partly = {name: value for name, value in expected.state_dict().items() if name != "2.bias"}
    pending.to_empty(device="cpu").load_state_dict(partly, strict=False)
    with pytest.raises(PlanError, match=NOT_RESCALED):
        param_groups(pending, plan, lr=1.0)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_a_checkpoint_copied_into_no_values_is_not_enough(plan, pending, expected):
    pending.load_state_dict(expected.state_dict())  # torch only warns
    with pytest.raises(PlanError, match=NOT_RESCALED):
        param_groups(drawn(pending), plan, lr=1.0)


def test_values_that_came_by_another_way_are_declared_by_attaching(plan, pending, expected):
    pending.to_empty(device="cpu")
    with torch.no_grad():
        for mine, theirs in zip(pending.parameters(), expected.parameters(), strict=True):
            mine.copy_(theirs)
    with pytest.raises(PlanError, match="is not as the factory draws it"):
        apply(pending, plan)
    assert attach(pending, plan) is pending
    assert factors(pending, plan) == factors(expected, plan)
    assert same(pending, expected)


def test_without_values_to_rescale_there_is_nothing_to_wait_for():
    model, plan = parameterize(mlp, width=WIDTH, base_width=WIDTH, device="meta", check=False)
    param_groups(drawn(model), plan, lr=1.0)


def test_a_folded_model_waits_no_longer(plan, pending):
    fold(pending, plan)
    assert same(apply(drawn(pending), plan), apply(drawn(mlp(WIDTH)), plan))


class Largest(TorchDispatchMode):
    """The most elements of a tensor in double that any operation made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.double:
            self.elements = max(self.elements, out.numel())
        return out


def test_looking_whether_values_are_fresh_copies_no_large_tensor_as_a_whole():
    build = partial(torch.nn.Linear, out_features=2 * CHUNK // WIDTH)  # two chunks at WIDTH
    plan = Plan.infer(build, width=WIDTH, base_width=BASE, check=False)
    assert plan["weight"].init_mult != 1
    with Largest() as largest:
        apply(build(WIDTH), plan)
    assert 0 < largest.elements <= CHUNK


@pytest.mark.parametrize("which", BUILDS)
def test_attaching_checks_what_applying_checks_and_rescales_nothing(which):
    build = BUILDS[which]
    model, plan = wrap(build)
    with pytest.raises(PlanError, match="a plan is on this model already"):
        attach(model, plan)
    with pytest.raises(PlanError, match=r"the plan is for another width: .* has shape"):
        attach(build(WIDTH // 2), plan)
    with pytest.raises(PlanError, match="the plan is for another model"):
        attach(torch.nn.Linear(3, WIDTH), plan)
    plain = build(WIDTH)
    before = copy.deepcopy(plain.state_dict())
    attach(plain, plan)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    for put in (attach, apply):
        with pytest.raises(PlanError, match="a plan is on this model already"):
            put(plain, plan)
