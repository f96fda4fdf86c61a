"""Input that cannot be used: exit code 2, a message in words, and nothing that was computed is lost."""

import pytest
from filelock import FileLock

from mutransfer.transfer.runs.record import Record

GPT = ["-o", "task=stdlib-gpt", "-o", "args={}", "-o", "base_width=16"]


def state(folder):
    """What a run directory holds, with content where it is text or the record."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    texts = {name: (folder / name).read_bytes() for name in ("config.yaml", "report.html", "report.md", "verdict.json")}
    return names, texts, (folder / "runs.db").read_bytes()


@pytest.fixture
def empty_folder(tmp_path):
    (tmp_path / "no data").mkdir()
    return tmp_path / "no data"


BAD = {
    "an unknown key": (["-o", "sedes=3"], "unknown key 'sedes'; did you mean 'seeds'?"),
    "a wrong type": (["-o", "seeds=many"], "seeds: Input should be a valid integer"),
    "an option that is none": (["-o", "seeds"], "expected a.b=value"),
    "a width that the factory cannot build": ([*GPT, "-o", "widths=[20]"], "cannot build the model at width 20"),
    "a base that the factory cannot build": ([*GPT, "-o", "base_width=12"], "cannot build the model at width 12"),
    "a width of nothing": (["-o", "widths=[0]"], "width must be a positive int"),
    "an unknown task": (["-o", "task=digit-mlp"], "unknown task 'digit-mlp'; did you mean 'digits-mlp'?"),
    "args that do not fit": (["-o", "args.depth=3"], "does not accept args"),
    "an unknown device": (["-o", "device=abacus"], "device 'abacus' cannot be used"),
    "a device that is not there": (["-o", "device=cuda:99"], "device 'cuda:99' cannot be used"),
    "a hyperparameter that adam lacks": (["-o", "space.momentum.linear=[0, 0.9]"], "adam has no hyperparameter 'momen"),
    "a folder that is not there": ([*GPT, "-o", "args.folder=gone", "-o", "widths=[32]"], "gone does not exist"),
}


@pytest.mark.parametrize("fresh", [[], ["--fresh"]], ids=["", "fresh"])
@pytest.mark.parametrize("which", BAD)
def test_exits_2_and_changes_nothing_in_the_run_directory_for(mutransfer, finished, which, fresh):
    options, complaint = BAD[which]
    before = state(finished.folder)
    for verb in ("run", "tune"):
        ended = mutransfer(verb, finished.folder, *fresh, *options)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert complaint in ended.err
        assert "Traceback" not in ended.err + ended.out
    assert state(finished.folder) == before


@pytest.mark.parametrize("verb", ["run", "tune", "verify"])
def test_an_empty_data_folder_exits_2_and_leaves_no_run_directory(mutransfer, finished, empty_folder, tmp_path, verb):
    options = [*GPT, "-o", f"args.folder='{empty_folder}'", "-o", "widths=[32]"]
    ended = mutransfer(verb, finished.config, "--out", tmp_path / "run", *options)
    assert ended.code == 2
    assert "no data holds no *.py file" in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["run", "tune", "verify", "report", "explain", "coords"])
def test_a_file_that_is_not_there_exits_2(mutransfer, tmp_path, verb):
    ended = mutransfer(verb, tmp_path / "gone.yaml")
    assert ended.code == 2
    assert "gone.yaml: no such config file or run directory" in ended.err


@pytest.mark.parametrize("verb", ["explain", "coords"])
def test_verbs_that_keep_nothing_tell_errors_alike(mutransfer, finished, verb):
    ended = mutransfer(verb, finished.config, *GPT, "-o", "widths=[20]")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert "cannot build the model at width 20" in ended.err


def test_a_directory_that_is_no_run_directory_exits_2(mutransfer, tmp_path):
    ended = mutransfer("run", tmp_path)
    assert ended.code == 2
    assert "is not a run directory: it has no config.yaml" in ended.err


def test_out_goes_with_a_config_and_not_with_a_run_directory(mutransfer, finished, tmp_path):
    ended = mutransfer("run", finished.folder, "--out", tmp_path / "other")
    assert ended.code == 2
    assert "--out goes with a config file" in ended.err
    assert not (tmp_path / "other").exists()


def test_out_that_is_a_file_exits_2_and_leaves_the_file(mutransfer, finished, tmp_path):
    (tmp_path / "notes").write_text("mine")
    ended = mutransfer("run", finished.config, "--out", tmp_path / "notes")
    assert ended.code == 2
    assert "notes cannot be a run directory" in ended.err
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_record_that_cannot_be_read_exits_2_and_is_left_for_repair(mutransfer, copied):
    (copied / "runs.db").write_bytes(b"half a database " * 100)
    ended = mutransfer("verify", copied)
    assert ended.code == 2
    assert "runs.db cannot be opened" in ended.err
    assert (copied / "runs.db").read_bytes() == b"half a database " * 100


@pytest.mark.parametrize("args", [["run"], ["walk"], ["run", "x.yaml", "--fast"], ["explain", "x.yaml", "--json"]])
def test_a_command_line_that_is_none_exits_2_with_the_usage(mutransfer, args):
    ended = mutransfer(*args)
    assert ended.code == 2
    assert ended.err.startswith("Usage: ")


@pytest.mark.parametrize("fresh", [[], ["--fresh"]], ids=["", "fresh"])
def test_a_directory_in_use_exits_2_and_is_left_alone(mutransfer, finished, fresh):
    before = state(finished.folder)
    with FileLock(finished.folder / ".lock"):
        ended = mutransfer("run", finished.folder, *fresh)
    assert ended.code == 2
    assert "is in use by another process" in ended.err
    assert state(finished.folder) == before


def test_the_report_of_an_unfinished_study_exits_2_and_makes_no_run(mutransfer, copied):
    before = len(Record(copied / "runs.db"))
    ended = mutransfer("report", copied, "-o", "seeds=4")
    assert ended.code == 2
    assert "runs are missing from the record; `mutransfer run` does them" in ended.err
    assert len(Record(copied / "runs.db")) == before


def test_fresh_does_not_pretend_to_forget_a_storage_elsewhere(mutransfer, copied, tmp_path):
    storage = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    before = state(copied)
    ended = mutransfer("run", copied, "--fresh", "-o", f"storage='{storage}'")
    assert ended.code == 2
    assert "name another storage to start anew" in ended.err
    assert state(copied) == before
