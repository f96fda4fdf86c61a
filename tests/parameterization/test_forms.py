"""The four forms of mup train to the same losses under every optimizer of a family, and RAdam shows why it has none."""

import pytest
import torch

import mutransfer as mt
from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.wrapping.apply import parameterize
from mutransfer.theory import rules

from .models import D_IN, losses, mlp, regression

pytestmark = pytest.mark.usefixtures("float64")


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023 (arXiv:2302.06675), Algorithm 2: the sign of an interpolated momentum, decoupled decay."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1e-3, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_((0.9 * m + 0.1 * p.grad).sign(), alpha=group["lr"])
                m.mul_(0.99).add_(p.grad, alpha=0.01)


ADAM_LIKE = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "lion": Lion,
}
FORMS = ("mup", "mup_t3", "mup_t9", "mf")


def trained(optimizer, kind, *, parameterization, width=64, scale_eps=True, eps=1e-2):
    torch.manual_seed(1)
    x, y = regression(shape=(D_IN,))
    model, plan = parameterize(
        mlp,
        width=width,
        base_width=4,
        parameterization=parameterization,
        optimizer=optimizer,
        scale_eps=scale_eps,
        check=False,
    )
    more = {"eps": eps} if optimizer in rules.DEFAULT_EPS else {}
    decay = {"weight_decay": 0.1} if optimizer in ("adamw", "lion", "sgd") else {}
    return losses(model, kind(param_groups(model, plan, lr=0.01, **more, **decay)), x, y, 8)


@pytest.mark.parametrize("optimizer", ADAM_LIKE)
def test_the_forms_of_mup_are_one_function_bit_for_bit_under_an_adam_like_optimizer(optimizer):
    # m = 16: Table 9's square roots are powers of two as well.
    first, *others = [trained(optimizer, ADAM_LIKE[optimizer], parameterization=form) for form in FORMS]
    assert first[-1] != first[0]
    for other in others:
        assert other == first


def test_the_forms_of_mup_are_one_function_under_sgd():
    kind = torch.optim.SGD
    first, *others = [trained("sgd", kind, parameterization=form) for form in FORMS]
    for other in others:
        assert other == first


def test_where_multipliers_are_no_powers_of_two_the_forms_agree_to_rounding():
    first, *others = [trained("adam", torch.optim.Adam, parameterization=form, width=12) for form in FORMS]
    for other in others:
        assert other == pytest.approx(first, rel=1e-10)


def test_with_eps_unscaled_the_forms_of_mup_part():
    ends = [trained("adam", torch.optim.Adam, parameterization=form, scale_eps=False)[-1] for form in FORMS]
    assert max(ends) / min(ends) > 1.01


def test_radam_would_part_the_forms_which_is_why_it_is_refused():
    # Its first steps are those of SGD, whose learning rates follow other powers.
    with mt.guard("off"):
        ends = [trained("adam", torch.optim.RAdam, parameterization=form)[-1] for form in FORMS]
    assert max(ends) / min(ends) > 1.001
    with pytest.raises(rules.PlanError, match="no rule for optimizer 'radam'"):
        parameterize(mlp, width=64, base_width=4, optimizer="radam", check=False)


def test_sp_kernel_is_ntk_with_its_multiplier_absorbed():
    for optimizer, kind in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)):
        assert trained(optimizer, kind, parameterization="sp_kernel") == trained(
            optimizer, kind, parameterization="ntk"
        )
