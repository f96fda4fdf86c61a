"""The YAML of a study: what loads, and errors that name file, line, what was found and what is allowed."""

import re
from pathlib import Path

import pytest

from mutransfer.config.loading import dump_config, load_config
from mutransfer.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))

STUDY = """\
task: digits-mlp
args: {hidden_layers: 1}
optimizer: adam
base_width: 8
widths:
  - 16
  - 32
seeds: 2
space:
  lr: {log2: [-8, -2], spacing: 0.5}
training:
  steps: 20
  schedule: linear
"""


@pytest.fixture
def load(tmp_path):
    """Loads STUDY with one piece of text replaced by another."""

    def do(old="", new="", *options, text=STUDY):
        assert old in text
        path = tmp_path / "study.yaml"
        path.write_text(text.replace(old, new, 1) if old else text)
        return load_config(path, options)

    return do


def test_there_are_configs_to_load():
    assert len(CONFIGS) >= 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_that_is_shipped_loads(path):
    config = load_config(path)
    assert config.widths
    assert "lr" in config.space


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_that_is_written_again_loads_to_the_same_study(path, tmp_path):
    config = load_config(path)
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


def test_values_arrive_where_they_belong(load):
    config = load()
    assert (config.base_width, config.widths, config.seeds, config.args) == (8, [16, 32], 2, {"hidden_layers": 1})
    assert (config.space["lr"].log2, config.space["lr"].spacing) == ((-8.0, -2.0), 0.5)
    assert (config.training.steps, config.training.schedule, config.training.precision) == (20, "linear", "float32")


def test_widths_may_be_mappings(load):
    config = load("base_width: 8\nwidths:\n  - 16\n  - 32\n", "base_width: {d: 8}\nwidths: [{d: 16}]\n")
    assert (config.base_width, config.widths) == ({"d": 8}, [{"d": 16}])


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "1e-04", "0.0001", ".1e-3", "10e-5"])
def test_a_number_with_an_exponent_is_a_number_also_where_any_value_is_allowed(load, text):
    config = load("{hidden_layers: 1}", f"{{dropout: {text}, rates: [{text}]}}", f"fixed.eps={text}")
    assert config.args == {"dropout": 1e-4, "rates": [1e-4]}
    assert config.fixed == {"eps": 1e-4}


def test_text_that_looks_like_a_number_survives_being_written_again(load, tmp_path):
    config = load("{hidden_layers: 1}", "{commit: '12e4', version: '1.5'}")
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml").args == {"commit": "12e4", "version": "1.5"}


def lines(error):
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        ("optimizer:", "optimiser:", 3, r"unknown key 'optimiser'; did you mean 'optimizer'\? Allowed here: task, "),
        ("  steps:", "  stepz:", 12, r"unknown key 'training.stepz'; did you mean 'steps'\? Allowed here: steps, sch"),
        (
            "log2: [-8, -2], sp",
            "log2: [-8, -2], gap: 1, sp",
            10,
            r"'space.lr.gap'. Allowed here: log2, linear, choi",
        ),
        ("seeds:", "qqq:", 8, r"unknown key 'qqq'\. Allowed here: "),
        ("seeds: 2", "seeds: many", 8, r"seeds: Input should be a valid integer.*, found 'many'"),
        ("seeds: 2", "seeds: 1", 8, r"seeds: Input should be greater than or equal to 2, found 1"),
        ("  - 32", "  - wide", 7, r"widths\.1: Input should be a valid integer.*, found 'wide'"),
        ("  - 16\n  - 32", "  []", 5, r"widths: .*at least 1 item"),
        ("steps: 20", "steps: 2.5", 12, r"training\.steps: Input should be a valid integer.*, found 2\.5"),
        ("schedule: linear", "schedule: lin", 13, r"'constant', 'linear' or 'cosine', found 'lin'"),
        ("optimizer: adam", "optimizer: muon", 3, r"optimizer: Input should be 'sgd', .* or 'nadam', found 'muon'"),
        ("[-8, -2]", "[-2, -8]", 10, r"space\.lr: low must be below high, found \[-2, -8\]"),
        ("[-8, -2]", "[-8, .inf]", 10, r"space\.lr\.log2\.1: Input should be a finite number, found inf"),
        ("[-8, -2]", "[-8]", 10, r"'space\.lr\.log2\.1' is missing"),
        ("log2: [-8, -2], spacing: 0.5", "choices: [linear]", 10, r"space\.lr\.choices: List should have at least 2"),
        ("log2: [-8, -2]", "log2: [-8, -2], linear: [0, 1]", 10, r"space\.lr: give exactly one of log2"),
        ("schedule: linear", "warmup_steps: 20", 11, r"training: warmup_steps \(20\) must be below steps \(20\)"),
        ("args: {hidden_layers: 1}", "args: 3", 2, r"args: Input should be a valid dictionary, found 3"),
    ],
)
def test_an_error_names_file_line_what_was_found_and_what_is_allowed(load, old, new, line, complaint):
    with pytest.raises(ConfigError) as error:
        load(old, new)
    assert re.search(rf"study\.yaml:{line}: .*{complaint}", lines(error)[0]), str(error.value)


