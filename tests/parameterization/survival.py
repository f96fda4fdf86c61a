"""What the tests of survival share: wrapped models, what a plan gives their parameters, a few steps of AdamW."""

from functools import cache

import torch
from torch import nn

from mutransfer import Plan, apply, clip_grad_norm_, param_groups
from mutransfer.parameterization.model.names import canonical, unwrapped

from .models import D_IN, D_OUT, VOCAB, TiedLM, mlp, regression

WIDTH, BASE = 32, 8
# Multipliers at run time 1, 1/2 and 1/4; for the tied model one on the use of a tensor as well.
CHOICES = {"width": WIDTH, "base_width": BASE, "parameterization": "mf"}


@cache
def _plan(build, dtype):
    return Plan.infer(build, **CHOICES, check=False)


def wrap(build):
    """As ``mutransfer.parameterize``, with one plan for all tests."""
    plan = _plan(build, torch.get_default_dtype())
    return apply(build(WIDTH), plan), plan


class Attention(nn.Module):
    """Two tokens that attend to each other, with heads whose size grows: a multiplier on the keys."""

    def __init__(self, width):
        super().__init__()
        self.inward = nn.Linear(D_IN // 2, width)
        self.attention = nn.MultiheadAttention(width, 2, bias=False, batch_first=True)
        self.readout = nn.Linear(width, D_OUT)

    def forward(self, x):
        h = self.inward(8 * x.unflatten(1, (2, -1)))
        return self.readout(h + self.attention(h, h, h, need_weights=False)[0]).sum(1)


BUILDS = {"mlp": mlp, "tied": TiedLM, "attention": Attention}


def data(which):
    if which == "tied":
        return torch.arange(VOCAB), torch.randn(VOCAB, VOCAB)
    return regression()


def factors(model, plan):
    """What the groups give each parameter, by the name that the user's own model has for it."""
    names = {id(p): canonical(n, plan.keys()) for n, p in unwrapped(model).named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"], group["eps"])
        for group in param_groups(model, plan, lr=0.02, weight_decay=0.1)
        for p in group["params"]
    }


def train(model, plan, x, y, steps=4, call=None):
    """The losses and gradient norms of AdamW steps, clipped to a norm that binds."""
    optimizer = torch.optim.AdamW(param_groups(model, plan, lr=0.02, weight_decay=0.1))
    found = []
    for _ in range(steps):
        loss = ((call or model)(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        found += [loss.item(), clip_grad_norm_(model, plan, max_norm=0.5).item()]
        optimizer.step()
    return found


def without_multipliers(which, model):
    """A plain model of the same weights."""
    plain: nn.Module = BUILDS[which](WIDTH)
    plain.load_state_dict(model.state_dict())
    return plain
