"""The verbs on a small study: what they print, what they leave, and their exit codes."""

import json
import subprocess
import sys

import pytest

from mutransfer.transfer.runs.record import Record

HEAVY = {"torch", "numpy", "optuna", "sklearn", "matplotlib", "tensorboard", "jinja2", "yaml"}


def strict_json(line):
    """The line as JSON, without the NaN and Infinity that Python alone would read."""

    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    return json.loads(line, parse_constant=refuse)


def runs_in(folder):
    return len(Record(folder / "runs.db"))


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"]])
def test_help_is_printed_without_importing_what_is_slow(args):
    code = f"""
import sys
sys.argv = ["mutransfer", *{args!r}]
from mutransfer.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
found = {HEAVY!r} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: mutransfer" in done.stdout


def test_no_arguments_print_the_verbs(mutransfer):
    ended = mutransfer()
    assert ended.code == 2
    for verb in ("run", "explain", "coords", "tune", "verify", "falsify", "report"):
        assert verb in ended.out + ended.err


def test_run_passes_on_mup_with_exit_code_0_and_leaves_everything_in_its_directory(finished):
    assert finished.ended.code == 0, finished.ended.out
    names = {path.name for path in finished.folder.iterdir()}
    assert {"config.yaml", "runs.db", "report.html", "report.md", "verdict.json", "tensorboard"} <= names
    assert finished.ended.err == ""


def test_run_tells_the_cost_before_and_the_verdict_after(finished):
    text = finished.ended.out
    before = next(i for i, line in enumerate(finished.ended.lines) if " runs to do (0 in the record)" in line)
    first = next(i for i, line in enumerate(finished.ended.lines) if line.startswith("1/"))
    assert before < first
    assert "feature learning with adam" in text
    assert "tuned at width 64: lr = " in text
    assert "\nTRANSFERS: Under mup, the learning rate tuned at width 64 is still right at width 512" in text
    assert "control ntk: " in text
    assert f"report: {finished.folder / 'report.html'}" in text


def test_plain_output_has_a_line_per_run_and_no_colours(finished):
    assert len(finished.ended.runs) == runs_in(finished.folder)
    assert "\x1b" not in finished.ended.out


def test_running_the_directory_again_makes_no_new_run(mutransfer, copied):
    before = runs_in(copied)
    ended = mutransfer("run", copied)
    assert (ended.code, runs_in(copied)) == (0, before)
    assert ended.runs == []
    assert "TRANSFERS: " in ended.out


def test_running_the_config_again_makes_no_new_run(mutransfer, finished, copied):
    before = runs_in(copied)
    ended = mutransfer("verify", finished.config, "--out", copied)
    assert (ended.code, runs_in(copied)) == (0, before)


def test_another_seed_adds_only_its_own_runs(mutransfer, copied):
    before = runs_in(copied)
    ended = mutransfer("tune", copied, "-o", "seeds=4")
    assert sum(" seed 3: " in line for line in ended.runs) >= 7  # five learning rates and two refinements
    assert all(" seed 3: " in line or ".5" in line for line in ended.runs)  # a refinement may land elsewhere
    assert runs_in(copied) == before + len(ended.runs)


def test_json_prints_json_lines_alone_with_the_verdict_last(mutransfer, copied):
    ended = mutransfer("run", copied, "--json")
    events = [strict_json(line) for line in ended.lines]
    assert events[-1] == {
        "event": "verdict",
        "headline": "TRANSFERS",
        "verdict": "TRANSFERS",
        "movement": "MOVES",
        "exit_code": 0,
    }
    assert {"note", "phase", "sweep"} <= {e["event"] for e in events}


def test_json_has_an_event_per_run_and_diverged_losses_are_null(mutransfer, copied):
    options = ["-o", "space.lr.log2=[6, 8]", "-o", "training.steps=5", "-o", "seeds=2"]
    ended = mutransfer("tune", copied, "--json", *options)
    events = [strict_json(line) for line in ended.lines]
    runs = [e for e in events if e["event"] == "run"]
    assert {"parameterization", "width", "hyperparameters", "seed", "outcome", "loss"} <= runs[0].keys()
    assert {(r["outcome"], r["loss"]) for r in runs if r["hyperparameters"]["lr"] >= 2**6} == {("diverged", None)}
    assert events[-1]["event"] == "tuned"
    assert events[-1]["best"].keys() == events[-1]["interval"].keys() == {"lr"}


def test_quiet_prints_results_only(mutransfer, copied):
    ended = mutransfer("verify", copied, "-q")
    text = [line for line in ended.lines if line]
    assert text[0].startswith("TRANSFERS: Under mup")
    assert len(text) == 3  # the sentence, its numbers, the control


def test_explain_prints_the_plan_and_leaves_nothing(mutransfer, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = mutransfer("explain", finished.config)
    assert ended.code == 0
    assert "mup, maximal update parameterization: feature learning with adam (r = 0)" in ended.out
    assert "mup for adam, forward form, width 64 -> 512" in ended.out
    assert "3.weight" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_explain_shows_the_largest_width_wherever_it_stands(mutransfer, finished):
    assert "width 64 -> 512" in mutransfer("explain", finished.config, "-o", "widths=[512, 128]").out


def test_coords_passes_for_mup_and_fails_for_sp(mutransfer, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    passes = mutransfer("coords", finished.config, "-o", "compare=[]")
    assert (passes.code, "mup: passes" in passes.out) == (0, True)
    fails = mutransfer("coords", finished.config, "-o", "parameterization=sp", "-o", "compare=[mup]")
    assert (fails.code, "sp: does not pass" in fails.out, "mup: passes" in fails.out) == (1, True, True)
    assert "  - sp is unstable (readout" in fails.out
    assert list(tmp_path.iterdir()) == []


def test_coords_as_json_ends_with_the_checks(mutransfer, finished):
    ended = mutransfer("coords", finished.config, "--json", "-o", "parameterization=sp", "-o", "compare=[]")
    events = [strict_json(line) for line in ended.lines]
    assert events[-1]["checks"]["sp"]["passed"] is False
    assert events[-1]["checks"]["sp"]["failures"]


def test_tune_prints_the_best_learning_rate_with_its_interval(mutransfer, copied):
    ended = mutransfer("tune", copied, "-q")
    assert ended.code == 0
    assert ended.out.startswith("tuned at width 64: lr = ")
    assert len(ended.lines) == 1


def test_verify_exits_1_on_a_negative_verdict_of_what_is_studied_not_of_a_control(mutransfer, copied):
    before = runs_in(copied)
    ended = mutransfer("verify", copied, "-q", "-o", "parameterization=ntk", "-o", "compare=[mup]")
    assert ended.code == 1
    assert ended.out.lstrip().startswith("LAZY: Under ntk")
    assert "control mup: TRANSFERS, MOVES" in ended.out
    assert runs_in(copied) == before


def test_verify_exits_3_where_the_optimum_is_not_bracketed(mutransfer, copied):
    options = ["-o", "space.lr.log2=[-20, -19]", "-o", "training={steps: 2}", "-o", "widths=[128]", "-o", "compare=[]"]
    ended = mutransfer("verify", copied, "-q", "-o", "seeds=2", *options)
    assert ended.code == 3
    assert "EDGE: " in ended.out
    assert "extend the high end" in ended.out
