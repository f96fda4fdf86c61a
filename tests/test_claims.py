"""The reproduced claims: every script runs, and what the pages say is what its results on disk say."""

import importlib
import json

import pytest
from matplotlib.figure import Figure

from experiments.claims.__main__ import CLAIMS, HERE, table
from experiments.claims.claim import block_of, measured, settings_of
from experiments.claims.findings import as_data, judged, mean_interval, of_ratios
from experiments.pages import between


def script_of(claim):
    return importlib.import_module(f"experiments.claims.{claim}.__main__")


def test_the_claims_are_there():
    assert len(CLAIMS) >= 15
    assert sorted(CLAIMS) == sorted(path.parent.name for path in HERE.glob("*/config.yaml"))


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_runs_in_smoke_size(claim, tmp_path):
    script = script_of(claim)
    record = measured(HERE / claim, "smoke", script.measure, threads=1)
    found = script.findings(record["data"])
    assert found
    assert all(
        f.statement and f.published and f.measured and "|" not in f.statement + f.published + f.measured + f.remark
        for f in found
    )
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    script.draw(record["data"], figure)
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_page_says_what_the_results_say(claim):
    folder = HERE / claim
    record = json.loads((folder / "results.json").read_text())
    assert record["settings"] == settings_of(folder, "default"), "the results are of other settings: run it again"
    assert record["findings"] == json.loads(json.dumps(as_data(script_of(claim).findings(record["data"]))))
    assert between(folder / "README.md", "findings") == block_of(record), "--again writes it"
    page = (folder / "README.md").read_text()
    assert "What would falsify it" in page
    assert "figure.png" in page
    assert (folder / "figure.png").stat().st_size < 60_000
    assert settings_of(folder, "large") != record["settings"]


def test_the_index_says_what_the_results_say():
    assert between(HERE / "README.md", "findings") == table(), "python -m experiments.claims writes it"


def test_an_interval_decides():
    def verdict(low, high):
        return judged("s", "p", (low + high) / 2, low, high, within=(-0.6, -0.4)).verdict

    assert verdict(-0.55, -0.45) == "holds"
    assert verdict(-1.1, -0.9) == "does not hold"
    assert verdict(-0.7, -0.5) == "undecided"  # although its middle lies on the border of the range
    assert verdict(-0.9, -0.1) == "undecided"  # although its middle is what was expected: too wide to say


def test_an_interval_over_seeds_is_a_t_interval():
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(2.920 * 1.0 / 3**0.5, abs=1e-3)  # t of 2 degrees, 5 % on each side
    assert mean - low == pytest.approx(high - mean)
    ratio = of_ratios("s", "p", [0.5, 2.0], within=(0.0, 1e9))
    assert ratio.measured.startswith("1 ")  # the geometric mean
