"""The YAML schema of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mutransfer.theory import rules
from mutransfer.theory.rules import Role
from mutransfer.training.optimizers.table import OPTIMIZER_RULES
from mutransfer.training.spec import PRECISIONS, SCHEDULES
from mutransfer.widths import show_width, width_size

MOST = 2**31 - 1  # what an int of 32 bits holds
GREATEST = 1e12  # of a hyperparameter, which the record of runs holds as a number between -1e12 and 1e12
LOG2_BOUNDS = (-126.0, 39.0)  # of exponents: float32's from below, the record's from above
LEAST_LOG2_LR = -39.0  # the record holds learning rates from 1e-12 to 1e12
GRID_POINTS = 1000  # at most
MOST_SEEDS = 10_000
MOST_THREADS = 4096  # more than a machine has cores


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


def _checked_width(width: int | dict[str, int]) -> int | dict[str, int]:
    values = list(width.values()) if isinstance(width, Mapping) else [width]
    if not values or not all(0 < value <= MOST for value in values):
        raise ValueError(f"a width must be a positive int or a mapping of names to positive ints, found {width!r}")
    return width


def _each_once(widths: list[int | dict[str, int]]) -> list[int | dict[str, int]]:
    for i, width in enumerate(widths):
        if width in widths[:i]:
            raise ValueError(f"every width is there once; found {show_width(width)} twice")
    return widths


def _refuse_unlike(width: int | dict[str, int], base: int | dict[str, int]) -> None:
    """Raise ValueError where ``width`` is not written as ``base`` is: an int, or the same names."""
    if isinstance(width, Mapping) != isinstance(base, Mapping):
        raise ValueError(f"expected widths like base_width, {base!r}; found {width!r}")
    if isinstance(width, Mapping) and isinstance(base, Mapping) and width.keys() != base.keys():
        raise ValueError(f"expected the names of base_width, {', '.join(base)}; found {', '.join(width)}")


def _is_beyond(width: int | dict[str, int], base: int | dict[str, int]) -> bool:
    if isinstance(width, Mapping) and isinstance(base, Mapping):
        return width != base and all(width[name] >= base[name] for name in base)
    return isinstance(width, int) and isinstance(base, int) and width > base


def _takes_flags(annotation: Any) -> bool:
    """Whether a boolean may stand in a field, or a section that says so itself."""
    if isinstance(annotation, type) and issubclass(annotation, bool | BaseModel):
        return True
    return annotation is Any or any(map(_takes_flags, get_args(annotation)))


def _holds_flag(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_flag, value.values()))
    return any(map(_holds_flag, value)) if isinstance(value, list | tuple) else isinstance(value, bool)


TableName = Annotated[str, AfterValidator(_named_table)]
Optimizer = Annotated[str, AfterValidator(_named_optimizer)]
# Told apart by how they are written, so that a mistake in one is not told of the other too.
WidthValue = Annotated[
    Annotated[int, Tag("int")] | Annotated[dict[str, int], Tag("dict[str,int]")],
    Discriminator(lambda given: "dict[str,int]" if isinstance(given, Mapping) else "int"),
    AfterValidator(_checked_width),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes True for 1, so that ``base_width: yes`` would be a width of 1."""
        if not _takes_flags(cls.model_fields[info.field_name or ""].annotation) and _holds_flag(value):
            raise ValueError(
                f"expected no boolean, found {value!r}; YAML reads yes, no, on, off, true and false as booleans: quote "
                "them where text is meant"
            )
        return value


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
        low, high = self.log2 or self.linear or (0, 1)
        if not low < high:
            raise ValueError(f"low must be below high, found [{low:g}, {high:g}]")
        lowest, highest = LOG2_BOUNDS
        if self.log2 is not None and not lowest <= low < high <= highest:
            raise ValueError(f"log2 takes exponents from {lowest:g} to {highest:g}, found [{low:g}, {high:g}]")
        if self.log2 is not None and (high - low) / self.spacing > GRID_POINTS:
            raise ValueError(
                f"[{low:g}, {high:g}] with spacing {self.spacing:g} is a grid of more than {GRID_POINTS} points"
            )
        numbers = [x for x in (*(self.linear or ()), *(self.choices or ())) if not isinstance(x, str)]
        if beyond := [x for x in numbers if abs(x) > GREATEST]:
            raise ValueError(f"expected numbers up to {GREATEST:g} in size, found {beyond[0]:g}")
        return self


class AxesConfig(_Section):
    """Dimensions of a parameter: ``fan_in`` is contracted with the input, ``fan_out`` indexes the output."""

    fan_in: list[Annotated[int, Field(ge=0)]] = []
    fan_out: list[Annotated[int, Field(ge=0)]] = []

    @model_validator(mode="after")
    def _each_once(self) -> AxesConfig:
        axes = [*self.fan_in, *self.fan_out]
        if len(set(axes)) < len(axes):
            raise ValueError(
                f"every dimension is in fan_in or in fan_out, once; found {self.fan_in} and {self.fan_out}"
            )
        return self


