"""The record of runs in an Optuna storage, and doing the runs that are not in it yet."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from sqlalchemy.pool import NullPool

from mutransfer.errors import RecordError
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.transfer.runs.disk import disk_trouble
from mutransfer.transfer.runs.storage_url import without_passwords
from mutransfer.widths import show_width

_CODE = "code"  # a study without runs, whose attributes are the known code

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Record:
    """Every finished run, one Optuna trial each; a study per (parameterization, optimizer, width).

    A run is found again by its spec alone, whatever asked for it: base-width runs serve every
    parameterization, and an interrupted sweep goes on where it stopped.
    """

    def __init__(self, where: Path | str | None = None) -> None:
        """``where``: a SQLite file, any SQLAlchemy URL ("postgresql://..."), or None to keep runs in memory."""
        self._file = None if where is None or "://" in str(where) else Path(where)
        try:
            self.storage = _storage(where)
            self._results: dict[str, RunResult] = {}
            self._counts: Counter[str] = Counter()
            self._specs: dict[str, RunSpec] = {}
            self.known_code: dict[str, list[dict[str, Any]]] = {}  # what a study knows of the code behind its runs
            for study in optuna.get_all_study_names(self.storage):
                if study == _CODE:
                    self.known_code = optuna.load_study(study_name=study, storage=self.storage).user_attrs
                    continue
                for trial in optuna.load_study(study_name=study, storage=self.storage).trials:
                    if "key" in trial.user_attrs:
                        spec = RunSpec.from_dict(trial.user_attrs["spec"])
                        self._remember(spec, RunResult.from_dict(trial.user_attrs["result"]))
        except Exception as error:
            if self._file is not None and (trouble := disk_trouble(error, self._file)) and "vanished" not in trouble:
                raise RecordError(trouble) from None
            told = without_passwords(f"the record of runs at {where} cannot be opened: {error}")
            raise RecordError(told) from None
        self._studies: dict[str, optuna.Study] = {}

    def __len__(self) -> int:
        return len(self._results)

    def find(self, spec: RunSpec) -> RunResult | None:
        return self._results.get(spec.key)

    def add(self, spec: RunSpec, result: RunResult) -> None:
        """Store one finished run; a crash afterwards loses nothing.

        Raises RecordError where the disk is full or the file has gone, and says where its runs are then.
        """
        self._remember(spec, result)
        try:
            self._store(spec, result)
        except Exception as error:
            trouble = None if self._file is None else disk_trouble(error, self._file)
            if trouble is None:
                raise
            raise RecordError(f"{trouble}; {self.rescued()}") from None

    def rescued(self) -> str:
        """A sentence on where all runs are now that are known here: in a new file of the folder for temporary ones."""
        try:
            copy = Record(Path(tempfile.mkdtemp(prefix="mutransfer-"), "runs.db"))
            for key, spec in self._specs.items():
                copy._store(spec, self._results[key])
            for place, versions in self.known_code.items():
                copy.keep_code(place, versions)
        except Exception as error:
            return f"what is not in it is lost, for no other place could be written ({type(error).__name__})"
        return f"all {len(self)} finished runs are kept in {copy._file}, to be put in its place"

    def _store(self, spec: RunSpec, result: RunResult) -> None:
        loss = min(result.final_loss, result.initial_loss)
        distributions: dict[str, BaseDistribution] = {
            # One axis per name, as a study demands: others than lr may be 0 in one run and not in the next.
            name: FloatDistribution(1e-12, 1e12, log=True) if name == "lr" else FloatDistribution(-1e12, 1e12)
            for name in spec.hyperparameters
        }
        self.study(_sweep_name(spec)).add_trial(
            optuna.trial.create_trial(
                params=dict(spec.hyperparameters),
                distributions=distributions,
                value=loss if math.isfinite(loss) else 1e12,  # out of memory: no loss was seen
                user_attrs={
                    "key": spec.key,
                    "outcome": str(result.outcome),
                    "seed": spec.seed,
                    "spec": spec.to_dict(),
                    "result": result.to_dict(),
                },
            )
        )

    def holds(self, task: str) -> bool:
        """Whether there are runs of the task of that name."""
        return any(spec.task == task for spec in self._specs.values())

    def keep_code(self, place: str, versions: list[dict[str, Any]]) -> None:
        """Store what is known of the code behind runs, beside them."""
        self.known_code[place] = versions
        study = self.study(_CODE)
        for name, value in self.known_code.items():
            study.set_user_attr(name, value)

    def count(self, template: RunSpec) -> int:
        """The number of runs that differ from ``template`` in learning rate and seed alone."""
        return self._counts[_without_lr_and_seed(template).key]

    def _remember(self, spec: RunSpec, result: RunResult) -> None:
        self._counts[_without_lr_and_seed(spec).key] += spec.key not in self._results
        self._results[spec.key] = result
        self._specs[spec.key] = spec

    def study(self, name: str, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """The Optuna study of this name in the storage, made if need be."""
        if name not in self._studies:
            self._studies[name] = optuna.create_study(
                study_name=name, storage=self.storage, sampler=sampler, load_if_exists=True
            )
        return self._studies[name]


def _storage(where: Path | str | None) -> optuna.storages.BaseStorage:
    if where is None:
        return optuna.storages.InMemoryStorage()
    url = str(where)
    if "://" not in url:
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{url}"
    # A file needs no pool of open connections, and a record that is dropped leaves none behind.
    options = {"poolclass": NullPool} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def _without_lr_and_seed(spec: RunSpec) -> RunSpec:
    return replace(spec, hyperparameters={**spec.hyperparameters, "lr": 1.0}, seed=0)


def _sweep_name(spec: RunSpec) -> str:
    which = "base" if spec.width == spec.base_width else spec.parameterization
    return f"runs {which} {spec.optimizer} width={show_width(spec.width)}"
