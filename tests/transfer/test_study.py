"""The record of runs in a real Optuna storage."""

import math
import os
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from mutransfer.errors import RecordError
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.transfer.runs.record import Record
from mutransfer.widths import width_size

GOOD = RunResult(
    outcome=Outcome.OK,
    initial_loss=2.3,
    final_loss=0.1 + 0.2,  # not a short decimal: what comes back must be equal to the last bit
    best_loss=0.25,
    train_curve=(2.3, 1.0 / 3.0),
    eval_curve=((0, 2.3), (3, 0.1 + 0.2)),
    movement={"1": 0.7, "3": 1e-9},
    n_parameters=1234,
    accumulate=2,
    seconds=0.5,
    device="cpu",
)
DIVERGED = replace(GOOD, outcome=Outcome.DIVERGED, final_loss=math.inf, train_curve=(2.3, math.nan))
NO_MEMORY = RunResult(outcome=Outcome.OUT_OF_MEMORY, initial_loss=math.inf, final_loss=math.inf, best_loss=math.inf)


def test_a_database_is_made_on_demand_with_its_folders(tmp_path):
    path = tmp_path / "made" / "on demand" / "runs.db"
    assert len(Record(path)) == 0
    assert path.exists()


def test_a_result_survives_reopening_the_file_bit_for_bit(database, make_spec):
    Record(database).add(make_spec(), GOOD)
    again = Record(database)
    assert len(again) == 1
    assert again.find(make_spec()) == GOOD


def test_what_diverged_or_ran_out_of_memory_is_kept_like_any_result(database, make_spec):
    record = Record(database)
    record.add(make_spec(log2_lr=0.0), DIVERGED)
    record.add(make_spec(log2_lr=-1.0), NO_MEMORY)
    again = Record(database)
    diverged = again.find(make_spec(log2_lr=0.0))
    assert (diverged.outcome, diverged.final_loss) == (Outcome.DIVERGED, math.inf)
    assert math.isnan(diverged.train_curve[1])
    assert again.find(make_spec(log2_lr=-1.0)) == NO_MEMORY


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"steps": 4},
        {"width": 32},
        {"log2_lr": -5.0},
        {"parameterization": "sp"},
        {"wd_policy": "standard"},
        {"schedule": "linear"},
    ],
)
def test_a_run_is_not_taken_for_one_that_differs_in(make_spec, other):
    record = Record()
    record.add(make_spec(), GOOD)
    assert record.find(make_spec(**other)) is None


def test_a_run_at_base_width_is_found_again_under_every_parameterization(database, make_spec):
    Record(database).add(make_spec(width=8, parameterization="mup"), GOOD)
    again = Record(database)
    for name in ("sp", "as_is", "ntk", "mf", "mup"):
        assert again.find(make_spec(width=8, parameterization=name)) == GOOD


def test_a_width_given_as_a_mapping_is_found_in_any_order_of_its_keys(database, make_spec):
    Record(database).add(make_spec(width={"d": 16, "ff": 64}, base_width={"d": 8, "ff": 32}), GOOD)
    assert Record(database).find(make_spec(width={"ff": 64, "d": 16}, base_width={"ff": 32, "d": 8})) == GOOD


def test_there_is_a_study_per_width_and_parameterization_and_one_for_the_base(database, make_spec):
    record = Record(database)
    for name in ("mup", "sp"):
        for width in (8, 16, 32):
            record.add(make_spec(width=width, parameterization=name), GOOD)
    assert sorted(optuna.get_all_study_names(Record(database).storage)) == [
        "runs base adam width=8",
        "runs mup adam width=16",
        "runs mup adam width=32",
        "runs sp adam width=16",
        "runs sp adam width=32",
    ]


def test_a_trial_holds_lr_loss_and_what_the_run_was(database, make_spec):
    spec = make_spec(seed=3)
    Record(database).add(spec, GOOD)
    (trial,) = optuna.load_study(study_name="runs mup adam width=16", storage=Record(database).storage).trials
    assert trial.params == {"lr": 2.0**-6}
    assert trial.value == GOOD.final_loss
    assert trial.user_attrs["key"] == spec.key
    assert (trial.user_attrs["outcome"], trial.user_attrs["seed"]) == ("ok", 3)
    assert trial.user_attrs["spec"]["width"] == 16
    assert RunResult.from_dict(trial.user_attrs["result"]) == GOOD


def test_a_diverged_trial_counts_as_the_loss_before_training_and_one_without_any_as_huge(database, make_spec):
    record = Record(database)
    record.add(make_spec(log2_lr=0.0), DIVERGED)
    record.add(make_spec(log2_lr=-1.0), NO_MEMORY)
    study = optuna.load_study(study_name="runs mup adam width=16", storage=Record(database).storage)
    assert {t.params["lr"]: t.value for t in study.trials} == {1.0: 2.3, 0.5: 1e12}


@pytest.mark.parametrize("momentum", [(0.0, 0.9), (0.9, 0.0)])
def test_a_hyperparameter_may_be_zero_in_one_run_and_not_in_the_next(database, make_spec, momentum):
    record = Record(database)
    specs = [make_spec(optimizer="sgd", hyperparameters={"lr": 0.1, "momentum": m}) for m in momentum]
    for spec in specs:
        record.add(spec, GOOD)
    again = Record(database)
    assert [again.find(spec) for spec in specs] == [GOOD, GOOD]


def test_a_record_in_memory_needs_no_file(make_spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = Record()
    record.add(make_spec(), GOOD)
    assert record.find(make_spec()) == GOOD
    assert list(tmp_path.iterdir()) == []


def test_the_record_takes_a_url_as_well_as_a_file(database, make_spec):
    Record(database).add(make_spec(), GOOD)
    assert Record(f"sqlite:///{database}").find(make_spec()) == GOOD


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed by Linux alone")
def test_between_two_looks_at_the_file_no_connection_to_it_stays_open(database, make_spec):
    record = Record(database)
    record.add(make_spec(), GOOD)
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    assert database not in [link.readlink() for link in links if link.is_symlink()]


def test_a_study_of_someone_elses_in_the_same_storage_is_left_alone(database, make_spec):
    Record(database).add(make_spec(), GOOD)
    theirs = optuna.create_study(study_name="theirs", storage=Record(database).storage)
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    assert len(Record(database)) == 1


def test_a_file_that_is_no_database_gives_a_record_error_that_names_it(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(b"these are not the pages of a database " * 100)
    with pytest.raises(RecordError, match=r"runs\.db cannot be opened: .*not a database"):
        Record(path)
    assert path.read_bytes().startswith(b"these are not")


def test_a_place_where_no_file_can_be_gives_a_record_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be opened"):
        Record(tmp_path / "file" / "runs.db")


def test_the_size_of_a_mapping_is_its_geometric_mean():
    assert width_size(64) == 64.0
    assert width_size({"d": 16, "ff": 64}) == pytest.approx(32.0, rel=1e-12)
