"""Tasks, their names in the record, and batches of any nesting."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mutransfer.errors import ConfigError, DataError
from mutransfer.training.batches import batch_size, device_of, split_batch, to_device
from mutransfer.training.run import run
from mutransfer.training.spec import Outcome
from mutransfer.training.task import EVAL_SEED, Task, check_task, label_of
from mutransfer.training.task_adapters import PartsTask

from .tiny import Tiny, tiny_spec


def _loss(model: nn.Module, batch) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def _parts(**changes) -> PartsTask:
    return PartsTask(**{"model": Tiny().build, "data": Tiny().batch, "loss_fn": _loss, "label": "mine", **changes})


def test_a_task_of_parts_trains_as_the_class_made_of_the_same_parts():
    parts, whole = run(tiny_spec(), _parts()), run(tiny_spec(), Tiny())
    assert parts.outcome is Outcome.OK
    assert parts.train_curve == whole.train_curve


def test_a_task_of_parts_is_evaluated_on_the_first_batches_of_a_seed_of_its_own():
    model = Tiny().build(8)
    losses = [_loss(model, Tiny().batch(EVAL_SEED, step)).item() for step in range(4)]
    assert _parts().evaluate(model) == pytest.approx(sum(losses) / 4, rel=1e-6)
    assert _parts(eval_batches=1).evaluate(model) == pytest.approx(losses[0], rel=1e-6)


def test_a_task_of_parts_is_a_task():
    assert isinstance(_parts(), Task)
    assert check_task(_parts()).evaluate is not None


class NoBatchNoLoss:
    loss = 3.0  # there, but nothing to call

    def build(self, width): ...

    def evaluate(self, model): ...


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (NoBatchNoLoss(), r"NoBatchNoLoss is not a Task: it has no batch, loss\."),
        (nn.Linear(1, 1), r"Linear is not a Task: it has no build, batch, loss, evaluate\."),
        (None, "NoneType is not a Task"),
        (Tiny, r"Tiny is a class, not a Task: pass an instance, Tiny\(\.\.\.\)"),
    ],
)
def test_what_is_no_task_is_refused_with_what_it_lacks(task, message):
    with pytest.raises(ConfigError, match=message):
        check_task(task)


def test_a_task_is_handed_back_as_it_is():
    task = Tiny()
    assert check_task(task) is task


@dataclass(frozen=True)
class WithFunction(Tiny):
    activation: Callable = F.gelu
    data: object = None
    depth: int = 2


class NoRepr(Tiny):
    __repr__ = object.__repr__


def _square(x):
    return x * x


def test_the_label_is_the_repr():
    assert label_of(Tiny()) == "Tiny()"
    assert label_of(_parts(label="digits by hand")) == "digits by hand"


def test_the_label_of_a_task_without_a_repr_is_its_class():
    assert label_of(NoRepr()) == f"{__name__}.NoRepr"


def test_the_label_holds_no_address_and_keeps_what_tells_tasks_apart():
    one = label_of(WithFunction(activation=_square, data=NoBatchNoLoss(), depth=2))
    assert " at 0x" not in one
    assert "_square" in one
    assert one == label_of(WithFunction(activation=_square, data=NoBatchNoLoss(), depth=2))  # at another address
    assert one != label_of(WithFunction(activation=_square, data=NoBatchNoLoss(), depth=3))
    assert one != label_of(WithFunction(activation=F.relu, data=NoBatchNoLoss(), depth=2))


def _nested(size: int):
    rows = torch.arange(size)
    return {
        "x": (rows.float(), [rows * 10, "text"]),
        "mask": torch.arange(2 * size).view(size, 2),
        "weights": torch.ones(size + 1),  # one per class, not per example
        "temperature": torch.tensor(0.5),
        "n": 3,
    }


@given(st.integers(1, 40), st.integers(1, 50))
def test_the_pieces_of_a_batch_are_the_batch_in_order_and_of_even_size(size, pieces):
    cut = split_batch(_nested(size), pieces)
    sizes = [batch_size(piece) for piece in cut]
    assert len(cut) == min(size, pieces)
    assert sum(sizes) == size
    assert max(sizes) - min(sizes) <= 1
    assert torch.cat([piece["x"][0] for piece in cut]).tolist() == list(range(size))
    assert torch.cat([piece["x"][1][0] for piece in cut]).tolist() == [10 * i for i in range(size)]
    assert torch.equal(torch.cat([piece["mask"] for piece in cut]), torch.arange(2 * size).view(size, 2))
    for piece in cut:
        assert (piece["x"][1][1], piece["n"], float(piece["temperature"])) == ("text", 3, 0.5)
        assert len(piece["weights"]) == size + 1


def test_the_batch_size_is_the_first_dimension_of_the_first_tensor_that_has_one():
    assert batch_size((torch.tensor(1.0), {"x": torch.zeros(5, 2)}, torch.zeros(7))) == 5


@pytest.mark.parametrize("batch", [None, [], {"n": 3}, torch.tensor(1.0)])
def test_a_batch_without_a_batch_dimension_is_refused_by_its_type(batch):
    with pytest.raises(DataError, match=f"batch dimension, found {type(batch).__name__}"):
        batch_size(batch)


def test_every_tensor_of_a_batch_moves_and_nothing_else_changes():
    moved = to_device(_nested(4), "meta")
    assert moved["x"][0].is_meta
    assert moved["x"][1][0].is_meta
    assert moved["temperature"].is_meta
    assert (moved["x"][1][1], moved["n"]) == ("text", 3)


def test_a_model_is_where_its_parameters_are():
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")
