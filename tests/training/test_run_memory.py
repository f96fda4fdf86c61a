"""Micro-batches, and running out of memory for real: the CPU allocator itself refuses."""

import gc
import math
import weakref
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from mutransfer.errors import BuildError
from mutransfer.training.out_of_memory import is_out_of_memory
from mutransfer.training.run import run
from mutransfer.training.spec import Outcome
from mutransfer.training.tasks.digits import DigitsMLP

from .tiny import BASE, BATCH, Tiny, tiny_spec

ROUNDING = 1e-11  # float64; sums over examples in another order, 25 steps
TOO_MUCH = 2**52  # bytes; no machine has them


def _torch_allocation():
    torch.empty(TOO_MUCH, dtype=torch.uint8)


def _numpy_allocation():
    np.empty(TOO_MUCH, dtype=np.uint8)


@dataclass(frozen=True)
class Hungry(Tiny):
    """Needs more memory than there is when a micro-batch holds more than ``at_most`` examples."""

    at_most: int = BATCH
    allocate: object = _torch_allocation

    def loss(self, model, batch, /):
        if len(batch[0]) > self.at_most:
            self.allocate()
        return super().loss(model, batch)


@pytest.mark.parametrize("pieces", [2, 3, 5, 7, BATCH, 100])
def test_accumulating_over_micro_batches_even_or_not_changes_rounding_only(pieces, float64):
    whole, cut = (run(tiny_spec(accumulate=n, optimizer="adam"), Tiny()) for n in (1, pieces))
    assert cut.train_curve == pytest.approx(whole.train_curve, rel=ROUNDING)
    assert cut.final_loss == pytest.approx(whole.final_loss, rel=ROUNDING)
    assert cut.movement == pytest.approx(whole.movement, rel=ROUNDING)
    assert cut.train_curve != whole.train_curve  # otherwise nothing was cut
    assert cut.accumulate == pieces


@pytest.mark.parametrize("allocate", [_torch_allocation, _numpy_allocation])
@pytest.mark.parametrize(("at_most", "pieces"), [(6, 2), (5, 4), (3, 4), (2, 8), (1, BATCH)])
def test_a_run_out_of_memory_is_repeated_with_more_micro_batches(at_most, pieces, allocate, float64):
    spec = tiny_spec(steps=6)
    result = run(spec, Hungry(at_most=at_most, allocate=allocate))
    assert (result.outcome, result.accumulate) == (Outcome.OK, pieces)
    asked_for = run(replace(spec, accumulate=pieces), Tiny())
    assert result.train_curve == asked_for.train_curve
    assert result.final_loss == pytest.approx(asked_for.final_loss, rel=ROUNDING)
    plenty = run(spec, Tiny())
    assert result.train_curve == pytest.approx(plenty.train_curve, rel=ROUNDING)
    assert result.initial_loss == pytest.approx(plenty.initial_loss, rel=ROUNDING)
    assert result.movement == pytest.approx(plenty.movement, rel=ROUNDING)


def test_micro_batches_that_were_asked_for_are_where_the_repetition_starts():
    assert run(tiny_spec(steps=2, accumulate=3), Hungry(at_most=2)).accumulate == 6


def test_no_memory_for_even_one_example_is_the_outcome_out_of_memory():
    result = run(tiny_spec(), Hungry(at_most=0))
    assert result.outcome is Outcome.OUT_OF_MEMORY
    assert (result.initial_loss, result.final_loss, result.best_loss) == (math.inf, math.inf, math.inf)
    assert result.accumulate == BATCH
    assert result.train_curve == ()


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("no"), KeyError("x")])
def test_any_other_error_propagates_unchanged(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        run(tiny_spec(), Hungry(at_most=0, allocate=fail))
    assert caught.value is error


def test_movement_is_that_of_the_same_64_examples_however_a_larger_batch_is_cut():
    spec, task = tiny_spec(width=64, base_width=64, steps=3), DigitsMLP(batch_size=150)
    whole = run(spec, task).movement
    assert run(replace(spec, accumulate=4), task).movement == pytest.approx(whole, rel=1e-4)  # float32
    assert run(replace(spec, accumulate=4), DigitsMLP(batch_size=64)).movement != pytest.approx(whole, rel=1e-2)


@dataclass(frozen=True)
class TooWide(Tiny):
    """The model itself does not fit at one width (the meta device holds anything)."""

    too_wide: int
    fail: object

    def build(self, width, /):
        if width == self.too_wide and torch.empty(0).device.type != "meta":
            self.fail()
        return super().build(width)


def test_a_model_that_does_not_fit_is_out_of_memory_too():
    wide = 8 * BASE
    assert run(tiny_spec(width=wide), TooWide(wide, _torch_allocation)).outcome is Outcome.OUT_OF_MEMORY


def test_a_factory_that_fails_for_another_reason_is_an_error_that_names_the_width():
    def fail():
        raise RuntimeError("heads do not divide")

    with pytest.raises(BuildError, match="at width 64: RuntimeError: heads do not divide"):
        run(tiny_spec(width=8 * BASE), TooWide(8 * BASE, fail))


@dataclass(frozen=True)
class Remembers(Hungry):
    models: list = field(default_factory=list)
    alive: list = field(default_factory=list)

    def build(self, width, /):
        self.alive.append(sum(ref() is not None for ref in self.models))
        model = super().build(width)
        self.models.append(weakref.ref(model))
        return model


def test_the_failed_attempt_is_freed_before_the_next_one():
    task = Remembers(at_most=3)
    gc.collect()
    gc.disable()
    try:
        assert run(tiny_spec(steps=2), task).accumulate == 4
    finally:
        gc.enable()
    assert task.alive[-2:] == [0, 0]  # attempts with 2 and with 4 micro-batches


def test_events_of_a_repeated_run_carry_the_spec_that_was_asked_for():
    events = []
    spec = tiny_spec(steps=2)
    run(spec, Hungry(at_most=3), sink=events.append)
    assert events
    assert {e.spec.key for e in events} == {spec.key}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (None, False),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected
