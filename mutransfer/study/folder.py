"""The run directory of a study, and opening one from a config or from itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutransfer.config.loading import load_config
from mutransfer.config.schema import StudyConfig
from mutransfer.errors import ConfigError


@dataclass(frozen=True)
class Folder:
    """A run directory: config.yaml, runs.db, tensorboard/, report.{html,md}, verdict.json, falsify.{html,json}."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"


def open_study(target: Path, out: Path | None, options: Sequence[str]) -> tuple[StudyConfig, Folder]:
    """The config and run directory that a verb was pointed at: a YAML file, or a run directory to go on with."""
    if target.is_dir():
        if out is not None:
            raise ConfigError(f"{target} is a run directory; --out goes with a config file")
        folder = Folder(target)
        if not folder.config.exists():
            raise ConfigError(f"{target} is not a run directory: it has no config.yaml")
        return load_config(folder.config, options), folder
    if not target.exists():
        raise ConfigError(f"{target}: no such config file or run directory")
    config = load_config(target, options)
    return config, Folder(out or Path("runs") / target.stem)
