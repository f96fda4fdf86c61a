"""The TensorBoard sink: one event file per run, with its curves and its row of the HParams table."""

from __future__ import annotations

import math
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from mutransfer.parameterization.building import show_width
from mutransfer.training.events import Event, RunFinished, RunStarted, Scalars
from mutransfer.training.spec import RunSpec


class TensorBoardSink:
    """Writes every run under ``folder/<parameterization>/width=<w>/lr=2^<x>/seed=<s> <key>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._open(event.spec)
        elif isinstance(event, Scalars) and self._writer is not None:
            for tag, value in event.values.items():
                self._writer.add_scalar(tag, value, event.step)
        elif isinstance(event, RunFinished) and self._writer is not None:
            loss = event.result.final_loss
            self._writer.add_scalar("final/loss", loss if math.isfinite(loss) else math.nan, event.spec.steps)
            for module, change in event.result.movement.items():
                self._writer.add_scalar(f"movement/{module}", change, event.spec.steps)
            self._close()

    def _open(self, spec: RunSpec) -> None:
        self._close()  # an interrupted run leaves its writer open
        log2_lr = math.log2(spec.lr)
        which = "base" if spec.width == spec.base_width else spec.parameterization
        sweep = self.folder / which / f"width={show_width(spec.width)}"
        path = sweep / f"lr=2^{log2_lr:.3g}" / f"seed={spec.seed} {spec.key[:6]}"  # the key tells close specs apart
        self._writer = SummaryWriter(str(path))
        row = {
            "parameterization": which,
            "width": show_width(spec.width),
            "log2_lr": log2_lr,
            "seed": spec.seed,
            **spec.hyperparameters,
        }
        # add_hparams would open a second event file; written here, table and curves share one.
        file_writer = self._writer.file_writer
        assert file_writer is not None  # opened by SummaryWriter's constructor
        for summary in hparams(row, {"final/loss": 0.0}):
            file_writer.add_summary(summary)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
