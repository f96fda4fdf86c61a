"""The task that a config names: built in, a class of the user's own, or parts."""

import sys

import pytest
import torch

from mutransfer.config.schema import StudyConfig
from mutransfer.config.task import import_string, load_task
from mutransfer.errors import ConfigError
from mutransfer.training.run import run
from mutransfer.training.spec import Outcome, RunSpec
from mutransfer.training.task import label_of
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

MINE = '''\
"""What a user brings."""
import torch
from torch import nn
from mutransfer.training.tasks.digits import DigitsMLP


class MyTask(DigitsMLP):
    pass


class NoTask:
    def build(self, width):
        return nn.Linear(width, 1)


NUMBER = 3


def factory(width):
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


def batches(seed, step):
    generator = torch.Generator().manual_seed(1000 * seed + step)
    inputs = torch.randn(16, 6, generator=generator)
    return inputs, (inputs[:, :3] > 0).float().argmax(1)


def regression(seed, step):
    inputs, labels = batches(seed, step)
    return inputs, torch.nn.functional.one_hot(labels, 3).float()


def absolute(model, batch):
    return (model(batch[0]) - batch[1]).abs().mean()
'''


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """The user's module ``mine`` in the working directory."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)


def config(**fields):
    return StudyConfig.model_validate({"base_width": 8, "widths": [16], "space": {"lr": {"log2": [-8, -2]}}, **fields})


def test_a_built_in_task_is_made_with_its_args():
    assert load_task(config(task="digits-mlp", args={"hidden_layers": 3})) == DigitsMLP(hidden_layers=3)
    assert load_task(config(task="stdlib-gpt", args={"layers": 1})) == SourceBytesGPT(layers=1)


def test_a_class_in_the_working_directory_is_found_by_package_module_and_name():
    task = load_task(config(task="mine:MyTask", args={"batch_size": 32}))
    assert (type(task).__name__, type(task).__module__, task.batch_size) == ("MyTask", "mine", 32)


@pytest.mark.parametrize(
    ("data", "loss"), [("batches", "cross_entropy"), ("regression", "mse"), ("regression", "mine:absolute")]
)
def test_parts_make_a_task_that_trains(data, loss):
    task = load_task(config(model="mine:factory", data=f"mine:{data}", loss=loss))
    spec = RunSpec(
        task=label_of(task), width=16, base_width=8, optimizer="adam", steps=10, hyperparameters={"lr": 0.01}
    )
    result = run(spec, task)
    assert result.outcome is Outcome.OK
    assert result.final_loss < result.initial_loss


def test_a_built_in_loss_is_torchs():
    task = load_task(config(model="mine:factory", data="mine:batches", loss="cross_entropy"))
    model, batch = task.build(8), task.batch(0, 0)
    expected = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
    assert torch.equal(task.loss(model, batch), expected)


def test_parts_are_named_in_the_record_so_that_other_parts_are_other_runs():
    one, two = (
        load_task(config(model="mine:factory", data="mine:regression", loss=x)) for x in ("mse", "mine:absolute")
    )
    assert label_of(one) == "mine:factory mine:regression mse"
    assert label_of(one) != label_of(two)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"task": "digit-mlp"}, r"unknown task 'digit-mlp'; did you mean 'digits-mlp'\? Built in: digits-mlp, induct"),
        (
            {"task": "qqq"},
            r"unknown task 'qqq'\. Built in: digits-mlp, induction, parity, stdlib-gpt; your own: package\.module:Task",
        ),
        ({"task": "mine:NoTask"}, "NoTask is not a Task: it has no batch, loss, evaluate"),
        ({"task": "mine:NUMBER"}, r"task mine:NUMBER does not accept args \{\}: 'int' object is not callable"),
        (
            {"task": "digits-mlp", "args": {"depth": 3}},
            "does not accept args {'depth': 3}: .*unexpected keyword.*depth",
        ),
        ({"task": "digits-mlp", "args": {"batch_size": 0}}, "does not accept args .*need 1 <= batch_size"),
        ({"task": "mine:Gone"}, "task: module 'mine' has no 'Gone'"),
        ({"task": "gone:Task"}, "task: cannot import 'gone': No module named 'gone'"),
        ({"task": "broken:Task"}, "task: cannot import 'broken': No module named 'no_such_package'"),
        ({"task": "mine:"}, "task: expected package.module:name, found 'mine:'"),
        (
            {"model": "mine:factory", "data": "mine:batches", "loss": "hinge"},
            "loss: expected cross_entropy, mse or pack",
        ),
        ({"model": "mine:factory", "data": "mine", "loss": "mse"}, "data: expected package.module:name, found 'mine'"),
        ({"model": "mine:fabric", "data": "mine:batches", "loss": "mse"}, "model: module 'mine' has no 'fabric'"),
    ],
)
def test_a_task_that_cannot_be_had_is_refused_with_what_was_found(fields, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_task(config(**fields))


def test_a_name_is_looked_up_as_it_is_written():
    assert import_string("math:pi", "model") == pytest.approx(3.14159, abs=1e-5)
