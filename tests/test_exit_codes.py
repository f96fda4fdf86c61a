"""Exit codes mean what they say, whatever the model, its data or its loss does while a verb runs."""

import os
import subprocess
import sys
import textwrap

import pytest

CODE = """
import sys
import torch
from torch import nn
from torch.nn.functional import cross_entropy

{top}

def build(width):
    {build}
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))

class Task:
    def build(self, width):
        return build(width)
    def batch(self, seed, step):
        {batch}
        g = torch.Generator().manual_seed(seed * 1000 + step)
        return torch.randn(8, 4, generator=g), torch.randint(3, (8,), generator=g)
    def loss(self, model, batch):
        {loss}
        return cross_entropy(model(batch[0]), batch[1])
    def evaluate(self, model):
        {evaluate}
        return float(self.loss(model, Task.batch(self, 99, 0)).detach())
    def __repr__(self):
        return "Task"
"""
STUDY = """
task: {module}:Task
base_width: 8
widths: [16]
seeds: 2
optimizer: adam
space: {{lr: {{log2: [-6, -3]}}}}
training: {{steps: 3}}
coordinates: {{steps: 1, seeds: 1}}
device: cpu
"""
PLACES = ("top", "build", "batch", "loss", "evaluate")


@pytest.fixture
def study(tmp_path, monkeypatch, request):
    """Writes a study whose code does something in one place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**does):
        module = f"code{abs(hash((request.node.name, *does.items())))}"
        code = CODE.format(**{place: does.get(place, "pass") for place in PLACES})
        (tmp_path / f"{module}.py").write_text(code)
        (tmp_path / "study.yaml").write_text(textwrap.dedent(STUDY.format(module=module)))
        return tmp_path / "study.yaml"

    return write


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("sys.exit(0)", "ended the program by exit(0), which is no verdict\n  at "),
        ("exit()", "ended the program by exit(None), which is no verdict\n  at "),
        ("import click; raise click.exceptions.Exit(0)", "Exit"),
        ("raise type('Odd', (BaseException,), {})('odd')", "odd"),
        ("raise BrokenPipeError(32, 'of the code')", "of the code"),
    ],
)
def test_what_the_studys_code_does_is_no_verdict(study, mutransfer, tmp_path, place, does, told):
    ended = mutransfer("run", study(**{place: does}), "--out", tmp_path / "run")
    assert ended.code == 2
    assert told in ended.err
    assert does in ended.err  # the line itself


@pytest.mark.parametrize("verb", ["explain", "tune", "verify", "coords", "falsify"])
def test_nor_is_it_under_another_verb(study, mutransfer, verb):
    ended = mutransfer(verb, study(build="sys.exit(1)"))
    assert (ended.code, ended.out) == (2, "")
    assert "exit(1), which is no verdict" in ended.err


@pytest.mark.parametrize("verb", ["explain", "init"])
def test_nor_for_a_factory(study, mutransfer, tmp_path, verb):
    study(top="raise SystemExit")
    (module,) = tmp_path.glob("code*.py")
    ended = mutransfer(verb, f"{module.stem}:build")
    assert ended.code == 2
    assert "exit(None), which is no verdict" in ended.err


@pytest.mark.parametrize(
    "does", ["[][3]", "{}['hidden']", "torch.ones(2) @ torch.ones(3)", "nn.Linear(4, 'x')", "undefined_name"]
)
def test_a_crash_in_the_factory_shows_the_line_of_the_users_own(study, mutransfer, does):
    ended = mutransfer("explain", study(build=does))
    assert ended.code == 2
    assert "cannot build the model at width" in ended.err
    assert f"in build: {does}" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (
            "return torch.randn(8, 4), torch.zeros(8, dtype=torch.long)",
            "batch(seed=0, step=0) is not the same when asked",
        ),
        ("import numpy; return torch.ones(8, 4), numpy.random.rand(8)", "batch(seed=0, step=0) is not the same when"),
        ("self.n = getattr(self, 'n', 0) + 1; return torch.full((8, 4), self.n)", "is not the same when asked twice"),
        ("if step: return torch.randn(8, 4), torch.zeros(8).long()", "batch(seed=0, step=1) is not the same"),
        ("if seed: return torch.randn(8, 4), torch.zeros(8).long()", "batch(seed=1, step=0) is not the same"),
    ],
)
def test_a_batch_that_is_drawn_anew_is_refused(study, mutransfer, does, told):
    ended = mutransfer("tune", study(batch=does, evaluate="return 0.5"))
    assert ended.code == 2
    assert told in ended.err


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("seed = step = 0", "does not depend on seed and step. A run sees one batch all the time. Runs differ in"),
        ("seed = 0", "does not depend on seed. Runs differ in their initialisation alone"),
        ("step = 0", "does not depend on step. A run sees one batch all the time."),
        ("pass", None),
    ],
)
def test_a_batch_that_ignores_its_arguments_is_told_of(study, mutransfer, tmp_path, does, told):
    ended = mutransfer("tune", study(batch=does), "--out", tmp_path / "run", "--plain")
    assert ended.code == 0
    assert told in ended.out if told else "does not depend" not in ended.out


def test_a_reader_that_goes_away_is_no_verdict(study, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from mutransfer.cli import main; main()",
        "tune",
        study(),
        "--out",
        tmp_path / "run",
    ]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([*command, "--plain"], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(writing)
    assert ended.returncode == 141
    assert ended.stderr == "the reader of the output has gone; finished runs are kept\n"
