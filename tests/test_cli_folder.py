"""What options do to a run directory: --dry-run nothing, --fresh everything, report only the report."""

import re

from mutransfer.transfer.runs.record import Record

FEW = ["-o", "training={steps: 2}", "-o", "seeds=2", "-o", "widths=[128]", "-o", "compare=[]"]


def files(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_dry_run_tells_the_number_of_runs_and_the_cost_and_leaves_nothing(mutransfer, finished, tmp_path):
    ended = mutransfer("run", finished.config, "--out", tmp_path / "run", "--dry-run")
    assert ended.code == 0
    # 5 learning rates, 2 refinements and the transferred one, 3 seeds; base once, two widths for mup and ntk each.
    assert re.search(
        r"^120 runs to do \(0 in the record\) at widths 64, 256, 512 on cpu, about (\d+ min )?\d+ s; ", ended.lines[-1]
    )
    flops = next(line for line in ended.lines if line.startswith("verifying one parameterization beyond width 64"))
    # Eight learning rates, three seeds; 64 inputs, one hidden layer, 10 outputs, batches of 64, 30 steps.
    per_run = [30 * 2 * 64 * (2 * 64 * w + 3 * w * 10) for w in (256, 512)]
    assert flops.endswith(f"of {8 * 3 * sum(per_run):.2g} FLOPs)")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_in_a_finished_directory_changes_nothing(mutransfer, finished):
    before = files(finished.folder)
    ended = mutransfer("run", finished.folder, "--dry-run")
    assert re.search(rf"^0 runs to do \({len(Record(finished.folder / 'runs.db'))} in the record\)", ended.lines[-1])
    assert files(finished.folder) == before


def test_a_dry_run_of_a_fresh_start_counts_all_runs_and_forgets_nothing(mutransfer, finished):
    before = files(finished.folder)
    ended = mutransfer("run", finished.folder, "--fresh", "--dry-run")
    assert ended.lines[-1].startswith("120 runs to do (0 in the record)")
    assert files(finished.folder) == before


def test_a_dry_run_counts_what_an_option_adds(mutransfer, finished):
    ended = mutransfer("run", finished.folder, "--dry-run", "-o", "widths=[128, 256, 512]")
    assert ended.lines[-1].startswith("48 runs to do")  # one width, 8 learning rates, 3 seeds, mup and ntk


def test_fresh_forgets_the_runs_the_report_and_the_curves(mutransfer, copied):
    ended = mutransfer("tune", copied, "--fresh", *FEW)
    assert ended.code == 0
    assert len(Record(copied / "runs.db")) == len(ended.runs) > 0
    assert not any((copied / name).exists() for name in ("report.html", "report.md", "verdict.json"))
    assert [p.name for p in (copied / "tensorboard").iterdir()] == ["base"]  # the tuner's runs alone


def test_fresh_in_a_new_directory_is_like_any_run(mutransfer, finished, tmp_path):
    ended = mutransfer("tune", finished.config, "--out", tmp_path / "run", "--fresh", *FEW)
    assert ended.code == 0
    assert (tmp_path / "run" / "runs.db").exists()


def test_the_run_directory_remembers_the_options(mutransfer, copied):
    mutransfer("tune", copied, *FEW)
    text = (copied / "config.yaml").read_text()
    assert "seeds: 2" in text
    assert "steps: 2" in text
    before = len(Record(copied / "runs.db"))
    mutransfer("tune", copied)
    assert len(Record(copied / "runs.db")) == before


def test_without_out_runs_go_into_a_folder_named_after_the_config(mutransfer, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = mutransfer("tune", finished.config, "-q", *FEW)
    assert ended.code == 0
    assert (tmp_path / "runs" / "study" / "runs.db").exists()


def test_report_writes_the_report_again_without_a_run(mutransfer, copied):
    pages = {name: (copied / name).read_text() for name in ("report.md", "verdict.json")}
    for name in (*pages, "report.html"):
        (copied / name).unlink()
    curves = files(copied / "tensorboard")
    before = len(Record(copied / "runs.db"))
    ended = mutransfer("report", copied)
    assert ended.code == 0
    assert ended.lines[-1] == f"report: {copied / 'report.html'}"
    assert (copied / "report.html").exists()
    assert (copied / "verdict.json").read_text() == pages["verdict.json"]
    assert len(Record(copied / "runs.db")) == before
    assert files(copied / "tensorboard") == curves


def test_a_report_in_another_place_differs_only_in_the_line_that_reproduces_it(mutransfer, finished, copied):
    mutransfer("report", copied)
    before, after = ((folder / "report.md").read_text().splitlines() for folder in (finished.folder, copied))
    assert [line for line in after if line not in before] == [f"mutransfer run {copied}"]
