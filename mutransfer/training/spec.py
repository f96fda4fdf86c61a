"""RunSpec, everything that determines one training run, and RunResult, everything that is kept of it."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

from mutransfer.errors import ConfigError
from mutransfer.measure.movement import Look
from mutransfer.theory.recipe import Recipe
from mutransfer.theory.rules import Parameterization
from mutransfer.training.extra_hyperparameters import DECAY, MULTIPLIERS
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.widths import Width

SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("float32", "bfloat16", "float16")


class Outcome(StrEnum):
    """The ways in which a run ends; all of them are results."""

    OK = "ok"
    DIVERGED = "diverged"  # a loss that is not finite, or an end worse than the beginning
    OUT_OF_MEMORY = "out of memory"  # even one example at a time


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that determines one training run. Two equal specs give the same run on the same device."""

    task: str
    width: Width
    base_width: Width
    hyperparameters: Mapping[str, float]  # values at base width, "lr" among them
    parameterization: str = "mup"
    optimizer: str = "adamw"
    form: str = "forward"
    wd_policy: str = "independent"
    scale_eps: bool = True
    seed: int = 0
    steps: int = 100
    schedule: str = "constant"
    warmup_steps: int = 0
    eval_every: int = 0  # steps between evaluations; 0: at the start and the end only
    accumulate: int = 1  # micro-batches per step
    precision: str = "float32"  # of autocast
    clip_norm: float = 0.0  # largest width-invariant gradient norm; 0: no clipping
    watched: bool = False  # look at features and tangent kernel on the way: changes nothing in the run, nor its key
    batch_size: int = 0  # examples per step; 0: as many as the task's batches have

    def __post_init__(self) -> None:
        # Plain copies: equal values give equal JSON, and later changes to the caller's mapping change nothing here.
        set_field = partial(object.__setattr__, self)
        set_field("hyperparameters", {name: float(value) for name, value in self.hyperparameters.items()})
        for name in ("width", "base_width"):
            if isinstance(width := getattr(self, name), Mapping):
                set_field(name, dict(width))
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        rule = optimizer_rule(self.optimizer)
        allowed = rule.hyperparameters
        for name in self.hyperparameters:
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                hint = "; use adamw" if name in DECAY else hint  # which every optimizer without decay is akin to
                raise ConfigError(
                    f"{self.optimizer} has no hyperparameter {name!r} here: expected {', '.join(allowed)}{hint}"
                )
            if name in MULTIPLIERS and not 0 < self.hyperparameters[name] < math.inf:
                raise ConfigError(f"{name} must be positive and finite, found {self.hyperparameters[name]}")
        if all(name in self.hyperparameters for name in DECAY):
            raise ConfigError(f"give one of {' and '.join(DECAY)}, not both")
        lr = self.hyperparameters.get("lr")
        if lr is None or not lr > 0:
            raise ConfigError(f"lr must be positive, found {lr}")
        if lr == math.inf:
            raise ConfigError(f"lr must be finite, found {lr}")
        for name, least in (("steps", 1), ("accumulate", 1), ("eval_every", 0), ("batch_size", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, found {getattr(self, name)}")
        if not self.clip_norm >= 0:
            raise ConfigError(f"clip_norm must be positive, or 0 for none, found {self.clip_norm}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ConfigError(f"warmup_steps must be in 0..steps-1, found {self.warmup_steps} of {self.steps}")

    @property
    def lr(self) -> float:
        return self.hyperparameters["lr"]

    @property
    def key(self) -> str:
        """Equal for specs that are the same run: at base width every parameterization is the user's own model."""
        spec = self._without_ones()
        spec = spec.as_own_model() if self.width == self.base_width else spec
        told = {name: value for name, value in spec.to_dict().items() if name != "watched"}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]

    def recipe(self, table: Parameterization | None = None) -> Recipe:
        """What the run asks of its model; ``table`` is the user's own parameterization of that name, if it is one."""
        return Recipe.of(
            table or self.parameterization,
            optimizer=self.optimizer,
            form=self.form,
            wd_policy=self.wd_policy,
            scale_eps=self.scale_eps,
        )

    def as_own_model(self) -> RunSpec:
        # "sqrt" spares all but hidden weights from decay at every width.
        policy = "sqrt" if self.wd_policy == "sqrt" else "independent"
        return replace(self, parameterization="as_is", form="forward", wd_policy=policy, scale_eps=True)

    def _without_ones(self) -> RunSpec:
        """A multiplier of 1 changes nothing."""
        values = {n: x for n, x in self.hyperparameters.items() if n not in MULTIPLIERS or x != 1.0}
        return replace(self, hyperparameters=values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Curves, losses, outcome, feature movement and cost of one run."""

    outcome: Outcome
    initial_loss: float  # evaluation before the first step
    final_loss: float  # evaluation after the last step; infinite unless the outcome is OK
    best_loss: float
    train_curve: tuple[float, ...] = ()  # training loss of every step
    eval_curve: tuple[tuple[int, float], ...] = ()  # (steps done, evaluation)
    movement: Mapping[str, float] = field(default_factory=dict)  # module -> ||h_T - h_0|| / ||h_0|| on probe inputs
    looks: tuple[Look, ...] = ()  # of a watched run: before the first step, on the way and at the end
    n_parameters: int = 0
    accumulate: int = 1  # micro-batches per step in the end; more than asked for after running out of memory
    seconds: float = 0.0
    device: str = "cpu"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunResult:
        values: dict[str, Any] = dict(data)
        values["outcome"] = Outcome(data["outcome"])
        values["train_curve"] = tuple(map(float, data["train_curve"]))
        values["looks"] = tuple(map(Look.from_dict, data.get("looks", ())))
        values["eval_curve"] = tuple((int(step), float(loss)) for step, loss in data["eval_curve"])
        return cls(**values)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, found {value!r}")
