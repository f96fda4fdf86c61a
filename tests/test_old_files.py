"""Files that an earlier version wrote are read by this one: a run directory with its runs, and plans.

They were written at commit d56513d, before the package was divided into rooms; runs.sql is the text of a SQLite
database.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch
import transformers

import mutransfer as mt
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.runs.record import Record

DATA = Path(__file__).parent / "data"
RUNS = 62


@pytest.fixture
def old_run(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(DATA / "old_run", folder)
    with closing(sqlite3.connect(folder / "runs.db")) as database:
        database.executescript((folder / "runs.sql").read_text(encoding="utf-8"))
    for name in ("runs.sql", "verdict.json"):
        (folder / name).unlink()
    return folder


def same(value, other):
    """Equal, numbers up to what another processor's arithmetic makes of the same losses."""
    if isinstance(other, dict):
        return value.keys() == other.keys() and all(same(value[key], other[key]) for key in other)
    if isinstance(other, list):
        return len(value) == len(other) and all(map(same, value, other))
    return value == (pytest.approx(other, rel=1e-6, abs=1e-9) if isinstance(other, float) else other)


@pytest.mark.parametrize(("verb", "code"), [("run", 3), ("report", 0)])
def test_an_old_run_directory_is_complete_and_has_the_same_verdict(old_run, mutransfer, verb, code):
    assert len(Record(old_run / "runs.db")) == RUNS
    ended = mutransfer(verb, old_run, *(["--plain"] if verb == "run" else []))
    assert ended.code == code, ended.err
    assert ended.runs == []
    assert len(Record(old_run / "runs.db")) == RUNS
    before, now = (json.loads((f / "verdict.json").read_text()) for f in (DATA / "old_run", old_run))
    assert same(now, before)


def test_the_comparison_of_verdicts_sees_one_number():
    before = json.loads((DATA / "old_run" / "verdict.json").read_text())
    other = json.loads(json.dumps(before))
    other["sp"]["optima"]["16"][1] += 1e-3
    assert not same(other, before)


def gpt2(width):
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=16, n_embd=width, n_layer=1, n_head=4, bos_token_id=0, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config)


PLANS = {
    "digits": (DigitsMLP().build, lambda: torch.randn(3, 64)),
    "gpt2": (gpt2, lambda: torch.randint(32, (3, 7))),  # tied embeddings, and attention whose heads grow
}


@pytest.mark.parametrize("name", PLANS)
def test_an_old_plan_is_read_written_and_is_the_plan_of_today(name):
    text = (DATA / "old_plans" / f"{name}.json").read_text()
    plan = mt.Plan.from_json(text)
    assert plan.to_json() == text
    build, _ = PLANS[name]
    assert plan == mt.Plan.infer(build, width=64, base_width=16, parameterization="mup", optimizer="adamw", check=False)


@pytest.mark.parametrize("name", PLANS)
def test_an_old_plan_is_applied_as_a_new_one_is(name):
    plan = mt.Plan.from_json((DATA / "old_plans" / f"{name}.json").read_text())
    build, example = PLANS[name]

    def logits(model):
        out = model.eval()(inputs)
        return getattr(out, "logits", out)

    inputs = example()
    torch.manual_seed(1)
    plain = build(64)
    before = logits(plain).detach().clone()
    torch.manual_seed(1)
    new, _ = mt.parameterize(build, width=64, base_width=16, check=False)
    old = logits(mt.apply(plain, plan))
    assert not torch.allclose(old, before)
    torch.manual_seed(1)
    torch.testing.assert_close(old, logits(new), rtol=0, atol=0)
