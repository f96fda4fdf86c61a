"""Event files as TensorBoard itself reads them: curves of every run and its row of the HParams table."""

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from mutransfer.report.tensorboard import TensorBoardSink
from mutransfer.training.run import run
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import label_of
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner

TASK = DigitsMLP(hidden_layers=1, batch_size=32, n_train=256)


def spec(width=16, log2_lr=-6.0, **fields):
    known = {"base_width": 8, "optimizer": "adam", "steps": 21, "hyperparameters": {"lr": 2.0**log2_lr}}
    return RunSpec(task=label_of(TASK), width=width, **{**known, **fields})


def read(folder):
    """{folder of a run: what TensorBoard reads from it}, one event file each."""
    files = sorted(Path(folder).rglob("events.out.tfevents.*"))
    assert len({f.parent for f in files}) == len(files)
    loaded = {}
    for file in files:
        loaded[file.parent] = EventAccumulator(str(file)).Reload()
    return loaded


def hparams(events):
    """The row of the HParams table."""
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    row = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in row.items()}


@pytest.fixture
def written(tmp_path):
    """Runs the specs with the sink; returns what TensorBoard reads, and the record."""

    def do(*specs):
        record = Record()
        Runner(TASK, record=record, device="cpu", sink=TensorBoardSink(tmp_path)).perform(specs, "some")
        return read(tmp_path), record

    return do


def test_the_training_loss_is_there_step_by_step_as_it_was(written):
    found, _ = written(spec())
    (events,) = found.values()
    curve = run(spec(), TASK).train_curve
    points = events.Scalars("train/loss")
    assert [p.step for p in points] == [1, 11, 21]
    assert [p.value for p in points] == pytest.approx([curve[0], curve[10], curve[20]], rel=1e-6)  # float32


def test_the_end_of_a_run_is_there_with_its_movement(written):
    found, record = written(spec())
    (events,) = found.values()
    result = record.find(spec())
    assert [(p.step, p.value) for p in events.Scalars("final/loss")] == [
        (21, pytest.approx(result.final_loss, rel=1e-6))
    ]
    assert events.Scalars("movement/1")[0].value == pytest.approx(result.movement["1"], rel=1e-6)
    assert events.Scalars("val/loss")[-1].step == 21
    assert {"lr", "train/loss", "val/loss", "final/loss"} <= set(events.Tags()["scalars"])


def test_the_hparams_row_names_what_was_run(written):
    found, _ = written(spec(seed=3))
    (events,) = found.values()
    assert hparams(events) == {
        "parameterization": "mup",
        "width": "16",
        "log2_lr": -6.0,
        "seed": 3.0,
        "lr": 2.0**-6,
    }


def test_every_run_has_a_folder_of_its_own_also_where_specs_are_close(written):
    close = [
        spec(log2_lr=-10.0),
        spec(log2_lr=-10.04),
        spec(log2_lr=-10.0, seed=1),
        spec(log2_lr=-10.0, steps=11),
        spec(log2_lr=-10.0, hyperparameters={"lr": 2.0**-10, "beta1": 0.8}),
        spec(log2_lr=-10.0, parameterization="sp"),
        spec(log2_lr=-10.0, width=32),
    ]
    found, _ = written(*close)
    assert len(found) == len(close)


def test_folders_sort_runs_by_parameterization_width_and_learning_rate(written, tmp_path):
    found, _ = written(spec(), spec(width=8, parameterization="sp"))
    places = sorted(str(folder.relative_to(tmp_path)).split(" ")[0] for folder in found)
    assert places == ["base/width=8/lr=2^-6/seed=0", "mup/width=16/lr=2^-6/seed=0"]


def test_a_diverged_run_ends_in_a_gap_and_not_in_a_number(written):
    found, _ = written(spec(log2_lr=8.0))
    (events,) = found.values()
    assert math.isnan(events.Scalars("final/loss")[0].value)


def test_an_interrupted_run_leaves_a_file_that_reads_and_the_next_run_its_own(tmp_path):
    sink = TensorBoardSink(tmp_path)

    def interrupt(event):
        sink(event)
        if type(event).__name__ == "Scalars" and event.step > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(TASK, device="cpu", sink=interrupt).perform([spec()], "some")
    Runner(TASK, device="cpu", sink=sink).perform([spec(seed=1)], "some")
    found = read(tmp_path)
    assert {hparams(events)["seed"] for events in found.values()} == {0.0, 1.0}
    stopped = next(events for events in found.values() if hparams(events)["seed"] == 0.0)
    assert "final/loss" not in stopped.Tags()["scalars"]


def test_a_finished_study_has_an_event_file_per_recorded_run(finished):
    folders = [f.parent for f in (finished.folder / "tensorboard").rglob("events.out.tfevents.*")]
    assert len(folders) == len(set(folders)) == len(Record(finished.folder / "runs.db"))
    one = EventAccumulator(str(next((finished.folder / "tensorboard" / "ntk").rglob("events.*")))).Reload()
    assert [p.step for p in one.Scalars("train/loss")] == [1, 11, 21, 30]
    assert hparams(one)["parameterization"] == "ntk"
