"""Windows of source bytes: from the real standard library, and from folders made to be told apart."""

import math
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn

from mutransfer.errors import BuildError, DataError
from mutransfer.training.run import run
from mutransfer.training.spec import RunSpec
from mutransfer.training.tasks.source_bytes import SourceBytesGPT


class Keeps(nn.Module):
    """Logits of zero, and a list of what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, tokens):
        self.shown.append(tokens)
        return torch.zeros(*tokens.shape, 256)


def _held_out(task: SourceBytesGPT) -> torch.Tensor:
    model = Keeps()
    task.evaluate(model)
    return torch.cat(model.shown)


def _folder(path: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (path / name).write_bytes(content)
    return str(path)


def test_windows_are_real_bytes_of_the_standard_library():
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"".join(f.read_bytes() for f in files)
    task = SourceBytesGPT()
    windows = torch.cat([task.batch(0, step) for step in range(4)])
    assert all(bytes(window.tolist()) in text for window in windows)
    assert all(bytes(window.tolist()) in text for window in _held_out(task))
    assert b"self" in b" ".join(bytes(w.tolist()) for w in windows)


def test_a_batch_holds_one_byte_more_than_the_context():
    batch = SourceBytesGPT(batch_size=5, context=32).batch(0, 0)
    assert (batch.shape, batch.dtype) == ((5, 33), torch.int64)


def test_a_batch_depends_on_seed_and_step_alone():
    task = SourceBytesGPT()
    first = task.batch(1, 2)
    torch.manual_seed(5)
    task.batch(9, 9)
    assert torch.equal(SourceBytesGPT().batch(1, 2), first)
    assert not torch.equal(task.batch(1, 3), first)
    assert not torch.equal(task.batch(2, 2), first)


def test_the_held_out_windows_are_the_same_every_time():
    assert torch.equal(_held_out(SourceBytesGPT()), _held_out(SourceBytesGPT()))
    assert len(_held_out(SourceBytesGPT(eval_windows=7))) == 7


def test_held_out_windows_are_not_in_the_training_part_and_the_other_way_round(tmp_path):
    folder = _folder(tmp_path, {"b.py": b"h" * 100, "a.py": b"t" * 900})  # in the order of their names
    task = SourceBytesGPT(folder=folder, context=16, batch_size=500, eval_windows=500)
    assert set(task.batch(0, 0).flatten().tolist()) == {ord("t")}
    assert set(_held_out(task).flatten().tolist()) == {ord("h")}


def test_every_window_of_the_text_can_be_drawn(tmp_path):
    """225 training bytes hold 209 windows of 17; 8000 draws miss one with probability 209 exp(-8000 / 209) < 1e-14."""
    content = bytes(range(250))
    task = SourceBytesGPT(folder=_folder(tmp_path, {"a.py": content}), context=16, batch_size=8000)
    drawn = {bytes(window.tolist()) for window in task.batch(0, 0)}
    assert drawn == {content[i : i + 17] for i in range(209)}


def test_a_missing_folder_is_named():
    with pytest.raises(DataError, match="data folder /no/such/place does not exist"):
        SourceBytesGPT(folder="/no/such/place").batch(0, 0)


def test_a_folder_without_sources_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("not Python")
    with pytest.raises(DataError, match=f"data folder {tmp_path} holds no"):
        SourceBytesGPT(folder=str(tmp_path)).batch(0, 0)


@pytest.mark.parametrize("call", ["batch", "evaluate"])
def test_too_little_text_is_named_with_what_is_needed(tmp_path, call):
    task = SourceBytesGPT(folder=_folder(tmp_path, {"a.py": b"x" * 160}), context=16)
    with pytest.raises(DataError, match=rf"{tmp_path} hold 160 bytes; at least 170 are needed for a context of 16"):
        task.batch(0, 0) if call == "batch" else task.evaluate(Keeps())


def test_as_much_text_as_the_message_asks_for_is_enough(tmp_path):
    task = SourceBytesGPT(folder=_folder(tmp_path, {"a.py": b"x" * 170}), context=16)
    assert task.batch(0, 0).shape == (16, 17)
    assert _held_out(task).shape == (64, 16)


def test_the_loss_is_that_of_the_next_byte():
    task = SourceBytesGPT(context=8, batch_size=3)
    model, batch = task.build(16), task.batch(0, 0)
    log_p = model(batch[:, :-1]).log_softmax(-1)
    by_hand = -sum(log_p[i, t, batch[i, t + 1]] for i in range(3) for t in range(8)) / 24
    assert task.loss(model, batch).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert task.evaluate(Keeps()) == pytest.approx(math.log(256), rel=1e-5)


def test_a_width_that_is_no_multiple_of_the_head_size_fails_in_build():
    with pytest.raises(ValueError, match="width 20 is not a multiple of head_size 8"):
        SourceBytesGPT().build(20)


def test_in_a_run_such_a_width_is_an_error_that_names_it():
    spec = RunSpec(task="bytes", width=20, base_width=16, hyperparameters={"lr": 0.01}, steps=1)
    with pytest.raises(BuildError, match="at width 20: ValueError: width 20 is not a multiple of head_size 8"):
        run(spec, SourceBytesGPT())


def test_a_short_training_beats_the_loss_of_knowing_nothing():
    task = SourceBytesGPT(layers=1, context=16, batch_size=8, eval_windows=16)
    spec = RunSpec(task="bytes", width=32, base_width=16, hyperparameters={"lr": 0.01}, steps=40)
    result = run(spec, task)
    assert result.final_loss < math.log(256) - 1
