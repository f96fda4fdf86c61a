"""Parameterizations of the user's own, named in a config: imported, recorded by content, shown, refused in words."""

import json
import sqlite3
import sys
from contextlib import closing

import pytest
import yaml

from mutransfer.config.table import load_table
from mutransfer.theory import rules
from mutransfer.transfer.runs.record import Record

TABLES = """\
from dataclasses import replace

import mutransfer as mt
from mutransfer.theory.rules import MUP, SP, Family, Power

HIDDEN = MUP.rows[mt.Role.HIDDEN]


def slowed(by):
    lr = {**HIDDEN.lr, Family.ADAM: Power(fan_in=-by)}
    rows = {**MUP.rows, mt.Role.HIDDEN: replace(HIDDEN, lr=lr)}
    return replace(MUP, name="mine", title="mup with another hidden rate", rows=rows)


MINE = slowed(BY)
OTHER_FORM = replace(MUP, name="form")
CLASH = replace(SP, name="mup")
NUMBER = 3
"""
STUDY = """\
task: digits-mlp
args: {hidden_layers: 2, n_train: 256, batch_size: 32}
parameterization: brought_tables:MINE
compare: [sp]
optimizer: adam
base_width: 8
widths: [16, 32]
seeds: 2
space:
  lr: {log2: [-7, -5]}
training: {steps: 3}
coordinates: {steps: 2, seeds: 1}
device: cpu
"""


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """Writes the module with one exponent, as if the person had just saved it and started a process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "study.yaml").write_text(STUDY)

    def save(by):
        (tmp_path / "brought_tables.py").write_text(TABLES.replace("BY", repr(by)))
        sys.modules.pop("brought_tables", None)

    yield save
    sys.modules.pop("brought_tables", None)


def own_names(folder):
    """Names of the tables of the runs beyond base width, without the control's."""
    with closing(sqlite3.connect(folder / "runs.db")) as database:
        rows = database.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'spec'").fetchall()
    specs = [json.loads(text) for (text,) in rows]
    return {s["parameterization"] for s in specs if s["width"] != s["base_width"]} - {"sp"}


def test_runs_made_under_one_content_are_not_served_to_another_of_the_same_name(brought, mutransfer, tmp_path):
    folder = tmp_path / "runs" / "study"
    brought(1.0)
    first = mutransfer("run", "study.yaml", "--plain")
    assert first.code in (0, 1, 3), first.err
    (name,) = own_names(folder)
    made = len(Record(folder / "runs.db"))
    assert name == load_table("brought_tables:MINE").name != "mine"
    assert name.startswith("mine@")

    assert mutransfer("run", folder, "--plain").runs == []  # the same content: everything is there

    brought(0.25)
    again = mutransfer("run", folder, "--plain")
    names = own_names(folder)
    assert len(names) == 2
    (other,) = names - {name}
    assert other.startswith("mine@")
    # Base width and the control are as they were; all of the other content's runs are new ones.
    assert again.runs
    assert all(f" {other} width " in line for line in again.runs)
    assert len(Record(folder / "runs.db")) == made + len(again.runs)
    assert list(json.loads((folder / "verdict.json").read_text())) == [other, "sp"]

    brought(1.0)
    assert mutransfer("run", folder, "--plain").runs == []  # back again: what was made is found


def test_the_run_directory_and_the_report_show_name_and_content(brought, mutransfer, tmp_path):
    folder = tmp_path / "out"
    brought(0.25)
    ended = mutransfer("run", "study.yaml", "--out", folder, "--plain", "-o", "widths=[16]")
    name = load_table("brought_tables:MINE").name
    assert f"{name}, mup with another hidden rate: " in ended.out
    content = yaml.safe_load((folder / "tables" / f"{name}.yaml").read_text())
    assert content["name"] == name
    assert content["rows"]["hidden"]["lr"]["adam"] == "m_in^-0.25"
    assert [path.name for path in (folder / "tables").iterdir()] == [f"{name}.yaml"]  # built-in ones need none
    for page in ("report.md", "report.html"):
        text = (folder / page).read_text(encoding="utf-8")
        assert name in text
        assert "#       adam: m_in^-0.25" in text
    assert mutransfer("report", folder).code == 0
    mutransfer("tune", folder, "--fresh", "--plain", "-o", "parameterization=mup")
    assert not (folder / "tables").exists()


def test_the_other_verbs_take_such_a_table(brought, mutransfer, tmp_path):
    brought(0.25)
    name = load_table("brought_tables:MINE").name
    assert f"{name} for adam, forward form, width 8 -> 32" in mutransfer("explain", "study.yaml").out
    assert f"\n{name}: " in mutransfer("coords", "study.yaml", "-o", "compare=[]").out
    few = ["--out", tmp_path / "out", "-o", "widths=[16]", "-o", "training.steps=2", "-o", "space.lr.spacing=2"]
    assert f"{name} at width 16" in mutransfer("falsify", "study.yaml", *few).out
    compared = mutransfer(
        "run", "study.yaml", "--dry-run", "-o", "parameterization=mup", "-o", "compare=[brought_tables:MINE]"
    )
    assert compared.code == 0


def test_a_table_of_ones_own_that_trains_what_a_built_in_one_does_is_not_run_again(brought, mutransfer):
    brought(1.0)
    options = ["-o", "parameterization=mup", "-o", "compare=[brought_tables:OTHER_FORM]"]
    ended = mutransfer("run", "study.yaml", "--dry-run", "--plain", *options)
    name = load_table("brought_tables:OTHER_FORM").name
    assert f"so {name} is not run again next to mup." in ended.out


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("gone:MINE", "parameterization: cannot import 'gone'"),
        ("brought_tables:GONE", "parameterization: module 'brought_tables' has no 'GONE'"),
        ("brought_tables:", "parameterization: expected package.module:name, found 'brought_tables:'"),
        (
            "brought_tables:NUMBER",
            "parameterization: brought_tables:NUMBER is a int, expected a mutransfer.Parameterization: one Row for "
            "every Role",
        ),
        (
            "brought_tables:CLASH",
            "parameterization: brought_tables:CLASH has the name of the built-in table 'mup' and other exponents; give "
            "it a name of its own: Parameterization(name='my_mup', ...)",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line_with_the_remedy(
    brought, mutransfer, tmp_path, table, complaint
):
    brought(1.0)
    ended = mutransfer("run", "study.yaml", "-o", f"parameterization='{table}'")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {complaint}")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_the_error_names_the_key(brought, mutransfer):
    brought(1.0)
    ended = mutransfer("run", "study.yaml", "-o", "compare=[gone:MINE]")
    assert (ended.code, ended.err.startswith("error: compare: cannot import 'gone'")) == (2, True)


def test_a_built_in_table_by_its_import_string_is_the_built_in_table():
    assert load_table("mutransfer.theory.rules:MUP") is rules.MUP
