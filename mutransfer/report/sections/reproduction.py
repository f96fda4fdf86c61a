"""How to have the same study again: command, versions, config."""

from __future__ import annotations

import platform

import torch

from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section


def reproduction_section(study: FinishedStudy) -> Section:
    """The command with what it ran on, then the config as it was run."""
    first = next(iter(study.main.sweeps.values()))
    device = next(iter(first.results.values()))[0].device
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, device {device}"
    return Section(
        title="How to reproduce",
        code=study.command,
        small_print=f"{versions}. The study:",
        parts=(Section(code=study.config_text, language="yaml"),),
    )
