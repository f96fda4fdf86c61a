"""Learning rates tuned at base width and verified at larger ones, under several parameterizations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mutransfer as mt
from mutransfer.training.task import Task
from mutransfer.transfer.search.tune import TuneResult
from mutransfer.transfer.verification.result import Verification


def verified(task: Task, settings: Mapping[str, Any]) -> tuple[TuneResult, dict[str, Verification]]:
    """What was tuned, and the verification under each of ``settings["parameterizations"]``."""
    low, high = settings["log2_lr"]
    record, members = mt.Record(), settings["members"]
    tuned = mt.tune(
        task,
        base_width=settings["base_width"],
        space={"lr": (2.0**low, 2.0**high)},
        optimizer="adam",
        seeds=settings["seeds"],
        record=record,
        members=members,
        **settings["training"],
    )
    return tuned, {
        name: mt.verify(task, tuned, widths=settings["widths"], parameterization=name, record=record, members=members)
        for name in settings["parameterizations"]
    }
