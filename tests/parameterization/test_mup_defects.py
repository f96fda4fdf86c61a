"""Defects of the mup package (PyPI 1.0.0) that are not reproduced: each shown in it, and ours beside it.

That MuSGD ignores ``main_idx`` is shown in tests/integrations/test_mup.py, where models that mup has marked are read.
"""

import copy

import mup
import pytest
import torch
from torch import nn

from mutransfer import apply, param_groups, parameterize
from mutransfer.errors import PlanError
from mutransfer.parameterization.plan import Plan

from .models import D_OUT, VOCAB, TiedLM, mlp

BASE, WIDTH = 8, 32
M = WIDTH / BASE


def marked(width=WIDTH):
    def theirs(w):
        return nn.Sequential(*mlp(w)[:-1], mup.MuReadout(4 * w, D_OUT))

    model = theirs(width)
    mup.set_base_shapes(model, theirs(BASE), delta=theirs(2 * BASE))
    return model


def test_the_tests_are_of_this_version():
    from importlib.metadata import version

    assert version("mup") == "1.0.0"


def test_a_tied_embedding_keeps_its_values():
    class Shared(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.embedding = nn.Embedding(VOCAB, width)
            self.head = mup.MuSharedReadout(self.embedding.weight, bias=False)

    theirs = Shared(WIDTH)
    before = theirs.embedding.weight.detach().clone()
    mup.set_base_shapes(theirs, Shared(BASE), delta=Shared(2 * BASE))
    assert torch.allclose(theirs.embedding.weight, before * M**0.5)  # tokens come out sqrt(m) too large
    torch.manual_seed(0)
    plain = TiedLM(WIDTH)
    torch.manual_seed(0)
    ours, plan = parameterize(TiedLM, width=WIDTH, base_width=BASE, check=False)
    assert torch.equal(ours.embedding.weight, plain.embedding.weight)
    assert plan.sites["head"].factor == 1 / M


def test_a_learning_rate_that_is_a_tensor_is_not_changed():
    shared = torch.tensor(1e-3)
    groups = mup.MuAdam(marked().parameters(), lr=shared, impl=torch.optim.Adam).param_groups
    assert shared.item() != pytest.approx(1e-3)  # divided in place, once per matrix group
    assert len({float(g["lr"]) for g in groups}) == 1  # so that embeddings are slowed too
    lr = torch.tensor(1e-3)
    model, plan = parameterize(mlp, width=WIDTH, base_width=BASE, optimizer="adam", check=False)
    ours = torch.optim.Adam(param_groups(model, plan, lr=lr)).param_groups
    assert lr.item() == pytest.approx(1e-3)
    assert {round(float(g["lr"]) / 1e-3, 6) for g in ours} == {1.0, 1 / M}


def test_eps_follows_the_gradient():
    theirs = mup.MuAdam(marked().parameters(), lr=1e-3, eps=1e-8).param_groups
    assert {g["eps"] for g in theirs} == {1e-8}
    model, plan = parameterize(mlp, width=WIDTH, base_width=BASE, optimizer="adam", check=False)
    ours = param_groups(model, plan, lr=1e-3, eps=1e-8)
    of = {id(p): g["eps"] for g in ours for p in g["params"]}
    assert of[id(model[0].weight)] == pytest.approx(1e-8 / M)
    assert of[id(model[2].weight)] == pytest.approx(1e-8 / M)
    assert of[id(model[4].bias)] == 1e-8


def test_the_users_own_groups_are_not_changed():
    theirs = marked()
    own = [{"params": list(theirs.parameters())}]
    mup.MuAdam(own, lr=1e-3)
    assert "lr" in own[0]
    model, plan = parameterize(mlp, width=WIDTH, base_width=BASE, optimizer="adam", check=False)
    mine = [{"params": list(model.parameters())}]
    param_groups(model, plan, lr=1e-3, params=mine)
    assert list(mine[0]) == ["params"]


def test_named_parameters_are_taken():
    with pytest.raises(AttributeError):
        mup.MuAdamW(marked().named_parameters(), lr=1e-3)
    model, plan = parameterize(mlp, width=WIDTH, base_width=BASE, check=False)
    groups = param_groups(model, plan, lr=1e-3, params=model.named_parameters())
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_a_copy_is_the_same_function():
    x = torch.randn(3, 6)
    with pytest.raises((AssertionError, AttributeError)):
        copy.deepcopy(marked())(x)
    model, _ = parameterize(mlp, width=WIDTH, base_width=BASE, check=False)
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_a_checkpoint_loaded_before_wrapping_is_not_rescaled_twice():
    def theirs(w):
        return nn.Sequential(nn.Linear(6, w), nn.Tanh(), mup.MuReadout(w, D_OUT))

    trained, again = theirs(WIDTH), theirs(WIDTH)
    mup.set_base_shapes(trained, theirs(BASE), delta=theirs(2 * BASE))
    again.load_state_dict(trained.state_dict())
    mup.set_base_shapes(again, theirs(BASE), delta=theirs(2 * BASE))
    assert torch.allclose(again[-1].weight, trained[-1].weight * M**0.5)  # silently
    model, plan = parameterize(mlp, width=WIDTH, base_width=BASE, check=False)
    second = mlp(WIDTH)
    second.load_state_dict(model.state_dict())
    with pytest.raises(PlanError, match="not as the factory draws it"):
        apply(second, plan)


def test_a_convolution_that_reads_out_is_a_readout():
    def conv(width, head=nn.Conv2d):
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), head(width, 4, 1))

    theirs = conv(WIDTH)
    mup.set_base_shapes(theirs, conv(BASE), delta=conv(2 * BASE))  # no complaint: it looks at nn.Linear only
    rates = {id(p): g["lr"] for g in mup.MuAdam(theirs.parameters(), lr=1e-3).param_groups for p in g["params"]}
    assert rates[id(theirs[2].weight)] == 1e-3
    plan = Plan.infer(conv, width=WIDTH, base_width=BASE, form="absorbed", check=False)
    assert plan["2.weight"].lr_mult == 1 / M
    assert plan["2.weight"].init_mult == pytest.approx(M**-0.5)
