"""A study from its config: what each verb does, on a run directory that keeps everything that was computed."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from mutransfer.config.conversion import lr_grid, search_space, study_template
from mutransfer.config.loading import dump_config
from mutransfer.config.schema import StudyConfig
from mutransfer.config.task import load_task
from mutransfer.errors import ConfigError, RecordError
from mutransfer.parameterization.plan import Plan
from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.write import write_report, write_whole
from mutransfer.study.cost import StudyCost, largest_step
from mutransfer.study.folder import Folder, own_tables
from mutransfer.study.known_code import Ask, earlier_task, known_task, refuse_other_code
from mutransfer.study.threads import left_to_us, share_cores
from mutransfer.study.trained_tables import StudyTables, regime_text, study_tables
from mutransfer.training.events import Event, Note, PhaseStarted, Sink, silent
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task, check_repeatable, label_of
from mutransfer.transfer.coordinates.check import coordinate_check
from mutransfer.transfer.coordinates.result import CoordinateCheck
from mutransfer.transfer.falsification.falsify import falsify
from mutransfer.transfer.falsification.result import Falsification
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner, default_device
from mutransfer.transfer.runs.storage_url import without_passwords
from mutransfer.transfer.search.tune import TuneResult, tune
from mutransfer.transfer.verification.budget import Budget
from mutransfer.transfer.verification.result import Verification
from mutransfer.transfer.verification.verify import verify
from mutransfer.widths import show_width


class Workflow:
    """The steps of one study; each returns its result and finds what an earlier step or process left."""

    def __init__(
        self,
        config: StudyConfig,
        folder: Folder,
        sink: Sink = silent,
        *,
        fresh: bool = False,
        ask: Ask = refuse_other_code,
    ) -> None:
        """
        Args:
            fresh: whether to remove what the run directory holds of earlier runs, once it is locked.
            ask: what to do where the record's runs of this task are of other code.
        """
        self.fresh, self._ask = fresh, ask
        self.config, self.folder, self.sink = config, folder, sink
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self._loaded = load_task(config)
        self.tables: StudyTables = study_tables(config)
        self.device = default_device() if config.device == "auto" else _device(config.device)

    def __enter__(self) -> Workflow:
        """Lock the run directory and keep the config in it; a study that cannot run is refused before that.

        Raises RecordError where the record's runs are of other code, and nobody says what to do with them.
        """
        _ = self.plans
        for text in check_repeatable(self._loaded):
            self.sink(Note(text=text))
        self._share_cores()
        self._lock = FileLock(self.folder.path / ".lock")
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RecordError(f"{self.folder.path} is in use by another process; wait for it or use --out") from None
        except OSError as error:
            raise RecordError(f"{self.folder.path} cannot be a run directory: {error.strerror or error}") from None
        try:
            if self.fresh:
                self.folder.clear()
            self.task = self._known_task(keep=True)
            write_whole(self.folder.config, self._shown_config, private=self.config.storage is not None)
            self.folder.keep_tables(self.tables.trained.values())
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._lock.release()

    @cached_property
    def task(self) -> Task:
        """The task, under the name of those runs in the record that are its own."""
        return self._known_task(keep=False)

    def _known_task(self, *, keep: bool) -> Task:
        base, earlier = self.config.base_width, partial(earlier_task, self.folder)
        return known_task(self._loaded, self.record, base, ask=self._ask, earlier=earlier, keep=keep)

    def _share_cores(self) -> None:
        """Train small models on one thread, unless the config or the environment names a number."""
        if self.config.threads is None and self.device.type == "cpu" and left_to_us():
            share_cores(
                largest_step(
                    self._draft, self._loaded, self.plans[show_width(self.config.base_width)], self.largest_plan
                )
            )

    @cached_property
    def record(self) -> Record:
        return self.stored()

    def stored(self) -> Record:
        """What the storage holds now: an interruption may fall between storing a run and taking note of it."""
        return Record(self.config.storage or self.folder.path / "runs.db")

    def without_record(self, *, always: bool = False) -> None:
        """Look nothing up and write nothing, ``always`` or where there is no record yet: for a preview."""
        if always or (self.config.storage is None and not (self.folder.path / "runs.db").exists()):
            self.record = Record()

    @property
    def studied(self) -> tuple[str, ...]:
        """Names of the parameterization under study, then of the controls; each function once."""
        return tuple(self.tables.trained)

    @cached_property
    def template(self) -> RunSpec:
        return replace(self._draft, task=label_of(self.task))

    @cached_property
    def _draft(self) -> RunSpec:
        """The template before the record has been asked for the task's name."""
        return study_template(self.config, self._loaded, self.tables.main)

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """Plans of the parameterization under study at every width: one that cannot be built is found early.

        That of the largest width is measured on small models.
        """
        specs = [replace(self._draft, width=w) for w in (self.config.base_width, *self.config.widths)]
        largest = show_width(self.config.largest_width)

        def plan(spec: RunSpec, width: str) -> Plan:
            return infer_plan(spec, self._loaded, table=self.tables.main, check=self.config.check and width == largest)

        return {width: plan(spec, width) for spec in specs for width in [show_width(spec.width)]}

    @cached_property
    def regime(self) -> str:
        """What theory says of the parameterization under study, in a sentence."""
        return regime_text(self.tables.main, self.largest_plan)

    @property
    def largest_plan(self) -> Plan:
        return self.plans[show_width(self.config.largest_width)]

    def coordinates(self) -> dict[str, CoordinateCheck]:
        self._share_cores()
        c = self.config.coordinates
        return {
            name: coordinate_check(
                self._loaded,
                widths=c.widths or [self.config.base_width, *self.config.widths],
                base_width=self.config.base_width,
                parameterization=table,
                optimizer=self.config.optimizer,
                lr=c.lr,
                steps=c.steps,
                seeds=c.seeds,
                device=self.device,
            )
            for name, table in self.tables.trained.items()
        }

    def tune(self) -> TuneResult:
        return tune(
            self.task,
            base_width=self.config.base_width,
            space=search_space(self.config),
            optimizer=self.config.optimizer,
            parameterization=self.tables.main,
            seeds=self.config.seeds,
            n_trials=self.config.n_trials,
            fixed=self.config.fixed,
            record=self.record,
            device=self.device,
            sink=self.sink,
            members=self.config.members,
            **self.config.training.model_dump(),
        )

    def verify(self, tuned: TuneResult) -> dict[str, Verification]:
        verifications = {}
        for name, table in self.tables.trained.items():
            verifications[name] = verification = verify(
                self.task,
                tuned,
                widths=self.config.widths,
                parameterization=table,
                record=self.record,
                device=self.device,
                sink=self.sink,
                members=self.config.members,
                perturb=self.config.perturb if table is self.tables.main else (),
                check=False,  # the plan has been measured
                perturb_width=self.config.perturb_width,
                sequential=self.config.sequential,
                budget=self.budget,
            )
            self.sink(Note(text=f"{name}: {verification.headline}: {verification.sentence}"))
        return verifications

    @cached_property
    def budget(self) -> Budget | None:
        given = self.config.budget
        return None if given is None else Budget(flops=given.flops, minutes=given.minutes)

    def falsify(self) -> Falsification:
        """The frozen-feature control at the largest width, with the search range of the learning rate as its grid."""
        point = self.template.hyperparameters
        return falsify(
            self.task,
            width=self.config.largest_width,
            base_width=self.config.base_width,
            parameterization=self.tables.main,
            optimizer=self.config.optimizer,
            hyperparameters={name: x for name, x in point.items() if name != "lr"},
            grid=lr_grid(self.config) if "lr" in self.config.space else [math.log2(self.template.lr)],
            seeds=self.config.seeds,
            record=self.record,
            device=self.device,
            sink=self.sink,
            members=self.config.members,
            **self.config.training.model_dump(),
        )

    def report(
        self, checks: dict[str, CoordinateCheck], tuned: TuneResult, verifications: dict[str, Verification]
    ) -> Path:
        widths = f"{show_width(self.config.base_width)} -> {show_width(self.config.largest_width)}"
        study = FinishedStudy(
            title=f"{label_of(self.task)}: {self.tables.main.name}, width {widths}",
            config_text=self.config_text,
            command=f"mutransfer run {shlex.quote(str(self.folder.path))}",
            plan=self.largest_plan,
            regime=self.regime,
            checks=checks,
            tuned=tuned,
            verifications=verifications,
            notes=self.tables.notes,
        )
        return write_report(study, self.folder.path)

    @property
    def config_text(self) -> str:
        """The config, and below it the content of tables of the user's own."""
        tables = "".join(own_tables(self.tables.trained.values()).values())
        return "\n".join([self._shown_config.strip(), *(f"# {line}" for line in tables.splitlines())])

    @property
    def _shown_config(self) -> str:
        storage = self.config.storage
        shown = None if storage is None else without_passwords(storage)
        return dump_config(self.config.model_copy(update={"storage": shown}))

    @property
    def sequential(self) -> bool:
        return self.config.sequential or self.budget is not None

    @cached_property
    def cost(self) -> StudyCost:
        self._share_cores()
        return StudyCost(
            template=self.template,
            widths=self.config.widths,
            tables=self.studied,
            grid_points=len(lr_grid(self.config)),
            seeds=self.config.seeds,
            sequential=self.sequential,
            plans=self.plans,
            runner=Runner(
                self.task,
                device=self.device,
                sink=self.sink,
                tables=[self.tables.main],
                members=self.config.members,
            ),
        )


def refuse_new_runs(event: Event) -> None:
    """A sink for verbs that only show what is there."""
    if isinstance(event, PhaseStarted) and event.queued:
        raise RecordError(
            f"{event.title}: {len(event.queued)} runs are missing from the record; `mutransfer run` does them"
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
