"""Running out of memory in a coordinate check is an outcome: the allocator itself refuses, as on any machine."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import mutransfer as mt
from mutransfer.errors import ConfigError
from mutransfer.training.tasks.digits import DigitsMLP

TOO_MUCH = 2**52  # bytes; no machine has them


def by_torch():
    torch.empty(TOO_MUCH, dtype=torch.uint8)


def by_numpy():
    np.empty(TOO_MUCH, dtype=np.uint8)


@dataclass(frozen=True)
class Hungry(DigitsMLP):
    """Needs more memory than there is in training beyond a width."""

    most: int = 32
    allocate: object = by_torch

    def loss(self, model, batch, /):
        if len(batch[0]) > 8 and model[-1].in_features > self.most:  # a few examples are enough to plan with
            self.allocate()
        return super().loss(model, batch)


def check(most, allocate=by_torch, widths=(8, 16, 32, 64), **settings):
    task = Hungry(hidden_layers=1, batch_size=32, n_train=256, most=most, allocate=allocate)
    return mt.coordinate_check(task, widths=widths, optimizer="adam", steps=2, seeds=2, device="cpu", **settings)


@pytest.mark.parametrize("allocate", [by_torch, by_numpy])
@pytest.mark.parametrize(("most", "measured"), [(32, (8, 16, 32)), (16, (8, 16))])
def test_widths_that_the_memory_does_not_hold_are_left_out_and_told(most, measured, allocate):
    found = check(most, allocate)
    left = tuple(w for w in (8, 16, 32, 64) if w not in measured)
    assert (found.widths, found.left_out) == (measured, left)
    (note,) = found.notes
    assert note.startswith(f"the memory does not hold width {left[0]}: left out of the coordinate check is ")
    plain = check(1000, widths=measured)
    assert (plain.left_out, plain.notes) == ((), ())
    assert found.slopes == plain.slopes


def test_one_width_alone_is_no_check():
    with pytest.raises(ConfigError, match="the memory does not hold a coordinate check of width 16, and it needs at"):
        check(8)


def test_another_error_is_not_taken_for_it():
    def other():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        check(32, other)
