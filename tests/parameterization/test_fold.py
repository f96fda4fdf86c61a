"""Folding: a plain model and optimizer that go on exactly as the wrapped ones would have."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from mutransfer import fold, param_groups, parameterize
from mutransfer.errors import PlanError
from tests.parameterization.models import mlp

OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": partial(torch.optim.AdamW, amsgrad=True),
    "nadam": torch.optim.NAdam,
    "adamax": torch.optim.Adamax,
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, momentum=0.9, centered=True),
    "adagrad": torch.optim.Adagrad,
    "adafactor": lambda groups: torch.optim.Adafactor(groups),
}
DECAY_APART = ("sgd", "adamw", "adafactor")


def train(model, optimizer, steps, scheduler=None):
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(16, next(model.parameters()).shape[1], generator=generator, dtype=torch.float64)
        loss = model(x).pow(2).mean() + model(x).sum(1).sin().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("parameterization", ["mup", "ntk", "mf"])
def test_training_goes_on_after_folding_as_it_would_have(optimizer, parameterization):
    torch.manual_seed(0)
    model, plan = parameterize(
        mlp,
        width=32,
        base_width=8,
        parameterization=parameterization,
        optimizer=optimizer,
        dtype=torch.float64,
        check=False,
    )
    decay = 0.1 if optimizer in DECAY_APART else 0.0
    opt = OPTIMIZERS[optimizer](param_groups(model, plan, lr=1e-2, weight_decay=decay))
    train(model, opt, 5)
    folded, folded_opt = copy.deepcopy((model, opt))  # as a pair: parameters stay shared between the two
    assert fold(folded, plan, folded_opt) is folded
    assert not any(m._forward_pre_hooks for m in folded.modules())
    names = {id(p): name for name, p in folded.named_parameters()}
    assert all(g["param_names"] == [names[id(p)] for p in g["params"]] for g in folded_opt.param_groups)
    assert len({g["name"] for g in folded_opt.param_groups}) == len(folded_opt.param_groups)
    x = torch.randn(4, next(model.parameters()).shape[1], dtype=torch.float64)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-14)
    assert train(folded, folded_opt, 10) == pytest.approx(train(model, opt, 10), rel=1e-10)


def one_cycle(optimizer, last_epoch):
    peaks = [0.02 * group["lr_mult"] for group in optimizer.param_groups]
    return schedulers.OneCycleLR(optimizer, peaks, total_steps=40, cycle_momentum=False, last_epoch=last_epoch)


SCHEDULERS = {
    "LambdaLR": lambda o, last_epoch: schedulers.LambdaLR(o, lambda t: 1 / (1 + t), last_epoch=last_epoch),
    "CosineAnnealingLR": lambda o, last_epoch: schedulers.CosineAnnealingLR(o, 30, last_epoch=last_epoch),
    "ExponentialLR": lambda o, last_epoch: schedulers.ExponentialLR(o, 0.9, last_epoch=last_epoch),
    "OneCycleLR": one_cycle,
}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_with_a_scheduler_nothing_is_folded_and_one_made_anew_goes_on(name, optimizer):
    torch.manual_seed(0)
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer=optimizer, dtype=torch.float64, check=False)
    opt = OPTIMIZERS[optimizer](param_groups(model, plan, lr=1e-2, weight_decay=0.1))
    scheduler = SCHEDULERS[name](opt, -1)
    train(model, opt, 5, scheduler)
    folded, folded_opt, attached = copy.deepcopy((model, opt, scheduler))
    before = copy.deepcopy((folded.state_dict(), folded_opt.state_dict()))
    with pytest.raises(PlanError, match=rf"{name} is attached to the optimizer.*last_epoch=done - 1"):
        fold(folded, plan, folded_opt)
    torch.testing.assert_close(folded.state_dict(), before[0], rtol=0, atol=0)
    torch.testing.assert_close(folded_opt.state_dict()["state"], before[1]["state"], rtol=0, atol=0)
    assert folded_opt.state_dict()["param_groups"] == before[1]["param_groups"]
    done = attached.last_epoch
    del attached
    fold(folded, plan, folded_opt)
    again = SCHEDULERS[name](folded_opt, done - 1)
    assert train(folded, folded_opt, 10, again) == pytest.approx(train(model, opt, 10, scheduler), rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedulers.ReduceLROnPlateau(o, min_lr=1e-4),
        lambda o: schedulers.ChainedScheduler([schedulers.LinearLR(o), schedulers.ExponentialLR(o, 0.9)], optimizer=o),
        lambda o: torch.optim.swa_utils.SWALR(o, 1e-3),
    ],
)
def test_any_scheduler_is_refused_by_name(make):
    model, plan = parameterize(mlp, width=32, base_width=8, check=False)
    opt = torch.optim.AdamW(param_groups(model, plan, lr=1e-2))
    other = torch.optim.AdamW(param_groups(model, plan, lr=1e-2))
    scheduler = make(opt)
    with pytest.raises(PlanError, match=f"{type(scheduler).__name__} is attached"):
        fold(model, plan, opt)
    fold(model, plan, other)  # whose schedule is none


def test_a_folded_state_dict_loads_into_a_plain_model():
    model, plan = parameterize(mlp, width=32, base_width=8, check=False)
    x = torch.randn(4, next(model.parameters()).shape[1])
    expected = model(x)
    fold(model, plan)
    plain = mlp(32)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(x), expected)


def test_forgetting_the_optimizer_state_would_be_seen():
    torch.manual_seed(0)
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer="sgd", dtype=torch.float64, check=False)
    opt = OPTIMIZERS["sgd"](param_groups(model, plan, lr=1e-2))
    train(model, opt, 5)
    folded, folded_opt = copy.deepcopy((model, opt))
    fold(folded, plan)  # the optimizer is not told
    assert train(folded, folded_opt, 10) != pytest.approx(train(model, opt, 10), rel=1e-3)


def test_folding_what_is_not_wrapped_is_refused():
    model, plan = parameterize(mlp, width=32, base_width=8, check=False)
    fold(model, plan)
    with pytest.raises(PlanError, match="not on the model"):
        fold(model, plan)


def test_a_tied_readout_cannot_be_folded():
    class Tied(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.embed, self.head = nn.Embedding(11, width), nn.Linear(width, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids))

    model, plan = parameterize(Tied, width=32, base_width=8, check=False)
    with pytest.raises(PlanError, match="head reads out with a tensor it shares"):
        fold(model, plan)


def test_a_state_that_no_rule_knows_is_refused():
    model, plan = parameterize(mlp, width=32, base_width=8, optimizer="sgd", check=False)
    opt = torch.optim.SGD(param_groups(model, plan, lr=1e-2))
    opt.state[model[-1].weight]["hessian"] = torch.ones(1)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PlanError, match="optimizer state 'hessian' of SGD has no known scaling"):
        fold(model, plan, opt)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)  # nothing is half folded
