"""What tests share: one thread, a fixed seed, float64, the command line, a fresh database, one finished study."""

import os

# One thread for each process of a test run, and for what they start: two workers with a thread per core wait for each
# other most of the time. Read by torch, MKL and OpenBLAS when they are loaded, so it comes before their imports.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import random
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from mutransfer.cli import main
from mutransfer.transfer.runs.record import Record

# The same examples every time: a test that fails once fails always.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")

# Base 64 and 512 are far enough apart for the slope of 3 seeds to be within 0.15, and 30 steps for the optimum to hold:
# mup transfers and moves, and the kernel control is lazy.
STUDY = """\
task: digits-mlp
args: {hidden_layers: 1, n_train: 512}
parameterization: mup
compare: [ntk]
optimizer: adam
base_width: 64
widths: [256, 512]
seeds: 3
space:
  lr: {log2: [-6, -2]}
training: {steps: 30, schedule: linear, warmup_steps: 4}
coordinates: {steps: 3, seeds: 2}
device: cpu
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a call of the command line left."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def runs(self):
        """The lines of --plain that tell a finished run."""
        return [line for line in self.lines if re.match(r"\d+/\d+ ", line)]


def _mutransfer(*args):
    before = sys.argv
    sys.argv = ["mutransfer", *map(str, args)]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.argv = before
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


@pytest.fixture(autouse=True, scope="module")
def _without_what_is_loaded():
    """Collecting garbage, which fold and a run out of memory do for real, passes over what modules have made.

    Walking through the million objects of torch and of all tests takes half a second each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the factories under test may draw from it)
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """In float64 two orders of the same sums differ by about 1e-15 per operation, and 1e-10 is far from both."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def mutransfer():
    """The console script's own function, called in this process: what it prints and its exit code."""
    return _mutransfer


@dataclass(frozen=True, kw_only=True)
class Finished:
    config: Path
    folder: Path
    ended: Ended


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`mutransfer run` of STUDY, done once. Tests that change the run directory take ``copied``."""
    home = tmp_path_factory.mktemp("study")
    (home / "study.yaml").write_text(STUDY)
    ended = _mutransfer("run", home / "study.yaml", "--out", home / "run", "--plain")
    return Finished(config=home / "study.yaml", folder=home / "run", ended=ended)


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished.folder, tmp_path / "copy"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("database") / "runs.db"
    Record(path)
    return path


@pytest.fixture
def database(empty_database, tmp_path):
    """A SQLite record without runs; a copy, for making its tables takes half a second of waiting for the disk."""
    return shutil.copy(empty_database, tmp_path / "runs.db")
