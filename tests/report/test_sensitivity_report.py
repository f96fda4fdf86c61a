"""What a report tells of perturbed hyperparameters, the optimum against the step, other settings and spending."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mutransfer.config.loading import load_config
from mutransfer.study.folder import Folder
from mutransfer.study.workflow import Workflow, refuse_new_runs
from mutransfer.transfer.verification.budget import Spending
from mutransfer.transfer.verification.optimum_by_step import OptimumCourse
from mutransfer.transfer.verification.procedure import estimate_cost
from mutransfer.transfer.verification.sensitivity import judged


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    """(markdown, html, data, verification) of the finished study with more to tell."""
    flow = Workflow(load_config(finished.folder / "config.yaml"), Folder(finished.folder), refuse_new_runs)
    tuned = flow.tune()
    verifications = flow.verify(tuned)
    found = verifications["mup"]
    rng = np.random.default_rng(0)
    logs = {key: np.array([[0.0], [0.3], [-0.4]]) + rng.normal(0, 0.01, (3, 3)) for key in (64, 512)}
    more = replace(
        found,
        sensitivity={"output_mult": judged("output_mult", 1.0, [0.5, 2.0], logs, 0.05)},
        courses={64: OptimumCourse(optima={10: found.optima[64], 20: found.optima[512]}, source="training")},
        notes=("tuned with steps=30, verified with steps=60: said aloud",),
        spending=Spending(
            estimate=estimate_cost([1e6, 4e6], grid=10, first=2, most=4),
            runs=30,
            flops=5e7,
            seconds=3.0,
            reason="TRANSFERS",
        ),
    )
    flow.folder = Folder(tmp_path_factory.mktemp("report"))
    page = flow.report({}, tuned, {"mup": more})
    data = json.loads((page.parent / "verdict.json").read_text())
    return (page.parent / "report.md").read_text(), page.read_text(), data["mup"], more


def test_a_perturbed_hyperparameter_has_a_row_per_width_with_gain_regret_and_finding(written):
    markdown, html, data, found = written
    rows = [line for line in markdown.splitlines() if line.startswith("| output_mult = 1 |")]
    assert [row.split(" | ")[1] for row in rows] == ["64", "512"]
    assert all(row.endswith("| not tuned |") for row in rows)
    assert "2: -3" in rows[0]  # e^-0.4 is a loss 33 % lower
    for row in rows:
        for cell in row.strip("| ").split(" | "):
            assert f"<td>{cell}</td>" in html
    regret = found.sensitivity["output_mult"].regret[512]
    assert data["sensitivity"]["output_mult"]["regret_log_loss"]["512"] == [regret.value, regret.low, regret.high]
    assert data["sensitivity"]["output_mult"]["finding"] == "not tuned"


def test_the_optimum_against_the_step_other_settings_and_the_cost_are_told(written):
    markdown, html, data, found = written
    course = found.courses[64]
    assert f"| training | 64 | 10: {course.optima[10].log2_lr:.2f}; 20: {course.optima[20].log2_lr:.2f} |" in markdown
    assert list(data["optimum_by_step"]["64"]) == ["10", "20"]
    for text in (found.notes[0], f"Sequential: {found.spending}"):
        assert text in markdown
        assert text in html.replace("&#39;", "'")
    assert data["spending"]["flops"] == 5e7
    assert data["spending"]["full_grid_flops"] == 5e6 * 13 * 4
