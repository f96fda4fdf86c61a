"""`mutransfer explain` and `mutransfer init` on a factory by its import string."""

import pytest
import yaml

from mutransfer.cli import main
from mutransfer.config.loading import load_config
from mutransfer.config.task import load_task

MINE = """\
import torch
import transformers
from torch import nn


def plain(width):
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def llama(width):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=32,
    ))


class Unclear(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inward, self.table = nn.Linear(6, width), nn.Parameter(torch.randn(5, width))


def only_three(width):
    if width % 3:
        raise ValueError("width must be a multiple of 3")
    return plain(width)


def batch(seed, step):
    generator = torch.Generator().manual_seed(1000 * seed + step)
    tokens = torch.randint(0, 32, (4, 9), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


NUMBER = 3
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "brought.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    import sys

    sys.modules.pop("brought", None)


def mutransfer(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["mutransfer", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def test_a_factory_is_explained_by_its_plan_and_regime(capsys, monkeypatch):
    code, out, _ = mutransfer(capsys, monkeypatch, "explain", "brought:plain")
    assert code == 0
    assert "maximal update parameterization: feature learning (r = 0)" in out
    assert "mup for adamw, forward form, width 64 -> 256" in out
    assert "4.weight   output" in out


def test_options_say_what_to_plan(capsys, monkeypatch):
    options = ["-o", "parameterization=ntk", "-o", "base_width=8", "-o", "width=32", "-o", "optimizer=sgd"]
    _, out, _ = mutransfer(capsys, monkeypatch, "explain", "brought:plain", *options)
    assert "ntk for sgd, forward form, width 8 -> 32" in out
    assert "kernel (r = 0.5 > 0)" in out
    _, out, _ = mutransfer(capsys, monkeypatch, "explain", "brought:plain", "-o", "parameterization=as_is")
    assert "as_is: the model untouched" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["brought:nothing"], "module 'brought' has no 'nothing'"),
        (["brought:NUMBER"], "brought:NUMBER is a int; expected a function build(width)"),
        (["no_such_package:f"], "cannot import 'no_such_package'"),
        (["brought:plain", "-o", "widht=3"], "expected one of base_width, width"),
        (["brought:only_three"], "multiple of 3"),
        (["brought:Unclear"], "overrides={'table': Role.INPUT}"),
    ],
)
def test_what_cannot_be_explained_is_told_with_exit_code_2(arguments, complaint, capsys, monkeypatch):
    code, _, err = mutransfer(capsys, monkeypatch, "explain", *arguments)
    assert code == 2
    assert complaint in err


def test_widths_that_the_factory_takes_can_be_given(capsys, monkeypatch):
    widths = ["-o", "base_width=12", "-o", "width=48"]
    code, out, _ = mutransfer(capsys, monkeypatch, "explain", "brought:only_three", *widths)
    assert (code, "width 12 -> 48" in out) == (0, True)


def test_a_config_is_written_that_loads_and_trains(mine, capsys, monkeypatch):
    path = mine / "study.yaml"
    code, out, _ = mutransfer(capsys, monkeypatch, "init", "brought:llama", "--out", path)
    assert code == 0
    assert f"wrote {path}" in out
    text = path.read_text()
    assert "# Multiplied at run time: 1 attention logits (on attribute scaling)." in text
    config = load_config(path)
    assert (config.base_width, config.widths) == (64, [128, 256, 512, 1024])
    task = load_task(config)
    assert float(task.loss(task.build(64), task.batch(0, 0)).detach()) == pytest.approx(3.47, abs=0.3)  # log 32
    code, _, err = mutransfer(capsys, monkeypatch, "init", "brought:llama", "--out", path)
    assert (code, "exists already" in err) == (2, True)


def test_parameters_that_are_unclear_are_named_in_the_config(capsys, monkeypatch):
    _, out, _ = mutransfer(capsys, monkeypatch, "init", "brought:Unclear")
    assert "# Not yet clear, see overrides: table (in Unclear)" in out
    assert yaml.safe_load(out)["overrides"] == {}
