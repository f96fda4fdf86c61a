"""Runs of other code are not served as this one's: arguments in the name, edits told, and the choice that is left."""

import sys
from dataclasses import replace

import pytest

from mutransfer.config.schema import StudyConfig
from mutransfer.config.task import load_task
from mutransfer.errors import RecordError
from mutransfer.study.folder import Folder
from mutransfer.study.known_code import Changed, known_task, refuse_other_code
from mutransfer.study.workflow import Workflow
from mutransfer.training.run import run
from mutransfer.training.task import label_of
from mutransfer.transfer.runs.record import Record

PARTS = '''
import torch
from torch import nn

GAIN = 1.0


class Net(nn.Module):
    """A net."""

    def __init__(self, width, depth):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.rest = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        for layer in self.rest:
            x = torch.tanh(layer(x))
        return GAIN * self.last(x)
'''
TASK = """
from dataclasses import dataclass, field
import torch
from torch.nn.functional import cross_entropy
import their_parts

class Bare:
    def __init__(self, depth=1, name="a", sizes=()):
        self.depth = depth

    def build(self, width):
        return their_parts.Net(width, self.depth)

    def batch(self, seed, step):
        g = torch.Generator().manual_seed(seed * 1000 + step)
        return torch.randn(8, 4, generator=g), torch.randint(3, (8,), generator=g)

    def loss(self, model, batch):
        return cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model):
        return float(self.loss(model, self.batch(99, 0)).detach())

class Named(Bare):
    def __repr__(self):
        return "Named"

class Telling(Bare):
    def __repr__(self):
        return f"Telling(depth={self.depth})"

@dataclass
class Hiding(Bare):
    depth: int = field(default=1, repr=False)
    name: str = "a"
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits may fall into one second
    written(tmp_path)
    yield
    forget_modules()


def forget_modules():
    for name in ("their_task", "their_parts"):
        sys.modules.pop(name, None)


def written(folder, old="", new=""):
    """The user's code, with an edit."""
    assert not old or (PARTS + TASK).count(old) == 1
    (folder / "their_parts.py").write_text(PARTS.replace(old, new) if old else PARTS)
    (folder / "their_task.py").write_text(TASK.replace(old, new) if old else TASK)
    forget_modules()


def config(task="their_task:Bare", **fields):
    known = {
        "base_width": 8,
        "widths": [16],
        "seeds": 2,
        "optimizer": "adam",
        "space": {"lr": {"log2": [-6, -5]}},
        "training": {"steps": 1},
        "device": "cpu",
        "check": False,
    }
    return StudyConfig.model_validate({"task": task, **known, **fields})


def study(tmp_path, **fields):
    return Workflow(config(**fields), Folder(tmp_path / "run"))


def name_in(tmp_path, ask=refuse_other_code, **fields):
    known = config(**fields)
    return label_of(known_task(load_task(known), Record(tmp_path / "runs.db"), known.base_width, ask=ask))


@pytest.mark.parametrize(
    ("task", "args", "name"),
    [
        ("Bare", {}, "their_task.Bare"),
        ("Bare", {"depth": 4}, "their_task.Bare depth=4"),
        ("Bare", {"sizes": [1, 2], "depth": 2}, "their_task.Bare depth=2 sizes=[1, 2]"),
        ("Named", {"depth": 4}, "Named depth=4"),
        ("Telling", {"depth": 4}, "Telling(depth=4)"),
        ("Telling", {"depth": 4, "name": "b"}, "Telling(depth=4) name='b'"),
        ("Hiding", {"depth": 4, "name": "b"}, "Hiding(name='b') depth=4"),
    ],
)
def test_arguments_that_a_tasks_name_does_not_tell_are_put_into_it(task, args, name):
    assert label_of(load_task(config(f"their_task:{task}", args=args))) == name


def test_a_name_that_begins_like_the_argument_does_not_tell_it(tmp_path):
    written(tmp_path, 'return "Named"', 'return "Named(depth=12, max_depth=1)"')
    assert label_of(load_task(config("their_task:Named", args={"depth": 1}))).endswith(" depth=1")


def test_the_arguments_stand_before_overrides():
    overridden = load_task(config(args={"depth": 2}, overrides={"first.weight": "input"}))
    assert label_of(overridden).startswith("their_task.Bare depth=2 overrides={'first.weight': ")


def test_other_arguments_make_other_runs(tmp_path, mutransfer):
    (tmp_path / "s.yaml").write_text(
        "task: their_task:Bare\nbase_width: 8\nwidths: [16]\nseeds: 2\noptimizer: adam\n"
        "space: {lr: {log2: [-6, -5]}}\ntraining: {steps: 1}\ndevice: cpu\ncheck: false\n"
    )
    first, other, again = (mutransfer("tune", "s.yaml", "--plain", "-o", f"args.depth={depth}") for depth in (1, 4, 1))
    assert (first.code, other.code, again.code) == (0, 0, 0), first.err + other.err
    assert len(other.runs) >= 4  # two learning rates, two seeds
    assert again.runs == []


