"""Studies as a whole: what is studied, what is predicted, what it costs, and that odd ones still end in a report."""

import json
import sys

import pytest
import torch

from mutransfer.config.loading import load_config
from mutransfer.config.schema import StudyConfig
from mutransfer.errors import BuildError, ConfigError, DataError, RecordError
from mutransfer.study import threads
from mutransfer.study.folder import Folder, open_study
from mutransfer.study.workflow import Workflow, refuse_new_runs
from mutransfer.training.events import PhaseStarted
from mutransfer.transfer.runs.record import Record

TASK = """
from torch import nn
from mutransfer.training.tasks.digits import DigitsMLP

class TwoWidths(DigitsMLP):
    def build(self, width, /):
        d, ff = width["d"], width["ff"]
        return nn.Sequential(nn.Flatten(), nn.Linear(64, d), nn.ReLU(), nn.Linear(d, ff), nn.ReLU(), nn.Linear(ff, 10))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "two_widths.py").write_text(TASK)
    yield
    sys.modules.pop("two_widths", None)


def config(**fields):
    known = {
        "task": "digits-mlp",
        "args": {"hidden_layers": 1, "batch_size": 32, "n_train": 256},
        "optimizer": "adam",
        "base_width": 8,
        "widths": [16, 32],
        "seeds": 2,
        "space": {"lr": {"log2": [-7, -3]}},
        "training": {"steps": 3},
        "coordinates": {"steps": 2, "seeds": 1},
        "device": "cpu",
    }
    return StudyConfig.model_validate({**known, **fields})


def flow(tmp_path, **fields):
    return Workflow(config(**fields), Folder(tmp_path / "run"))


@pytest.mark.parametrize(
    ("main", "compare", "studied"),
    [
        ("mup", [], ("mup",)),
        ("mup", ["sp", "ntk"], ("mup", "sp", "ntk")),
        ("mup", ["mup", "sp", "sp"], ("mup", "sp")),
        ("mup", ["mf", "sp"], ("mup", "sp")),
        ("mf", ["mup"], ("mf",)),
        ("mup_t3", ["sp", "mup_t9", "mup", "mf"], ("mup_t3", "sp")),
        ("sp", ["mf", "mup_t9"], ("sp", "mf")),
    ],
)
def test_what_is_studied_is_the_parameterization_then_its_controls_each_function_once(tmp_path, main, compare, studied):
    one = flow(tmp_path, parameterization=main, compare=compare)
    assert one.studied == studied
    left_out = [name for name in dict.fromkeys(compare) if name not in studied]
    assert list(one.tables.same_as) == left_out
    assert len(one.tables.notes) == bool(left_out)


@pytest.mark.parametrize(
    ("compare", "note"),
    [
        (["mf"], "mf and mup train the same function: they differ by forward multipliers that init, learning rates and "
         "eps make up for (Tensor Programs IV Eq. 5, IVb Eq. 2.5), so mf is not run again next to mup."),
        (["mup_t3", "sp", "mup_t9", "mf"], "so mup_t3, mup_t9 and mf are not run again next to mup."),
    ],
)  # fmt: skip
def test_a_note_says_which_tables_were_not_run_again_and_next_to_which(tmp_path, compare, note):
    (told,) = flow(tmp_path, compare=compare).tables.notes
    assert told.endswith(note)


@pytest.mark.parametrize(
    ("fields", "studied"),
    [
        ({"training": {"steps": 3, "scale_eps": False}}, ("mup", "mf")),
        ({"training": {"steps": 3, "scale_eps": False}, "optimizer": "sgd"}, ("mup",)),  # has no eps
        ({"training": {"steps": 3, "wd_policy": "standard"}, "optimizer": "adamw"}, ("mup",)),  # no decay either
        (
            {
                "training": {"steps": 3, "wd_policy": "standard"},
                "optimizer": "adamw",
                "fixed": {"weight_decay": 0.1},
            },
            ("mup", "mf"),
        ),
    ],
)
def test_forms_that_an_unscaled_eps_or_decay_tells_apart_are_all_run(tmp_path, fields, studied):
    assert flow(tmp_path, compare=["mf"], **fields).studied == studied


def test_forms_of_one_function_are_run_once_and_the_report_says_so(tmp_path):
    one = flow(tmp_path, compare=["mup_t3", "mf"], widths=[16])
    _, _, verifications, page, verdict = whole(one)
    assert list(verifications) == list(verdict) == ["mup"]
    assert "so mup_t3 and mf are not run again next to mup." in page


def test_the_plan_that_is_shown_is_of_the_largest_width_in_any_order(tmp_path):
    assert flow(tmp_path, widths=[32, 16]).largest_plan.width == 32


def test_the_regime_is_told_in_a_sentence(tmp_path):
    assert flow(tmp_path).regime == (
        "mup, maximal update parameterization: feature learning with adam (r = 0). As width n grows, training changes "
        "the first layer like n^0, hidden layers like n^0, the logits like n^0; "
        "logits at initialisation go like n^-0.5."
    )
    assert "unstable with adam" in flow(tmp_path, parameterization="sp").regime
    full = flow(tmp_path, parameterization="sp_full_alignment").regime
    assert "strictly unstable with adam (readout propagated = -0.5 < 0" in full
    assert "usable with cross-entropy" in full
    assert flow(tmp_path, parameterization="as_is").regime.endswith("depends on the model's own initialisation.")


def test_the_regime_says_that_an_eps_left_as_it_is_does_not_follow_the_gradient(tmp_path):
    assert "eps unfaithful" not in flow(tmp_path).regime
    assert "eps unfaithful" in flow(tmp_path, training={"steps": 3, "scale_eps": False}).regime


def test_the_cost_is_that_of_all_sweeps_and_falls_as_runs_are_done(tmp_path):
    with flow(tmp_path, compare=["sp"]) as one:
        # 5 learning rates, 2 refinements, 1 transferred; 2 seeds; the base once, each width for mup and sp.
        assert one.cost.remaining(one.record)[0] == (5 + 2 + 1) * 2 * (1 + 2 * 2)
        one.tune()
        left, seconds = one.cost.remaining(one.record)
        # The tuner has done all at base width, but for the transferred learning rate where it is none of the grid's.
        assert left == (5 + 2 + 1) * 2 * (2 * 2)
        assert seconds > 0
        one.verify(one.tune())
        assert one.cost.remaining(one.record) == (0, 0.0)


def test_what_the_study_says_arrives_in_the_runs(tmp_path):
    with flow(tmp_path, optimizer="adamw", fixed={"weight_decay": 0.1}, training={"steps": 3, "eval_every": 1}) as one:
        template = one.tune().template
    assert template.hyperparameters["weight_decay"] == 0.1
    assert (template.optimizer, template.steps, template.eval_every) == ("adamw", 3, 1)


def test_runs_may_be_kept_in_another_storage(tmp_path, database):
    with flow(tmp_path, storage=f"sqlite:///{database}") as one:
        one.tune()
        assert len(Record(database)) == len(one.record) > 0
    assert not (tmp_path / "run" / "runs.db").exists()


@pytest.fixture
def two_threads(monkeypatch):
    """A process to which nobody has said how many threads to use."""
    before = torch.get_num_threads()
    for name in threads.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("verb", [Workflow.__enter__, Workflow.coordinates, lambda flow: flow.cost])
def test_small_models_train_on_one_thread(tmp_path, two_threads, verb):
    verb(flow(tmp_path))
    assert torch.get_num_threads() == 1


def test_large_models_train_on_as_many_threads_as_torch_has(tmp_path, two_threads, monkeypatch):
    # One hidden layer at width 8 multiplies 8 x (64 + 10) weights by 32 examples, twice each, forward and for the
    # gradients of weights; gradients of activations only behind the first layer.
    step = 2 * 32 * 8 * (2 * 64 + 3 * 10)
    largest = step * (32 * 75 + 10) / (8 * 75 + 10)  # by the number of parameters
    monkeypatch.setattr(threads, "SMALL_STEP", 0.99 * largest)
    with flow(tmp_path):
        assert torch.get_num_threads() == 2
    monkeypatch.setattr(threads, "SMALL_STEP", 1.01 * largest)
    with flow(tmp_path):
        assert torch.get_num_threads() == 1


def test_a_number_of_threads_in_the_config_counts_for_small_models_too(tmp_path, two_threads):
    with flow(tmp_path, threads=3):
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", threads.CHOSEN)
def test_a_number_of_threads_in_the_environment_counts_for_small_models_too(tmp_path, two_threads, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with flow(tmp_path):
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"base_width": {"d": 8}, "widths": [{"d": 16}]}, BuildError),
        ({"task": "stdlib-gpt", "args": {"folder": "."}, "base_width": 16, "widths": [32]}, DataError),
        ({"space": {"momentum": {"linear": [0, 0.9]}}}, ConfigError),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_its_directory_is_made(tmp_path, fields, error):
    with pytest.raises(error), flow(tmp_path, **fields):
        pass
    assert not (tmp_path / "run").exists()


def test_a_directory_is_locked_inside_and_free_again_outside(tmp_path):
    with flow(tmp_path), pytest.raises(RecordError, match="is in use by another process"), flow(tmp_path):
        pass
    with flow(tmp_path):
        pass


def test_the_config_in_the_directory_is_the_study(tmp_path):
    with flow(tmp_path, compare=["sp"]) as one:
        assert load_config(one.folder.config) == one.config
    again, folder = open_study(tmp_path / "run", None, ["seeds=5"])
    assert (again.seeds, again.compare, folder.path) == (5, ["sp"], tmp_path / "run")


def test_a_verb_that_shows_refuses_new_runs_and_lets_finished_ones_pass():
    refuse_new_runs(PhaseStarted(title="tune", already_done=3))
    with pytest.raises(RecordError, match="tune: 2 runs are missing"):
        refuse_new_runs(PhaseStarted(title="tune", queued=[object(), object()]))


def whole(one):
    """Every step, as `mutransfer run` takes them."""
    with one:
        checks = one.coordinates()
        tuned = one.tune()
        found = one.verify(tuned)
        page = one.report(checks, tuned, found)
    verdict = json.loads((page.parent / "verdict.json").read_text(), parse_constant=pytest.fail)
    return checks, tuned, found, page.read_text(encoding="utf-8"), verdict


def test_a_study_of_two_widths_and_two_hyperparameters_ends_in_a_report(tmp_path):
    one = flow(
        tmp_path,
        task="two_widths:TwoWidths",
        args={"batch_size": 32, "n_train": 256},
        optimizer="sgd",
        base_width={"d": 8, "ff": 16},
        widths=[{"d": 16, "ff": 32}],
        space={"lr": {"log2": [-5, -2]}, "momentum": {"linear": [0, 0.9]}},
        n_trials=5,
    )
    _, tuned, found, page, _ = whole(one)
    assert set(tuned.interval) == {"lr", "momentum"}
    assert found["mup"].sweeps["d=16,ff=32"].template.hyperparameters["momentum"] == tuned.best["momentum"]
    assert "mup, width d=8,ff=16 -&gt; d=16,ff=32" in page
    assert "Tuned at width d=8,ff=16: lr = " in page


def test_a_study_in_which_everything_diverges_ends_in_a_report(tmp_path):
    one = flow(
        tmp_path,
        parameterization="sp",
        optimizer="sgd",
        space={"lr": {"log2": [18, 20]}},
        coordinates={"lr": 1e30, "steps": 2, "seeds": 1},
        widths=[64],
    )
    checks, _, found, page, verdict = whole(one)
    assert not checks["sp"].passed
    assert found["sp"].headline == verdict["sp"]["headline"] == "UNSTABLE"
    assert "activations are not finite at width 64" in page
