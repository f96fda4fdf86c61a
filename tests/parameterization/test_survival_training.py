"""A wrapped model goes on training as it would have, whatever copied, stored, compiled or wrapped it meanwhile."""

import copy
import io
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from mutransfer import attach, parameterize
from mutransfer.errors import PlanError
from mutransfer.parameterization.wrapping.apply import remove
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan

from .survival import BUILDS, CHOICES, WIDTH, data, factors, train, without_multipliers, wrap

pytestmark = pytest.mark.usefixtures("float64")


class Within(nn.Module):
    """A model that reaches the wrapped one through ``call(model, x)``; transparent to whoever asks for names."""

    def __init__(self, model, call):
        super().__init__()
        self._orig_mod, self.call = model, call

    def forward(self, x):
        return self.call(self._orig_mod, x)


def tied_again(model, which):
    """Torch unties what is assigned or emptied, with and without us."""
    if which == "tied":
        model.head.weight = model.embedding.weight
    return model


def through_a_file(model, **_):
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    return torch.load(stored, weights_only=False)


def assigned(model, which, **_):
    again, _ = wrap(BUILDS[which])
    again.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    return tied_again(again, which)


def by_way_of_meta(model, which, **_):
    again = tied_again(copy.deepcopy(model).to("meta").to_empty(device="cpu"), which)
    again.load_state_dict(model.state_dict())
    return again


def made_on_meta(model, which, **_):
    again, _ = parameterize(BUILDS[which], **CHOICES, device="meta", check=False)
    tied_again(again.to_empty(device="cpu"), which).load_state_dict(model.state_dict())
    return again


def attached(model, which, plan, **_):
    return attach(without_multipliers(which, model), plan)


def attached_on_meta(model, which, plan, **_):
    with torch.device("meta"):
        again = attach(BUILDS[which](WIDTH), plan)
    tied_again(again.to_empty(device="cpu"), which).load_state_dict(model.state_dict())
    return again


def blocks_checkpointed(model, **_):
    again = copy.deepcopy(model)
    apply_activation_checkpointing(again, check_fn=lambda module: isinstance(module, nn.Linear))
    assert any("_checkpoint_wrapped_module" in name for name, _ in again.named_parameters())
    return again


def attached_to_checkpointed_blocks(model, which, plan, **_):
    plain = blocks_checkpointed(without_multipliers(which, model))
    return attach(plain, plan)


def exported(model, x, strict, **_):
    return torch.export.export(copy.deepcopy(model), (x,), strict=strict).module()


def functional(model, x):
    return torch.func.functional_call(model, dict(model.named_parameters()), (x,))


CHANGES = {
    "deepcopy": lambda model, **_: copy.deepcopy(model),
    "torch.save of the model": through_a_file,
    "AveragedModel": lambda model, **_: AveragedModel(model),
    "load_state_dict(assign=True)": assigned,
    "meta and back": by_way_of_meta,
    "wrapped on meta": made_on_meta,
    "attached": attached,
    "attached on meta": attached_on_meta,
    "compile": lambda model, **_: torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager"),
    "functional_call": lambda model, **_: Within(copy.deepcopy(model), functional),
    "checkpoint": lambda model, **_: Within(copy.deepcopy(model), partial(checkpoint, use_reentrant=False)),
    "checkpoint_wrapper": lambda model, **_: checkpoint_wrapper(copy.deepcopy(model)),
    "checkpoint_wrapper on blocks": blocks_checkpointed,
    "attached to checkpoint_wrapper on blocks": attached_to_checkpointed_blocks,
}
EXPORTS = {"export": partial(exported, strict=False), "export, strict": partial(exported, strict=True)}


@pytest.mark.parametrize("which", BUILDS)
@pytest.mark.parametrize("how", CHANGES | EXPORTS)
def test_training_goes_on_as_it_would_have_after(how, which):
    model, plan = wrap(BUILDS[which])
    assert bool(plan.sites) == (which != "mlp")
    x, y = data(which)
    train(model, plan, x, y)
    again = (CHANGES | EXPORTS)[how](model, which=which, plan=plan, x=x)
    torch.testing.assert_close(again(x), model(x), rtol=1e-12, atol=1e-14)
    assert not torch.allclose(again(x), without_multipliers(which, model)(x), rtol=0.1)
    assert factors(again, plan) == factors(model, plan)
    if how in CHANGES:  # an exported program is no longer the user's module
        assert applied_plan(again) == plan
    assert train(again, plan, x, y) == pytest.approx(train(model, plan, x, y), rel=1e-10)


def test_a_tie_that_torch_undid_is_named():
    model, plan = wrap(BUILDS["tied"])
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    for refused in (lambda: factors(model, plan), lambda: attach(remove(model), plan)):
        with pytest.raises(PlanError, match=r"head\.weight was tied .*load_state_dict\(assign=True\): tie it again"):
            refused()


def test_an_average_of_weights_is_multiplied_as_the_weights_are():
    model, plan = wrap(BUILDS["mlp"])
    x, y = data("mlp")
    average, seen = AveragedModel(model), []
    for _ in range(3):
        train(model, plan, x, y)
        average.update_parameters(model)
        seen.append(copy.deepcopy(model.state_dict()))
    mean = {name: sum(state[name] for state in seen) / len(seen) for name in seen[0]}
    torch.testing.assert_close(average(x), torch.func.functional_call(model, mean, (x,)), rtol=1e-12, atol=1e-14)


def test_bfloat16_trains_alike():
    model, plan = wrap(BUILDS["mlp"])
    x, y = data("mlp")
    low, again = copy.deepcopy(model).bfloat16(), copy.deepcopy(model)
    assert factors(low, plan) == factors(model, plan)
    assert {p.dtype for p in low.parameters()} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        mixed = train(again, plan, x, y)
    in_full = train(model, plan, x, y)
    assert mixed == pytest.approx(in_full, rel=0.03)
    assert train(low, plan, x.bfloat16(), y.bfloat16()) == pytest.approx(in_full, rel=0.03)
    assert low(x.bfloat16()).dtype == torch.bfloat16
