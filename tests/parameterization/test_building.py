"""Building at a width: errors that name it, random state that survives it, skeletons without memory."""

import random
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.errors import BuildError
from mutransfer.parameterization.model.factory import build_at, skeleton
from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.widths import check_width, scaled, show_width

from .models import Dice, mlp, random_state


def test_random_state_of_torch_numpy_and_python_is_preserved():
    before = random_state()
    with preserved_random_state():
        seed_everything(7)
        Dice(8)
    assert random_state() == before


def test_random_state_is_preserved_when_the_factory_raises():
    before = random_state()
    with pytest.raises(KeyError), preserved_random_state():
        {}[Dice(8)]
    assert random_state() == before


def test_a_seed_decides_torch_numpy_and_python():
    def draws(seed):
        seed_everything(seed)
        return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002

    first, again, other = draws(5), draws(5), draws(6)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_a_skeleton_holds_no_values_and_leaves_the_random_state():
    before = random_state()
    model = skeleton(Dice, 8)
    assert model.body[0].weight.is_meta
    assert random_state() == before


def test_a_factory_that_cannot_run_on_the_meta_device_is_built_for_real():
    def build(width):
        model = mlp(width)
        assert torch.linalg.matrix_norm(model[0].weight, 2).item() > 0  # no values on meta
        return model

    before = random_state()
    assert not skeleton(build, 8)[0].weight.is_meta
    assert Plan.infer(build, width=32, base_width=8, check=False) == Plan.infer(
        mlp, width=32, base_width=8, check=False
    )
    assert random_state() == before


def test_a_failing_factory_is_reported_with_its_name_width_and_cause():
    def by_heads(width):
        return nn.MultiheadAttention(width, 3)

    with pytest.raises(BuildError, match=r"by_heads cannot build the model at width 32: AssertionError: embed_dim"):
        build_at(by_heads, 32)
    with pytest.raises(BuildError, match=r"width d_model=32,d_ff=8: KeyError"):
        build_at(lambda width: width["heads"], {"d_model": 32, "d_ff": 8})


def test_a_factory_must_return_a_module():
    with pytest.raises(BuildError, match=r"returned tuple at width 8; expected a torch\.nn\.Module"):
        build_at(lambda width: (mlp(width), None), 8)


def test_build_receives_exactly_the_width():
    widths = []
    width = {"d_model": 8}
    build_at(lambda w: widths.append(w) or nn.Linear(1, 1), width)
    assert widths[0] is width


def test_seeds_beyond_numpys_range_are_seeds_too():
    seed_everything(2**32 + 5)
    first = np.random.random()  # noqa: NPY002
    seed_everything(2**32 + 6)
    assert np.random.random() != first  # noqa: NPY002


@pytest.mark.parametrize("width", [1, 64, {"d": 1, "ff": 4}])
def test_positive_whole_widths_are_taken_as_they_are(width):
    assert check_width(width, "width") is width


@pytest.mark.parametrize("width", [0, -4, 2.0, True, "64", {}, {"d": 0}, {"d": 1.5}, None])
def test_what_is_not_a_positive_whole_width_is_refused(width):
    with pytest.raises(BuildError, match=r"base_width must be a positive int or a mapping"):
        check_width(width, "base_width")


def test_widths_print_as_one_word():
    assert (show_width(64), show_width({"d": 8, "ff": 32})) == ("64", "d=8,ff=32")


def test_widths_scale_by_whole_fractions_only():
    assert (scaled(6, 2), scaled(6, 1, 4), scaled(6, 1, 2)) == (12, None, 3)
    assert scaled({"d": 8, "ff": 32}, 1, 4) == {"d": 2, "ff": 8}
    assert scaled({"d": 8, "ff": 6}, 1, 4) is None


def test_lazy_modules_are_refused_with_what_to_do():
    def build(width):
        return nn.Sequential(nn.Linear(6, width), nn.LazyLinear(3))

    with pytest.raises(BuildError, match=r"at width 8 whose '1\.weight' has no shape yet .*run the model once"):
        Plan.infer(build, width=32, base_width=8, check=False)

    def ready(width):
        model = build(width)
        model(torch.zeros(1, 6))
        return model

    assert Plan.infer(ready, width=32, base_width=8, check=False)["1.weight"].forward_mult == 0.25


def test_a_factory_that_returns_the_same_model_again_is_refused():
    with pytest.raises(BuildError, match=r"'0\.weight' of its last model again \(6 of 6 .*must build a new model"):
        Plan.infer(cache(mlp), width=32, base_width=8, check=False)


def test_a_factory_that_shares_a_part_between_models_is_refused():
    shared = nn.Linear(6, 6)
    with pytest.raises(BuildError, match=r"'0\.weight' .* \(2 of 8 parameters are shared"):
        Plan.infer(lambda width: nn.Sequential(shared, mlp(width)), width=32, base_width=8, check=False)


def test_a_factory_whose_models_are_wrapped_already_is_refused():
    build = lambda width: mt.parameterize(mlp, width=width, base_width=8, check=False)[0]  # noqa: E731
    with pytest.raises(BuildError, match="that a plan is on already: the factory must return the plain model"):
        Plan.infer(build, width=32, base_width=8, check=False)
