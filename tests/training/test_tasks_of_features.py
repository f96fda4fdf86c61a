"""Parity and induction: the data are what they say, depend on their arguments alone, and refuse odd sizes."""

import math

import pytest
import torch

from mutransfer.training.run import infer_plan, run
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import check_repeatable
from mutransfer.training.tasks.induction import UNKNOWN, InductionAttention
from mutransfer.training.tasks.parity import ParityMLP


@pytest.mark.parametrize("task", [ParityMLP(), InductionAttention()])
def test_batches_depend_on_seed_and_step_alone(task):
    check_repeatable(task)
    assert not torch.equal(task.batch(0, 0)[0], task.batch(0, 1)[0])
    assert not torch.equal(task.batch(0, 0)[0], task.batch(1, 0)[0])


def test_the_parity_is_that_of_the_first_bits():
    bits, parity = ParityMLP(bits=10, relevant=3).batch(0, 0)
    assert set(bits.unique().tolist()) == {-1.0, 1.0}
    product = bits[:, :3].prod(1, keepdim=True)  # 1 where an odd number of the three is 1
    torch.testing.assert_close(parity, (product + 1) / 2)


def test_an_epoch_of_parity_shows_every_example_once():
    task = ParityMLP(bits=30, n_train=256, batch_size=64)
    seen = torch.cat([task.batch(3, step)[0] for step in range(4)])
    assert len(seen.unique(dim=0)) == 256
    again = torch.cat([task.batch(5, step)[0] for step in range(4, 8)])
    assert torch.equal(seen.unique(dim=0), again.unique(dim=0))


def test_what_induction_asks_for_follows_from_the_sequence_itself():
    """The next token is the one of a period ago; periods are read off the first position that is asked."""
    task = InductionAttention(vocabulary=50, length=16, shortest=4)
    tokens, following = task.batch(0, 0)
    first = (following != UNKNOWN).int().argmax(1)
    assert first.min() == 4
    assert first.max() == 8
    for row, wanted, period in zip(tokens, following, first.tolist(), strict=True):
        for t in range(period, 15):
            assert wanted[t] == row[t + 1] == row[t + 1 - period]
        assert (wanted[:period] == UNKNOWN).all()


def test_two_attention_layers_copy_where_a_constant_cannot():
    task = InductionAttention()
    spec = RunSpec(
        task="i", width=32, base_width=32, hyperparameters={"lr": 2.0**-6}, optimizer="adam", steps=80, seed=0
    )
    result = run(spec, task, plan=infer_plan(spec, task))
    assert result.initial_loss > math.log(16)
    assert result.final_loss < 1.0  # the set of tokens alone gives about log(6) = 1.8; four seeds reach 0.27 to 0.57


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (ParityMLP, {"relevant": 41}),
        (ParityMLP, {"batch_size": 600}),
        (InductionAttention, {"shortest": 9}),
        (InductionAttention, {"shortest": 0}),
    ],
)
def test_sizes_that_do_not_fit_are_refused(kind, args):
    with pytest.raises(ValueError, match="need 1 <= "):
        kind(**args)


def test_a_width_must_hold_whole_heads():
    with pytest.raises(ValueError, match="multiple of head_size"):
        InductionAttention().build(40)
