"""The YAML schema of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mutransfer.theory import rules
from mutransfer.theory.rules import Role
from mutransfer.training.optimizers.table import OPTIMIZER_RULES
from mutransfer.training.spec import PRECISIONS, SCHEDULES
from mutransfer.widths import width_size


def _named_table(name: str) -> str:
    if ":" in name or name in rules.TABLES:  # an import string is followed when the study begins
        return name
    raise ValueError(
        f"unknown parameterization {name!r}: expected one of {', '.join(rules.TABLES)}, "
        "or package.module:TABLE, a mutransfer.Parameterization of your own"
    )


def _one_of(allowed: Sequence[str]) -> AfterValidator:
    """A validator for names that are listed elsewhere, in the words of pydantic's own for a Literal."""
    *others, last = map(repr, allowed)

    def checked(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"Input should be {', '.join(others)} or {last}, found {value!r}")
        return value

    return AfterValidator(checked)


def _named_optimizer(name: str) -> str:
    if name not in OPTIMIZER_RULES:
        *others, last = map(repr, OPTIMIZER_RULES)
        expected = {"expected": f"{', '.join(others)} or {last}"}
        raise PydanticCustomError("literal_error", "Input should be {expected}", expected)  # as of a Literal
    return name


TableName = Annotated[str, AfterValidator(_named_table)]
Optimizer = Annotated[str, AfterValidator(_named_optimizer)]
WidthValue = int | dict[str, int]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RangeConfig(_Section):
    """One hyperparameter: ``log2: [low, high]`` (exponents), ``linear: [low, high]`` or ``choices: [...]``."""

    log2: tuple[float, float] | None = None
    linear: tuple[float, float] | None = None
    choices: list[int | float | str] | None = Field(None, min_length=2)  # of numbers or names
    spacing: float = Field(1.0, gt=0)  # of the grid; octaves on a log2 axis

    @model_validator(mode="after")
    def _one_axis(self) -> RangeConfig:
        if sum(x is not None for x in (self.log2, self.linear, self.choices)) != 1:
            raise ValueError("give exactly one of log2: [low, high], linear: [low, high] and choices: [...]")
        if self.choices is not None:
            return self
        low, high = self.log2 or self.linear or (0, 0)
        if not low < high:
            raise ValueError(f"low must be below high, found [{low:g}, {high:g}]")
        return self


class AxesConfig(_Section):
    """Dimensions of a parameter: ``fan_in`` is contracted with the input, ``fan_out`` indexes the output."""

    fan_in: list[int] = []
    fan_out: list[int] = []


class TrainingConfig(_Section):
    """How every run trains; fields of RunSpec."""

    steps: int = Field(100, ge=1)
    schedule: Annotated[str, _one_of(SCHEDULES)] = "constant"
    warmup_steps: int = Field(0, ge=0)
    eval_every: int = Field(0, ge=0)  # steps; 0: at the start and the end
    batch_size: int = Field(0, ge=0)  # examples per step; 0: as many as the task's batches have
    accumulate: int = Field(1, ge=1)  # micro-batches per step
    precision: Annotated[str, _one_of(PRECISIONS)] = "float32"
    clip_norm: float = Field(0.0, ge=0)  # largest width-invariant gradient norm; 0: no clipping
    form: Annotated[str, _one_of([*map(str, rules.Form)])] = "forward"
    wd_policy: Annotated[str, _one_of([*map(str, rules.WdPolicy)])] = "independent"
    scale_eps: bool = True

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainingConfig:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be below steps ({self.steps})")
        return self


class BudgetConfig(_Section):
    """The most that verifying one parameterization may cost beyond the base width."""

    minutes: float | None = Field(None, gt=0)
    flops: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _some(self) -> BudgetConfig:
        if self.minutes is None and self.flops is None:
            raise ValueError("give minutes, flops or both")
        return self


class CoordinatesConfig(_Section):
    """The coordinate check."""

    steps: int = Field(5, ge=1)
    seeds: int = Field(3, ge=1)
    lr: float | None = Field(None, gt=0)  # base learning rate; None: 2^-8 for Adam, 0.1 for SGD
    widths: list[WidthValue] | None = Field(None, min_length=2)  # None: base and widths of the study


class StudyConfig(_Section):
    """One study: a task, a search at base width, a verification at larger widths."""

    task: str | None = None  # a built-in, or package.module:TaskClass
    args: dict[str, Any] = {}
    model: str | None = None  # or the parts: package.module:factory,
    data: str | None = None  # package.module:batches, called (seed, step) -> (inputs, targets),
    loss: str | None = None  # cross_entropy, mse, or package.module:function, called (model, batch)
    parameterization: TableName = "mup"  # a built-in table, or package.module:TABLE
    compare: list[TableName] = []  # controls
    optimizer: Optimizer = "adamw"
    base_width: WidthValue
    widths: list[WidthValue] = Field(min_length=1)
    seeds: int = Field(3, ge=2)
    space: dict[str, RangeConfig] = Field(min_length=1)
    n_trials: int | None = Field(None, ge=1)  # for more than one hyperparameter
    perturb: list[str] | None = None  # to move one step down and up when verifying; null: all searched but lr
    perturb_width: WidthValue | None = None  # where, besides at base width; null: the largest
    fixed: dict[str, float] = {}
    sequential: bool = False  # run what decides the verdict and stop then, instead of the full grid
    budget: BudgetConfig | None = None  # sequential too
    training: TrainingConfig = TrainingConfig()
    coordinates: CoordinatesConfig = CoordinatesConfig()
    overrides: dict[str, Role | AxesConfig] = {}  # parameter pattern: role, for what cannot be inferred
    device: str = "auto"  # cuda where there is one, else cpu
    threads: int | None = Field(None, ge=1)  # of torch on the CPU; null: OMP_NUM_THREADS, else 1 for small models
    members: int | None = Field(None, ge=1)  # most runs to train as one program; null: what is fastest, 1: one by one
    storage: str | None = None  # URL of another Optuna storage; None: runs.db in the run directory

    @property
    def largest_width(self) -> WidthValue:
        return max(self.widths, key=width_size)

    @model_validator(mode="after")
    def _task_or_parts(self) -> StudyConfig:
        parts = {"model": self.model, "data": self.data, "loss": self.loss}
        if self.task is not None and any(parts.values()):
            raise ValueError("give either task or the parts model, data and loss, not both")
        missing = [name for name, value in parts.items() if value is None]
        if self.task is None and missing:
            raise ValueError(f"no task, and of its parts {', '.join(missing)} missing")
        if self.task is None and self.args:
            raise ValueError("args are those of task; parts are called with a width, a seed and a step alone")
        return self
