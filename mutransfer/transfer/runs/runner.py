"""Doing the runs that the record does not hold yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from mutransfer.parameterization.plan import Plan
from mutransfer.theory.rules import Parameterization
from mutransfer.training.dispatch import Dispatcher
from mutransfer.training.events import PhaseFinished, PhaseStarted, RunFinished, Sink, silent
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.task import Task, check_task
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.unusable_losses import check_losses
from mutransfer.widths import show_width


class Runner:
    """Does runs of one task that the record does not hold, and records them."""

    def __init__(
        self,
        task: Task,
        *,
        record: Record | None = None,
        device: torch.device | str | None = None,
        sink: Sink = silent,
        tables: Iterable[Parameterization] = (),
        members: int | None = None,
    ) -> None:
        """
        Args:
            tables: parameterizations of the user's own that specs refer to by name.
            members: the most runs to train as one program; None: what is fastest and fits; 1: one by one.
        """
        self.task = check_task(task)
        self.record = Record() if record is None else record
        self.device = default_device() if device is None else torch.device(device)
        self.sink = sink
        self._dispatcher = Dispatcher(self.task, device=self.device, sink=sink, members=members)
        self._tables = {table.name: table for table in tables}
        self._plans: dict[tuple[object, ...], Plan] = {}

    def perform(self, specs: Sequence[RunSpec], title: str) -> list[RunResult]:
        """Results in the order of ``specs``, each from the record or by training now.

        Runs of one width are trained together where that is faster; an interruption then loses those of one stack.
        Raises DataError where losses say nothing because the task is at fault; such a run is not recorded.
        """
        queued = list({s.key: s for s in specs if self.record.find(s) is None}.values())
        self.sink(PhaseStarted(title=title, queued=queued, already_done=len(specs) - len(queued)))
        for spec, result in self._dispatcher.perform(queued, self.plan):
            check_losses(self.task, spec, result, self.device)
            self.record.add(spec, result)
            self.sink(RunFinished(spec=spec, result=result))
        self.sink(PhaseFinished(title=title))
        return [result for spec in specs if (result := self.record.find(spec)) is not None]

    def saving(self, specs: Sequence[RunSpec]) -> float:
        """Time of ``specs``, all of one width, as they will be trained over that of training them singly."""
        costs = self._dispatcher.costs(specs, self.plan(specs[0]))
        if not costs.known:
            return 1.0
        runs, steps = len(specs), specs[0].steps
        return min(1.0, costs.seconds(runs, costs.members(runs, steps), steps) / costs.seconds(runs, 1, steps))

    def plan(self, spec: RunSpec) -> Plan:
        """The plan of a spec, inferred once for all specs that agree on what a plan depends on."""
        key = (
            show_width(spec.width),
            show_width(spec.base_width),
            spec.parameterization,
            spec.optimizer,
            spec.form,
            spec.wd_policy,
            spec.scale_eps,
            *(spec.hyperparameters.get(name, 1.0) != 1.0 for name in ("attention_mult", "output_mult")),
        )
        if key not in self._plans:
            self._plans[key] = infer_plan(spec, self.task, table=self._tables.get(spec.parameterization))
        return self._plans[key]


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
