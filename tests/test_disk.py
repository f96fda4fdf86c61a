"""A full disk and a run directory that vanishes are told in those words; what was computed is kept elsewhere."""

import errno
import resource
import shutil
import signal
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import pytest

from mutransfer.errors import RecordError
from mutransfer.report.tensorboard import TensorBoardSink
from mutransfer.training.events import RunStarted, Scalars
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.transfer.runs.disk import disk_trouble
from mutransfer.transfer.runs.record import Record

RESULT = RunResult(outcome=Outcome.OK, initial_loss=2.0, final_loss=1.0, best_loss=1.0, train_curve=(1.0,) * 20000)


def spec(seed=0):
    return RunSpec(task="t", width=8, base_width=8, hyperparameters={"lr": 0.1}, seed=seed)


@contextmanager
def files_of_at_most(size):
    """The kernel itself refuses to let a file grow, as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def record(tmp_path):
    made = Record(tmp_path / "run" / "runs.db")
    made.add(spec(0), RESULT)
    return made


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def rescued(folder):
    (path,) = folder.glob("mutransfer-*/runs.db")
    return Record(path)


def test_a_file_that_cannot_grow_is_told_and_loses_no_earlier_run(record, tmp_path, temporary):
    path = tmp_path / "run" / "runs.db"
    with files_of_at_most(path.stat().st_size), pytest.raises(RecordError, match=r"runs\.db") as told:
        record.add(spec(1), RESULT)
    assert "cannot be written (" in str(told.value) or "is full (" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(Record(path)) == 1


@pytest.mark.parametrize("what", ["folder", "file", "emptied"])
def test_runs_of_a_record_that_vanishes_are_kept_elsewhere(record, tmp_path, temporary, what):
    path = tmp_path / "run" / "runs.db"
    shutil.rmtree(path.parent) if what == "folder" else path.unlink() if what == "file" else path.write_text("")
    with pytest.raises(RecordError, match=r"runs\.db has vanished; all 2 finished runs are kept in ") as told:
        record.add(spec(1), RESULT)
    assert "\n" not in str(told.value)
    kept = rescued(temporary)
    assert kept.find(spec(0)) == kept.find(spec(1)) == RESULT


def test_no_place_at_all_is_said_too(record, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(RecordError, match="has vanished; what is not in it is lost, for no other place"):
        record.add(spec(1), RESULT)


@pytest.mark.parametrize("write", [lambda file: file.write("x" * 2**16), lambda file: (file.write("x"), file.flush())])
def test_the_devices_own_error_is_that_of_a_full_disk(tmp_path, write):
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("w") as file:
        write(file)
    assert caught.value.errno == errno.ENOSPC
    assert disk_trouble(caught.value, tmp_path) == f"the disk of {tmp_path} is full (No space left on device)"
    wrapped = RuntimeError("by a library")
    wrapped.__cause__ = caught.value
    assert disk_trouble(wrapped, tmp_path) == f"the disk of {tmp_path} is full (No space left on device)"


def test_a_database_that_may_not_grow_is_full_in_sqlites_own_words(tmp_path):
    database = sqlite3.connect(tmp_path / "x.db")
    database.execute("create table t (x)")
    database.execute("pragma max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("insert into t values (zeroblob(100000))")
    database.commit()
    database.close()
    assert disk_trouble(caught.value, tmp_path) == f"the disk of {tmp_path} is full (database or disk is full)"


@pytest.mark.parametrize("error", [ValueError("disk is full"), OSError(errno.EACCES, "no"), FileNotFoundError(2, "x")])
def test_other_errors_are_none_of_the_disk(tmp_path, error):
    assert disk_trouble(error, tmp_path) is None


def test_curves_that_cannot_be_written_cost_no_run(tmp_path):
    (tmp_path / "curves").write_text("a file where a folder should be")
    sink = TensorBoardSink(tmp_path / "curves")
    sink(RunStarted(spec=spec()))
    sink(Scalars(spec=spec(), step=1, values={"train/loss": 1.0}))


CODE = """
import shutil
from pathlib import Path
from mutransfer.training.tasks.digits import DigitsMLP

class Removing(DigitsMLP):
    def evaluate(self, model, /):
        if Path("now").exists():
            shutil.rmtree("run", ignore_errors=True)
        return super().evaluate(model)
"""


def test_a_run_directory_that_vanishes_ends_a_verb_with_one_line(tmp_path, mutransfer, monkeypatch, temporary):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "removing_task.py").write_text(CODE)
    (tmp_path / "s.yaml").write_text(
        "task: removing_task:Removing\nargs: {hidden_layers: 1, n_train: 256}\nbase_width: 8\nwidths: [16]\nseeds: 2\n"
        "optimizer: adam\nspace: {lr: {log2: [-6, -5]}}\ntraining: {steps: 1}\ndevice: cpu\ncheck: false\nmembers: 1\n"
    )
    (tmp_path / "now").touch()
    ended = mutransfer("tune", "s.yaml", "--out", "run", "--plain")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended.err
    assert "run/runs.db has vanished; all 1 finished runs are kept in " in ended.err
    assert len(rescued(temporary)) == 1
