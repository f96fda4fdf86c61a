"""In two processes a wrapped model trains as in one: by DDP, and by fully_shard before or after wrapping."""

import pytest
import torch
from torch import multiprocessing

from .ranks import RANKS, Cases, begin, main
from .survival import BUILDS, factors, train, without_multipliers

pytestmark = pytest.mark.usefixtures("float64")
EXACT = [name for name in Cases.NAMES if name != "low_precision"]
every_case = pytest.mark.parametrize(("which", "name"), [(which, name) for which in BUILDS for name in EXACT])


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each process saw, started once for all tests."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(main, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(RANKS)]


@every_case
def test_the_plan_and_the_factors_are_those_of_one_process(ranks, which, name):
    model, plan, *_ = begin(which)
    for found in ranks:
        assert found[which, name]["factors"] == factors(model, plan)
        assert found[which, name]["plan"]


@every_case
def test_training_is_that_of_one_process_to_rounding(ranks, which, name):
    model, plan, _, x, y = begin(which)
    expected = train(model, plan, x, y)
    losses = torch.tensor([found[which, name]["trained"][::2] for found in ranks]).mean(0)  # of half a batch each
    assert losses.tolist() == pytest.approx(expected[::2], rel=1e-10)
    assert not torch.allclose(model(x), without_multipliers(which, model)(x), rtol=0.1)
    for found in ranks:
        assert found[which, name]["trained"][1::2] == pytest.approx(expected[1::2], rel=1e-10)  # gradient norms
        torch.testing.assert_close(found[which, name]["output"], model(x), rtol=1e-9, atol=1e-12)
    weights = ranks[0][which, name]["weights"]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("which", BUILDS)
def test_mixed_precision_of_fully_shard_trains_alike(ranks, which):
    model, plan, _, x, y = begin(which)
    expected = train(model, plan, x, y)
    assert ranks[0][which, "low_precision"]["factors"] == factors(model, plan)
    losses = torch.tensor([found[which, "low_precision"]["trained"][::2] for found in ranks]).mean(0)
    assert losses.tolist() == pytest.approx(expected[::2], rel=0.03)


@pytest.mark.parametrize("which", BUILDS)
def test_all_processes_refuse_alike(ranks, which):
    refused = ranks[0][which, "refused"]
    assert all(found[which, "refused"] == refused for found in ranks)  # the size of a whole tensor, not of a shard
    assert "are not rescaled: call mutransfer.apply(model, plan) again" in refused["groups before the second call"]
    assert "is not as the factory draws it" in refused["wrapping what was loaded"]
