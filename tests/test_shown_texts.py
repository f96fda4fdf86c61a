"""What is shown and written: no password anywhere, no escape that steers a terminal, no file half written."""

import os
import stat

import pytest
import yaml

from mutransfer.errors import ConfigError, RecordError
from mutransfer.report.figure import svg
from mutransfer.report.text import fence, for_markdown, for_terminal
from mutransfer.report.write import write_whole
from mutransfer.study.ending import ending_code, print_line
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.storage_url import VARIABLE, with_password, without_passwords

SECRETS = {
    "postgresql://ann:tulip@host/db": "postgresql://ann:***@host/db",
    "mysql+pymysql://ann:tu:l@ip@host:3306/db": "mysql+pymysql://ann:***@host:3306/db",
    "postgresql://:tulip@host/db": "postgresql://:***@host/db",
    "postgresql://host/db?user=ann&password=tulip&sslmode=off": "postgresql://host/db?user=ann&password=***&sslmode=off",
    "no 'postgresql://ann:tulip@host/db' here": "no 'postgresql://ann:***@host/db' here",
    "sqlite:////home/ann/runs.db": "sqlite:////home/ann/runs.db",
    "postgresql://ann@host:5432/db": "postgresql://ann@host:5432/db",
    "see a:b@c, loss 0.1": "see a:b@c, loss 0.1",
}


@pytest.mark.parametrize("text", SECRETS)
def test_passwords_are_masked_and_nothing_else_is(text):
    assert without_passwords(text) == SECRETS[text]


@pytest.mark.parametrize("url", ["nodb://ann:tulip@host/db", "postgresql+no://ann:tulip@host/db", "ftp://:tulip@x/y"])
def test_a_storage_that_cannot_be_opened_is_told_without_its_password(url):
    with pytest.raises(RecordError) as error:
        Record(url)
    assert "cannot be opened" in str(error.value)
    assert "tulip" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.fixture
def with_storage(tmp_path):
    """A study whose storage is a file with a password in its URL, which SQLite ignores."""
    url = f"sqlite:///{tmp_path}/else.db?password=tulip"
    study = {"task": "digits-mlp", "args": {"hidden_layers": 1, "n_train": 64}, "optimizer": "adam", "base_width": 8}
    study |= {"widths": [16], "seeds": 2, "space": {"lr": {"log2": [-6, -3]}}, "training": {"steps": 2}, "storage": url}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**study, "coordinates": {"steps": 1, "seeds": 1}, "device": "cpu"}))
    return path


@pytest.mark.filterwarnings("ignore:Query string argument")  # of SQLite, which ignores them
def test_a_password_is_shown_nowhere_and_asked_for_again(with_storage, mutransfer, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    for args in (["tune", with_storage, "--out", folder], ["run", with_storage, "--out", folder, "--fresh"]):
        ended = mutransfer(*args)
        assert "tulip" not in ended.out + ended.err
    config = folder / "config.yaml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    for path in folder.rglob("*"):
        assert path.is_dir() or b"tulip" not in path.read_bytes(), path
    ended = mutransfer("run", folder)
    assert ended.code == 2
    assert f"set {VARIABLE}, or give the whole URL" in ended.err
    monkeypatch.setenv(VARIABLE, "tulip")
    assert yaml.safe_load(config.read_text())["storage"].endswith("password=***")
    assert mutransfer("explain", folder).code == 0


def test_the_environment_gives_the_password_back(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert with_password("sqlite:///a.db") == "sqlite:///a.db"
    with pytest.raises(ConfigError, match=VARIABLE):
        with_password("postgresql://ann:***@host/db")
    monkeypatch.setenv(VARIABLE, "t/u@p")
    assert with_password("postgresql://ann:***@host/db") == "postgresql://ann:t%2Fu%40p@host/db"


ESCAPES = ["\x1b[31mred", "\x1b]0;title\x07", "a\rb", "\x9b2J", "\u202egnp.exe", "\x00", "\x08\x08"]


@pytest.mark.parametrize("text", ESCAPES)
def test_no_escape_reaches_the_terminal(text, capsys):
    print_line(text)

    def broken():
        raise ConfigError(text)

    assert ending_code(broken) == 2
    shown = "".join(capsys.readouterr())
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert for_terminal("α β\tγ\n2^-3 █▁x") == "α β\tγ\n2^-3 █▁x"


@pytest.mark.parametrize("name", ["$x^{$", "$\\frac$", "a$b$c", "100%", "<b>&", "\\alpha_$1"])
def test_a_name_of_any_kind_can_be_plotted(name):
    def draw(figure):
        axes = figure.subplots()
        axes.plot([1, 2], [1, 2], label=name)
        axes.set_title(name)
        axes.legend()

    assert "<svg" in svg(draw, 2, 2)


def test_markdown_shows_a_name_and_does_not_follow_it():
    name = "<script>|[a](b) `c` *d* _e_ f_g\n# h"
    assert for_markdown(name) == r"&lt;script>\|[a]\(b) \`c\` \*d\* \_e\_ f_g # h"
    assert (
        for_markdown("mup, width 64 -> 512: [-0.1, 0.2] at head.0_w") == "mup, width 64 -> 512: [-0.1, 0.2] at head.0_w"
    )
    assert (fence("a"), fence("x\n````\ny")) == ("```", "`````")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.md"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new" * 100_000 + "\ud800")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["report.md"])
    write_whole(path, "new", private=True)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
