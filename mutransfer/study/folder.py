"""The run directory of a study, and opening one from a config or from itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutransfer.config.loading import load_config
from mutransfer.config.schema import StudyConfig
from mutransfer.config.table import table_yaml
from mutransfer.errors import ConfigError
from mutransfer.report.write import write_whole
from mutransfer.theory.content import is_built_in
from mutransfer.theory.rules import Parameterization
from mutransfer.transfer.runs.storage_url import with_password


@dataclass(frozen=True)
class Folder:
    """A run directory: config.yaml, runs.db, tensorboard/, report.{html,md}, verdict.json, falsify.{html,json}.

    Beside them tables/ holds the content of every parameterization of the user's own that runs were made under.
    """

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    def clear(self) -> None:
        """Remove what earlier runs left, but for the config."""
        for path in self.path.glob("runs.db*"):  # with the journal that a crash leaves
            path.unlink()
        for name in ("report.html", "report.md", "verdict.json", "falsify.html", "falsify.json"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.tensorboard, self.tables):
            shutil.rmtree(folder, ignore_errors=True)

    def keep_tables(self, tables: Iterable[Parameterization]) -> None:
        """Write down the user's own among ``tables``, beside what is there: each is named by its content."""
        for name, text in own_tables(tables).items():
            self.tables.mkdir(exist_ok=True)
            write_whole(self.tables / f"{name}.yaml", text)


def own_tables(tables: Iterable[Parameterization]) -> dict[str, str]:
    """The content of those tables that are not built in, by name, as YAML."""
    return {table.name: table_yaml(table) for table in tables if not is_built_in(table)}


def open_study(target: Path, out: Path | None, options: Sequence[str]) -> tuple[StudyConfig, Folder]:
    """The config and run directory that a verb was pointed at: a YAML file, or a run directory to go on with."""
    if target.is_dir():
        if out is not None:
            raise ConfigError(f"{target} is a run directory; --out goes with a config file")
        folder = Folder(target)
        if not folder.config.exists():
            raise ConfigError(f"{target} is not a run directory: it has no config.yaml")
        config = load_config(folder.config, options)
        if config.storage is not None:
            config = config.model_copy(update={"storage": with_password(config.storage)})
        return config, folder
    if not target.exists():
        raise ConfigError(f"{target}: no such config file or run directory")
    config = load_config(target, options)
    return config, Folder(out or Path("runs") / target.stem)