def test_a_key_that_is_missing_is_named(load):
    with pytest.raises(ConfigError, match=r"study\.yaml: 'base_width' is missing"):
        load("base_width: 8\n", "")


def test_all_errors_are_told_at_once_a_line_each(load):
    with pytest.raises(ConfigError) as error:
        load("seeds: 2", "seeds: many\noptimiser: adam")
    assert [re.search(r":(\d+): ", line)[1] for line in lines(error)] == ["8", "9"]


def test_neither_task_nor_parts_is_told_with_what_is_missing(load):
    with pytest.raises(ConfigError, match="no task, and of its parts data, loss missing"):
        load("task: digits-mlp\nargs: {hidden_layers: 1}", "model: a.b:c")


def test_task_and_parts_exclude_each_other(load):
    with pytest.raises(ConfigError, match="give either task or the parts model, data and loss, not both"):
        load("optimizer:", "loss: mse\noptimizer:")


def test_args_for_parts_are_refused_for_nothing_would_read_them(load):
    with pytest.raises(ConfigError, match="args are those of task"):
        load("task: digits-mlp", "model: a:b\ndata: a:b\nloss: mse")


def test_broken_yaml_is_told_with_its_line(load):
    with pytest.raises(ConfigError, match=r"study\.yaml:4: not valid YAML: expected ',' or '\]', but got ':'"):
        load("optimizer: adam\nbase_width: 8", "optimizer: [adam\nbase_width: 8")


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just text"])
def test_a_file_without_keys_is_refused(load, text):
    with pytest.raises(ConfigError, match=r"study\.yaml: expected keys and values, found (NoneType|list|str)"):
        load(text=text)


def test_an_impossible_date_is_no_crash(load):
    with pytest.raises(ConfigError, match="not valid YAML: month must be in"):
        load("digits-mlp", "2024-13-13")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "gone.yaml")


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04\xff\xfe\x80")
    with pytest.raises(ConfigError, match=r"model\.pt: expected a YAML file"):
        load_config(tmp_path / "model.pt")


def test_options_override_what_the_file_says_at_any_depth(load):
    config = load("", "", "seeds=5", "training.steps=7", "space.lr.spacing=0.25", "widths=[64]", "args.n_train=256")
    assert (config.seeds, config.training.steps, config.space["lr"].spacing) == (5, 7, 0.25)
    assert (config.widths, config.args) == ([64], {"hidden_layers": 1, "n_train": 256})
    assert config.training.schedule == "linear"  # its neighbours stay


def test_options_make_sections_that_the_file_lacks_or_leaves_empty(load):
    config = load("training:\n  steps: 20\n  schedule: linear", "fixed:", "fixed.eps=1e-9", "coordinates.steps=2")
    assert (config.fixed, config.coordinates.steps) == ({"eps": 1e-9}, 2)


def test_the_last_of_two_options_wins(load):
    assert load("", "", "seeds=5", "seeds=7").seeds == 7


def test_an_option_may_hold_an_equals_sign(load):
    assert load("", "", "storage=postgresql://host/db?sslmode=off").storage == "postgresql://host/db?sslmode=off"


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("seeds", r"option -o seeds: expected a\.b=value"),
        ("=3", r"option -o =3: expected a\.b=value"),
        ("seeds.x=3", r"option -o seeds\.x=3: 'seeds' holds a value, not keys"),
        ("widths=[1", r"option -o widths=\[1: '\[1' is not valid YAML"),
        ("seeds=many", r"option -o seeds=many: seeds: Input should be a valid integer"),
        ("sedes=3", r"option -o sedes=3: unknown key 'sedes'; did you mean 'seeds'\?"),
        ("training.steps=0", r"option -o training\.steps=0: training\.steps: .*greater than or equal to 1"),
        ("space.lr.log2=[1, 0]", r"option -o space\.lr\.log2=\[1, 0\]: space\.lr: low must be below high"),
    ],
)
def test_a_bad_option_is_named_itself_and_not_the_file(load, option, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load("", "", option)
