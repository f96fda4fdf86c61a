"""The TensorBoard sink: one event file per run, with its curves and its row of the HParams table."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from mutransfer.training.events import Event, PhaseStarted, RunFinished, RunStarted, Scalars
from mutransfer.training.spec import RunSpec
from mutransfer.widths import show_width


class TensorBoardSink:
    """Writes every run under ``folder/<parameterization>/width=<w>/lr=2^<x>/seed=<s> <key>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._failed = False
        self._writers: dict[str, SummaryWriter] = {}  # of the runs under way, by key

    def __call__(self, event: Event) -> None:
        """Take in an event. Curves that cannot be written are left out: no run is lost for them."""
        if self._failed:
            return
        try:
            self._write(event)
        except OSError as error:
            self._failed = True
            logging.getLogger("mutransfer").warning("no more curves: %s cannot be written: %s", self.folder, error)

    def _write(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):  # an interrupted phase leaves writers open
            for key in list(self._writers):
                self._writers.pop(key).close()
        elif isinstance(event, RunStarted):
            self._open(event.spec)
        elif isinstance(event, Scalars) and (writer := self._writers.get(event.spec.key)) is not None:
            for tag, value in event.values.items():
                writer.add_scalar(tag, value, event.step)
        elif isinstance(event, RunFinished) and (writer := self._writers.pop(event.spec.key, None)) is not None:
            loss = event.result.final_loss
            writer.add_scalar("final/loss", loss if math.isfinite(loss) else math.nan, event.spec.steps)
            for module, change in event.result.movement.items():
                writer.add_scalar(f"movement/{module}", change, event.spec.steps)
            writer.close()

    def _open(self, spec: RunSpec) -> None:
        if (unfinished := self._writers.pop(spec.key, None)) is not None:  # begun in a stack that could not go on
            unfinished.close()
        log2_lr = math.log2(spec.lr)
        which = "base" if spec.width == spec.base_width else spec.parameterization
        sweep = self.folder / which / f"width={show_width(spec.width)}"
        path = sweep / f"lr=2^{log2_lr:.3g}" / f"seed={spec.seed} {spec.key[:6]}"  # the key tells close specs apart
        writer = self._writers[spec.key] = SummaryWriter(str(path))
        row = {
            "parameterization": which,
            "width": show_width(spec.width),
            "log2_lr": log2_lr,
            "seed": spec.seed,
            **spec.hyperparameters,
        }
        # add_hparams would open a second event file; written here, table and curves share one.
        file_writer = writer.file_writer
        assert file_writer is not None  # opened by SummaryWriter's constructor
        for summary in hparams(row, {"final/loss": 0.0}):
            file_writer.add_summary(summary)
