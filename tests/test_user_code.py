"""What a user's own code does wrong is told in words, and never passes for a verdict."""

import pytest
from torch import nn

from mutransfer.config.schema import StudyConfig
from mutransfer.config.task import load_task
from mutransfer.errors import BuildError, ClassificationError, DataError
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import check_repeatable
from mutransfer.training.task_adapters import PartsTask

PARTS = """
import torch
from torch import nn

class Mixed(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inward, self.readout = nn.Linear(4, width), nn.Linear(width, 3)
        self.mix = nn.Parameter(0.1 * torch.randn(width, width + 2))

    def forward(self, x):  # mix is a matrix and a shift: no one reading is right
        return self.readout((torch.tanh(self.inward(x)) @ self.mix)[:, 2:] + self.mix.mean())

def batch(seed, step):
    g = torch.Generator().manual_seed(seed * 1000 + step)
    return torch.randn(8, 4, generator=g), torch.randint(3, (8,), generator=g)

def careless(seed, step):
    return torch.randn(8, 4), torch.zeros(8, dtype=torch.long)

def broken(model, batch):
    raise KeyError("labels")
"""
STUDY = {"model": "parts:Mixed", "data": "parts:batch", "loss": "cross_entropy", "base_width": 8, "widths": [16, 32]}
STUDY |= {"space": {"lr": {"log2": [-6, -3]}}, "seeds": 2, "training": {"steps": 3}, "optimizer": "adam"}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "parts", raising=False)
    return tmp_path


def spec(task):
    return RunSpec(task=repr(task), width=32, base_width=8, hyperparameters={"lr": 0.1}, optimizer="adam")


@pytest.mark.parametrize(("override", "role"), [({"fan_in": [0], "fan_out": [1]}, "hidden"), ("vector", "vector")])
def test_a_parameter_that_cannot_be_known_is_named_in_the_yaml(parts, override, role):
    with pytest.raises(ClassificationError, match="mix"):
        infer_plan(spec(task := load_task(StudyConfig(**STUDY))), task)
    task = load_task(StudyConfig(**STUDY, overrides={"mix": override}))
    assert infer_plan(spec(task), task)["mix"].role == role
    assert repr(task) != repr(load_task(StudyConfig(**STUDY)))  # another run than without the override


def test_an_exception_in_the_users_code_exits_2_and_says_where(parts, mutransfer):
    study = parts / "study.yaml"
    import yaml

    study.write_text(yaml.safe_dump({**STUDY, "loss": "parts:broken", "overrides": {"mix": "vector"}}))
    ended = mutransfer("tune", study, "--out", parts / "run")
    assert ended.code == 2
    assert "KeyError: 'labels'" in ended.err
    assert "the study stopped on the exception above" in ended.err


def test_a_batch_that_ignores_its_arguments_is_refused(parts):
    careless = load_task(StudyConfig(**{**STUDY, "data": "parts:careless"}))
    with pytest.raises(DataError, match="not the same when asked twice"):
        check_repeatable(careless)
    check_repeatable(load_task(StudyConfig(**STUDY)))


def test_a_factory_that_ignores_the_width_is_refused(parts):
    task = PartsTask(lambda width: nn.Linear(4, 3), load_task(StudyConfig(**STUDY)).data, None, "blind")
    with pytest.raises(BuildError, match="its build ignores the width"):
        infer_plan(spec(task), task)
