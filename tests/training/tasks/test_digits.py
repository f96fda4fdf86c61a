"""Digits: real images, every one once per epoch."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from mutransfer.training.tasks.digits import DigitsMLP

WHOLE = DigitsMLP(batch_size=479)  # three batches are the training set


class Keeps(nn.Module):
    """Logits of zero, and a list of what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, images):
        self.shown.append(images)
        return torch.zeros(len(images), 10)


def _evaluated_on(task: DigitsMLP) -> torch.Tensor:
    model = Keeps()
    task.evaluate(model)
    return torch.cat(model.shown)


def _rows(images: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(map(tuple, images.tolist()))


def _epoch(task: DigitsMLP, seed: int, epoch: int) -> torch.Tensor:
    per_epoch = task.n_train // task.batch_size
    return torch.cat([task.batch(seed, epoch * per_epoch + i)[0] for i in range(per_epoch)])


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (5, 3)])
def test_an_epoch_visits_every_training_example_once(seed, epoch):
    assert _rows(_epoch(WHOLE, seed, epoch)) == _rows(_evaluated_on(DigitsMLP(eval_on="train")))


def test_an_epoch_of_uneven_batches_visits_no_example_twice():
    task = DigitsMLP(batch_size=64)  # 22 batches, 29 examples are left over
    visited, all_rows = _rows(_epoch(task, 0, 0)), _rows(_evaluated_on(task))
    for row in visited:
        all_rows.remove(row)  # ValueError where one is visited more often than it is there
    assert len(all_rows) == 29


def test_epochs_and_seeds_shuffle_differently():
    orders = [_epoch(WHOLE, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_a_batch_depends_on_seed_and_step_alone():
    forward = [DigitsMLP().batch(2, step) for step in range(50)]
    torch.manual_seed(7)
    for step in reversed(range(50)):
        images, labels = DigitsMLP().batch(2, step)
        assert torch.equal(images, forward[step][0])
        assert torch.equal(labels, forward[step][1])
    assert not torch.equal(forward[0][0], forward[1][0])
    assert not torch.equal(forward[0][0], DigitsMLP().batch(3, 0)[0])


def test_training_and_test_examples_are_the_real_1797_between_them():
    train, test = (_evaluated_on(DigitsMLP(eval_on=part)) for part in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    pixels = torch.tensor(load_digits().data, dtype=torch.float32)
    expected = (pixels - pixels.mean()) / pixels.std()
    assert _rows(torch.cat([train, test])) == _rows(expected)


def test_an_image_keeps_its_label():
    images, labels = DigitsMLP().batch(0, 0)
    data = load_digits()
    pixels = torch.tensor(data.data, dtype=torch.float32)
    for image, label in zip(images, labels, strict=True):
        nearest = ((pixels - pixels.mean()) / pixels.std() - image).abs().sum(1).argmin()
        assert data.target[nearest] == label


def test_batches_have_the_shapes_and_types_that_they_promise():
    images, labels = DigitsMLP(batch_size=10).batch(0, 0)
    assert (images.shape, images.dtype) == ((10, 64), torch.float32)
    assert (labels.shape, labels.dtype) == ((10,), torch.int64)


def test_a_model_that_knows_nothing_loses_log_10():
    for part in ("train", "test"):
        assert DigitsMLP(eval_on=part).evaluate(Keeps()) == pytest.approx(math.log(10), rel=1e-6)
    task = DigitsMLP()
    assert float(task.loss(Keeps(), task.batch(0, 0))) == pytest.approx(math.log(10), rel=1e-6)


def test_the_model_has_as_many_hidden_layers_as_asked_for():
    shapes = [tuple(p.shape) for p in DigitsMLP(hidden_layers=3).build(16).parameters() if p.ndim == 2]
    assert shapes == [(16, 64), (16, 16), (16, 16), (10, 16)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"batch_size": 0}, "batch_size=0, n_train=1437"),
        ({"batch_size": 100, "n_train": 99}, "batch_size=100, n_train=99"),
        ({"n_train": 1797}, "n_train=1797"),
        ({"eval_on": "validation"}, "eval_on must be 'train' or 'test', found 'validation'"),
    ],
)
def test_impossible_sizes_are_refused_with_their_values(args, message):
    with pytest.raises(ValueError, match=message):
        DigitsMLP(**args)