RoleOrAxes = Annotated[
    Annotated[Role, Tag("Role")] | Annotated[AxesConfig, Tag("AxesConfig")],
    Discriminator(lambda given: "AxesConfig" if isinstance(given, Mapping | AxesConfig) else "Role"),
]


class TrainingConfig(_Section):
    """How every run trains; fields of RunSpec."""

    steps: int = Field(100, ge=1, le=MOST)
    schedule: Annotated[str, _one_of(SCHEDULES)] = "constant"
    warmup_steps: int = Field(0, ge=0)
    eval_every: int = Field(0, ge=0, le=MOST)  # steps; 0: at the start and the end
    batch_size: int = Field(0, ge=0, le=MOST)  # examples per step; 0: as many as the task's batches have
    accumulate: int = Field(1, ge=1, le=MOST)  # micro-batches per step
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

    steps: int = Field(5, ge=1, le=MOST)
    seeds: int = Field(3, ge=1, le=MOST_SEEDS)
    lr: float | None = Field(None, gt=0)  # base learning rate; None: 2^-8 for Adam, 0.1 for SGD
    widths: list[WidthValue] | None = Field(None, min_length=2)  # None: base and widths of the study

    @field_validator("widths")
    @classmethod
    def _no_width_twice(cls, widths: list[WidthValue] | None) -> list[WidthValue] | None:
        return None if widths is None else _each_once(widths)


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
    seeds: int = Field(3, ge=2, le=MOST_SEEDS)
    space: dict[str, RangeConfig] = Field(min_length=1)
    n_trials: int | None = Field(None, ge=1, le=MOST)  # for more than one hyperparameter
    perturb: list[str] | None = None  # to move one step down and up when verifying; null: all searched but lr
    perturb_width: WidthValue | None = None  # where, besides at base width; null: the largest
    fixed: dict[str, float] = {}
    sequential: bool = False  # run what decides the verdict and stop then, instead of the full grid
    budget: BudgetConfig | None = None  # sequential too
    training: TrainingConfig = TrainingConfig()
    coordinates: CoordinatesConfig = CoordinatesConfig()
    overrides: dict[str, RoleOrAxes] = {}  # parameter pattern: role, for what cannot be inferred
    check: bool = True  # measure the plan on small models before anything is trained
    device: str = "auto"  # cuda where there is one, else cpu
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS
    )  # of torch on the CPU; null: OMP_NUM_THREADS, else 1 for small models
    members: int | None = Field(
        None, ge=1, le=MOST
    )  # most runs to train as one program; null: what is fastest, 1: one by one
    storage: str | None = None  # URL of another Optuna storage; None: runs.db in the run directory

    @field_validator("widths")
    @classmethod
    def _beyond_base(cls, widths: list[WidthValue], info: ValidationInfo) -> list[WidthValue]:
        if (base := info.data.get("base_width")) is not None:
            for width in widths:
                _refuse_unlike(width, base)
                if not _is_beyond(width, base):
                    raise ValueError(
                        f"widths are beyond base_width, {show_width(base)}, where nothing is left to verify; found "
                        f"{show_width(width)}"
                    )
        return _each_once(widths)

    @field_validator("perturb_width")
    @classmethod
    def _one_of_widths(cls, width: WidthValue | None, info: ValidationInfo) -> WidthValue | None:
        if width is not None and width not in (widths := info.data.get("widths", [width])):
            raise ValueError(f"expected one of widths, {', '.join(map(show_width, widths))}; found {show_width(width)}")
        return width

    @field_validator("space")
    @classmethod
    def _log2_for_lr(cls, space: dict[str, RangeConfig]) -> dict[str, RangeConfig]:
        lr = space.get("lr")
        if lr is not None and (lr.log2 is None or lr.log2[0] < LEAST_LOG2_LR):
            raise ValueError(f"lr: the learning rate is searched on log2: [low, high], low >= {LEAST_LOG2_LR:g}")
        return space

    @field_validator("fixed")
    @classmethod
    def _small_numbers(cls, fixed: dict[str, float]) -> dict[str, float]:
        for name, value in fixed.items():
            if abs(value) > GREATEST:
                raise ValueError(f"{name}: expected a number up to {GREATEST:g} in size, found {value:g}")
        return fixed

    @field_validator("coordinates")
    @classmethod
    def _widths_like_the_base(cls, coordinates: CoordinatesConfig, info: ValidationInfo) -> CoordinatesConfig:
        if (base := info.data.get("base_width")) is not None:
            for width in coordinates.widths or []:
                _refuse_unlike(width, base)
        return coordinates

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