@pytest.fixture
def recorded(tmp_path):
    """A run directory of a version that did not put arguments into names: args.depth=2, one run."""
    folder = tmp_path / "run"
    folder.mkdir()
    with study(tmp_path, args={"depth": 2}) as one:
        spec = replace(one.template, task="their_task.Bare")
    (folder / "runs.db").unlink()
    Record(folder / "runs.db").add(spec, run(spec, load_task(config(args={"depth": 2}))))
    return folder


def test_an_old_record_is_that_of_the_arguments_in_its_folder(tmp_path, recorded):
    for _ in range(2):
        with study(tmp_path, args={"depth": 2}) as one:
            assert one.record.find(one.template) is not None


def test_an_old_record_is_not_that_of_other_arguments_and_stays_that_of_its_own(tmp_path, recorded):
    for depth, found in ((3, False), (3, False), (2, True), (3, False), (2, True)):
        with study(tmp_path, args={"depth": depth}) as one:
            assert (one.record.find(one.template) is not None) is found, depth


EDITS = {
    "the forward of a module elsewhere": ("GAIN * self.last(x)", "self.last(x) * x.abs().mean()", "the loss of the"),
    "a number of a module elsewhere": ("GAIN = 1.0", "GAIN = 2.0", "the loss of the first batch is"),
    "initial values": (
        "        self.last = nn.Linear(width, 3)\n",
        "        self.last = nn.Linear(width, 3)\n        nn.init.normal_(self.last.weight)\n",
        "parameter last.weight starts with values of size",
    ),
    "structure": ("range(depth - 1)", "range(depth)", "module rest.0 is new"),
    "a shape": ("nn.Linear(4, width)", "nn.Linear(4, width, bias=False)", "parameter first.bias is gone"),
    "the evaluation alone": ("self.batch(99, 0)", "self.batch(98, 0)", "code of their_task.Bare.evaluate has been"),
    "later batches alone": ("seed * 1000 + step", "seed * 1000 + 2 * step", "code of their_task.Bare.batch has been"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_told_and_taken_back_it_is_the_same_code(tmp_path, edit):
    name = name_in(tmp_path)
    written(tmp_path, *EDITS[edit][:2])
    with pytest.raises(RecordError) as told:
        name_in(tmp_path)
    assert f"the runs of {name} are of other code: " in str(told.value)
    assert EDITS[edit][2] in str(told.value)
    assert "\n" not in str(told.value)
    written(tmp_path)
    assert name_in(tmp_path) == name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A net."""', '"""Another text."""'),
        ("GAIN * self.last(x)", "(\n            GAIN  # once\n            * self.last(x)\n        )"),
        ("class Named(Bare)", "class Other(Bare):\n    def evaluate(self, model):\n        pass\n\nclass Named(Bare)"),
        ("GAIN = 1.0", "GAIN = 1.0\nUNUSED = 3"),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_not_told(tmp_path, old, new):
    name = name_in(tmp_path)
    written(tmp_path, old, new)
    assert name_in(tmp_path) == name


@pytest.mark.parametrize("edit", ["structure", "later batches alone", "a number of a module elsewhere"])
def test_the_answer_is_kept(tmp_path, edit):
    name = name_in(tmp_path)
    written(tmp_path, *EDITS[edit][:2])
    other = name_in(tmp_path, lambda told: Changed.ANEW)
    assert other.startswith(f"{name} @")
    assert name_in(tmp_path) == other
    written(tmp_path)
    assert name_in(tmp_path) == name
    written(tmp_path, "nn.Linear(4, width)", "nn.Linear(4, width, bias=False)")
    assert name_in(tmp_path, lambda told: Changed.REUSE) in (name, other)
    assert name_in(tmp_path) in (name, other)


def test_another_base_width_is_no_other_code(tmp_path):
    assert name_in(tmp_path) == name_in(tmp_path, base_width=4) == name_in(tmp_path)


def test_the_command_line_asks_for_an_option_and_takes_it(tmp_path, mutransfer):
    (tmp_path / "s.yaml").write_text(
        "task: their_task:Bare\nbase_width: 8\nwidths: [16]\nseeds: 2\noptimizer: adam\n"
        "space: {lr: {log2: [-6, -5]}}\ntraining: {steps: 1}\ndevice: cpu\ncheck: false\n"
    )
    first = mutransfer("tune", "s.yaml", "--plain")
    written(tmp_path, *EDITS["structure"][:2])
    refused = mutransfer("tune", "s.yaml", "--plain")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "--changed reuse takes them" in refused.err
    assert mutransfer("tune", "s.yaml", "--changed", "both").code == 2
    assert mutransfer("run", "runs/s", "--dry-run").code == 2
    reused = mutransfer("tune", "s.yaml", "--plain", "--changed", "reuse")
    assert (reused.code, reused.runs) == (0, [])
    written(tmp_path, *EDITS["a shape"][:2])
    anew = mutransfer("tune", "runs/s", "--plain", "--changed", "anew")
    assert (anew.code, len(anew.runs)) == (0, len(first.runs))
    written(tmp_path, *EDITS["initial values"][:2])
    fresh = mutransfer("tune", "s.yaml", "--plain", "--fresh")
    assert (fresh.code, len(fresh.runs)) == (0, len(first.runs))
