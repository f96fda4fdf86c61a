"""A study from its config: what each verb does, on a run directory that keeps everything that was computed."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from mutransfer.config import StudyConfig, dump_config, load_config, load_task
from mutransfer.errors import ConfigError, RecordError
from mutransfer.parameterization import regimes, rules
from mutransfer.parameterization.building import Width, show_width
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.regimes import Kind
from mutransfer.report.summary import Summary
from mutransfer.training.events import Event, Note, PhaseStarted, Sink, silent
from mutransfer.training.flops import flops_per_step
from mutransfer.training.run import infer_plan
from mutransfer.training.run import run as run_once
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import check_repeatable, label_of
from mutransfer.training.threads import left_to_us, share_cores
from mutransfer.transfer.coordinates import CoordinateCheck, coordinate_check
from mutransfer.transfer.falsify import Falsification, falsify
from mutransfer.transfer.sequential import POINTS, Estimate, estimate, usual_seeds
from mutransfer.transfer.space import Axis, Choice, Range
from mutransfer.transfer.spending import FIRST_SEEDS, Budget
from mutransfer.transfer.study import Record, Runner, default_device, width_size
from mutransfer.transfer.sweep import at_lr
from mutransfer.transfer.tuner import TuneResult, make_template, tune
from mutransfer.transfer.verification import Verification
from mutransfer.transfer.verifier import verify

SAME_FUNCTION = (
    "mf and mup are the same trained function up to Adam's eps (Everett et al.: shift by theta = 1/2 on every "
    "layer), so {drop} is not run again next to {keep}."
)


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


class Workflow:
    """The steps of one study; each returns its result and finds what an earlier step or process left."""

    def __init__(self, config: StudyConfig, folder: Folder, sink: Sink = silent) -> None:
        self.config, self.folder, self.sink = config, folder, sink
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.task = load_task(config)
        self.device = default_device() if config.device == "auto" else _device(config.device)

    def __enter__(self) -> Workflow:
        """Lock the run directory and keep the config in it; a study that cannot run is refused before that."""
        _ = self.plans
        check_repeatable(self.task)
        self._share_cores()
        self._lock = FileLock(self.folder.path / ".lock")
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RecordError(f"{self.folder.path} is in use by another process; wait for it or use --out") from None
        except OSError as error:
            raise RecordError(f"{self.folder.path} cannot be a run directory: {error.strerror or error}") from None
        self.folder.config.write_text(dump_config(self.config), encoding="utf-8")
        return self

    def __exit__(self, *exc: object) -> None:
        self._lock.release()

    def _share_cores(self) -> None:
        """Train small models on one thread, unless the config or the environment names a number.

        A step of the largest model is told from one of the smallest, which fits into any memory, and from how many
        times more parameters the largest has.
        """
        if self.config.threads is not None or self.device.type != "cpu" or not left_to_us():
            return
        base, largest = self.plans[str(self.config.base_width)], self.largest_plan
        growth = _parameters(largest) / _parameters(base)
        share_cores(growth * flops_per_step(self._template(), self.task, base, self.device))

    def forget(self) -> None:
        """Remove what the run directory holds of earlier runs. Call it before anything is looked up."""
        for path in self.folder.path.glob("runs.db*"):  # with the journal that a crash leaves
            path.unlink()
        for name in ("report.html", "report.md", "verdict.json", "falsify.html", "falsify.json"):
            (self.folder.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder.tensorboard, ignore_errors=True)

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

    @cached_property
    def studied(self) -> tuple[str, ...]:
        """The parameterization under study, then the controls; of mf and mup only the first."""
        names: list[str] = []
        for name in (self.config.parameterization, *self.config.compare):
            twin = {"mf": "mup", "mup": "mf"}.get(name)
            if name not in names and twin not in names:
                names.append(name)
        return tuple(names)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        wanted = {self.config.parameterization, *self.config.compare}
        if not {"mf", "mup"} <= wanted:
            return ()
        keep = "mf" if "mf" in self.studied else "mup"
        return (SAME_FUNCTION.format(drop="mup" if keep == "mf" else "mf", keep=keep),)

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """Plans of the parameterization under study at every width: one that cannot be built is found early."""
        template = self._template()
        widths = [self.config.base_width, *self.config.widths]
        return {str(w): infer_plan(replace(template, width=w), self.task) for w in widths}

    @cached_property
    def regime(self) -> str:
        """What theory says of the parameterization under study, in a sentence."""
        table = rules.parameterization(self.config.parameterization)
        if not table.corrects_init:
            return f"{table.name}: {table.title}; its regime depends on the model's own initialisation."
        plan = self.largest_plan
        roles = [s.role for s in plan.values()]
        found = regimes.classify_model(table, roles, optimizer=plan.optimizer, scale_eps=plan.scale_eps)
        tolerated = found.kind is Kind.UNSTABLE and found.usable_with_cross_entropy
        return (
            f"{table.name}, {table.title}: {'strictly ' if tolerated else ''}{found.kind} with {plan.optimizer} "
            f"({found.binding}){', but usable with cross-entropy' if tolerated else ''}. As width n grows, "
            f"{found.predictions}."
        )

    @property
    def largest_plan(self) -> Plan:
        return self.plans[str(_largest(self.config))]

    def coordinates(self) -> dict[str, CoordinateCheck]:
        self._share_cores()
        c = self.config.coordinates
        return {
            name: coordinate_check(
                self.task,
                widths=c.widths or [self.config.base_width, *self.config.widths],
                base_width=self.config.base_width,
                parameterization=name,
                optimizer=self.config.optimizer,
                lr=c.lr,
                steps=c.steps,
                seeds=c.seeds,
                device=self.device,
            )
            for name in self.studied
        }

    def tune(self) -> TuneResult:
        return tune(
            self.task,
            base_width=self.config.base_width,
            space=self._space(),
            optimizer=self.config.optimizer,
            parameterization=self.config.parameterization,
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
        found = {}
        for name in self.studied:
            found[name] = verify(
                self.task,
                tuned,
                widths=self.config.widths,
                parameterization=name,
                record=self.record,
                device=self.device,
                sink=self.sink,
                members=self.config.members,
                perturb=self.config.perturb if name == self.studied[0] else (),
                perturb_width=self.config.perturb_width,
                sequential=self.config.sequential,
                budget=self.budget,
            )
            self.sink(Note(text=f"{name}: {found[name].headline}: {found[name].sentence}"))
        return found

    @cached_property
    def budget(self) -> Budget | None:
        given = self.config.budget
        return None if given is None else Budget(flops=given.flops, minutes=given.minutes)

    def falsify(self) -> Falsification:
        """The frozen-feature control at the largest width, with the search range of the learning rate as its grid."""
        template = self._template()
        return falsify(
            self.task,
            width=_largest(self.config),
            base_width=self.config.base_width,
            parameterization=self.config.parameterization,
            optimizer=self.config.optimizer,
            hyperparameters={name: x for name, x in template.hyperparameters.items() if name != "lr"},
            grid=self._grid() if "lr" in self._space() else [math.log2(template.lr)],
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
        summary = Summary(
            title=f"{label_of(self.task)}: {self.config.parameterization}, width {_arrow(self.config)}",
            config_text=dump_config(self.config).strip(),
            command=f"mutransfer run {shlex.quote(str(self.folder.path))}",
            plan=self.largest_plan,
            regime=self.regime,
            checks=checks,
            tuned=tuned,
            verifications=verifications,
            notes=self.notes,
        )
        return summary.write(self.folder.path)

    def expected_cost(self) -> tuple[int, float]:
        """Number of runs of the whole study that are still to be done, and their seconds.

        A sweep is counted with two points of refinement and the transferred learning rate, without extensions; where
        verification is sequential, with what it usually takes. Seconds come from a few steps of training at every
        width.
        """
        self._share_cores()
        template = self._template()
        runs, seconds = 0, 0.0
        for width in [self.config.base_width, *self.config.widths]:
            per_sweep = self._runs_at(width)
            names = self.studied[:1] if width == self.config.base_width else self.studied
            sweeps = [replace(template, width=width, parameterization=name) for name in names]
            missing = [per_sweep - self.record.count(sweep) for sweep in sweeps]
            # Where only the transferred learning rate's are missing, it may be one of the grid: nothing is left then.
            left = sum(n for n in missing if n > self.config.seeds)
            if left:
                seconds += left * self._seconds(replace(template, width=width), left)
            runs += left
        return runs, seconds

    def _runs_at(self, width: Width) -> int:
        """Usual number of runs of one sweep."""
        seeds = self.config.seeds
        if width == self.config.base_width or not self.sequential:
            return (len(self._grid()) + 3) * seeds
        if width != _largest(self.config):
            return POINTS * seeds
        return round(POINTS * usual_seeds(min(FIRST_SEEDS, seeds), seeds))

    @property
    def sequential(self) -> bool:
        return self.config.sequential or self.budget is not None

    def expected_flops(self) -> Estimate:
        """Of verifying one parameterization beyond the base width, sequentially and by the full grid."""
        specs = [replace(self._template(), width=width) for width in sorted(self.config.widths, key=width_size)]
        costs = [flops_per_step(s, self.task, self.plans[str(s.width)], self.device) * s.steps for s in specs]
        seeds = self.config.seeds
        return estimate(costs, grid=len(self._grid()), first=min(FIRST_SEEDS, seeds), most=seeds)

    def _seconds(self, spec: RunSpec, runs: int) -> float:
        """Of one of ``runs`` runs: a short and a longer one after one to warm up, less what training together saves."""
        plan = self.plans[str(spec.width)]
        _, short, longer = (
            run_once(
                replace(spec, steps=n, warmup_steps=0, eval_every=0), self.task, plan=plan, device=self.device
            ).seconds
            for n in (1, 2, 8)
        )
        per_step = max(longer - short, 0.0) / 6
        runner = Runner(self.task, device=self.device, sink=self.sink, members=self.config.members)
        saving = runner.saving([at_lr(spec, math.log2(spec.lr), seed) for seed in range(runs)])
        return max(short - 2 * per_step, 0.0) + saving * spec.steps * per_step

    def _template(self) -> RunSpec:
        start = {name: axis.start for name, axis in self._space().items()}
        return make_template(
            self.task,
            base_width=self.config.base_width,
            parameterization=self.config.parameterization,
            point={"lr": 2.0**-8, **self.config.fixed, **start},
            optimizer=self.config.optimizer,
            **self.config.training.model_dump(),
        )

    def _grid(self) -> list[float]:
        lr = self._space().get("lr")
        return lr.grid() if isinstance(lr, Range) else [float(x) for x in range(-4, 5)]

    def _space(self) -> dict[str, Axis]:
        ranges: dict[str, Axis] = {}
        for name, r in self.config.space.items():
            if r.log2 is not None:
                ranges[name] = Range(low=2.0 ** r.log2[0], high=2.0 ** r.log2[1], spacing=r.spacing)
            elif r.linear is not None:
                ranges[name] = Range(low=r.linear[0], high=r.linear[1], log=False, spacing=r.spacing)
            elif r.choices is not None:
                ranges[name] = Choice(tuple(r.choices))
        return ranges


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


def _largest(config: StudyConfig) -> Width:
    return max(config.widths, key=width_size)


def _parameters(plan: Plan) -> int:
    return sum(math.prod(shape) for shape in plan.shapes.values())


def _arrow(config: StudyConfig) -> str:
    return f"{show_width(config.base_width)} -> {show_width(_largest(config))}"
