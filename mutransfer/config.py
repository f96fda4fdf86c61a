"""The YAML schema of a study, errors that name file and line, and loading the task that it names."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mutransfer.errors import ConfigError, PlanError
from mutransfer.parameterization import rules

BUILT_IN_TASKS = {
    "digits-mlp": "mutransfer.training.tasks.digits:DigitsMLP",
    "induction": "mutransfer.training.tasks.induction:InductionAttention",
    "parity": "mutransfer.training.tasks.parity:ParityMLP",
    "stdlib-gpt": "mutransfer.training.tasks.source_bytes:SourceBytesGPT",
}


def _named_table(name: str) -> str:
    try:
        return rules.parameterization(name).name
    except PlanError as error:
        raise ValueError(f"unknown parameterization {name!r}: expected one of {', '.join(rules.TABLES)}") from error


Table = Annotated[str, AfterValidator(_named_table)]
RoleName = Literal["input", "hidden", "output", "bottleneck", "vector", "scalar"]
WidthValue = int | dict[str, int]


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as in YAML 1.2; PyYAML asks for 1.0e-4."""


class _Dumper(yaml.SafeDumper):
    """Quotes a text that :class:`_Loader` would take for a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


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
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    eval_every: int = Field(0, ge=0)  # steps; 0: at the start and the end
    batch_size: int = Field(0, ge=0)  # examples per step; 0: as many as the task's batches have
    accumulate: int = Field(1, ge=1)  # micro-batches per step
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    clip_norm: float = Field(0.0, ge=0)  # largest width-invariant gradient norm; 0: no clipping
    form: Literal["forward", "absorbed"] = "forward"
    wd_policy: Literal["independent", "sqrt", "standard"] = "independent"
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
    parameterization: Table = "mup"
    compare: list[Table] = []  # controls
    optimizer: Literal["sgd", "adam", "adamw", "lion"] = "adamw"
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
    overrides: dict[str, RoleName | AxesConfig] = {}  # parameter pattern: role, for what cannot be inferred
    device: str = "auto"  # cuda where there is one, else cpu
    threads: int | None = Field(None, ge=1)  # of torch on the CPU; null: OMP_NUM_THREADS, else 1 for small models
    members: int | None = Field(None, ge=1)  # most runs to train as one program; null: what is fastest, 1: one by one
    storage: str | None = None  # URL of another Optuna storage; None: runs.db in the run directory

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


def load_config(path: Path, options: Sequence[str] = ()) -> StudyConfig:
    """The study in a YAML file, with ``a.b=c`` options over it.

    Raises ConfigError with file, line, what was found, what is allowed and the nearest valid spelling.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a YAML file, found bytes that are no text") from None
    try:
        node, data = yaml.compose(text, _Loader), yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date with a 13th month
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    for option in options:
        _set(data, option)
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(path, node, options, e) for e in error.errors())) from None


def dump_config(config: StudyConfig) -> str:
    """The study as YAML that loads to the same study."""
    return yaml.dump(config.model_dump(mode="json", exclude_defaults=True), Dumper=_Dumper, sort_keys=False)


def load_task(config: StudyConfig) -> Any:
    """The Task that the study names. Names are looked up beside the working directory too."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    task = _from_parts(config) if config.task is None else _named_task(config)
    return _overridden(task, config.overrides) if config.overrides else task


def _overridden(task: Any, overrides: Mapping[str, str | AxesConfig]) -> Any:
    from mutransfer.parameterization.layouts import Axes
    from mutransfer.training.task import OverriddenTask

    def value(given: str | AxesConfig) -> Any:
        if isinstance(given, AxesConfig):
            return Axes(fan_in=tuple(given.fan_in), fan_out=tuple(given.fan_out))
        return given

    return OverriddenTask(task, {pattern: value(given) for pattern, given in overrides.items()})


def _named_task(config: StudyConfig) -> Any:
    assert config.task is not None
    if ":" not in config.task and config.task not in BUILT_IN_TASKS:
        near = difflib.get_close_matches(config.task, BUILT_IN_TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(
            f"unknown task {config.task!r}{hint} Built in: {', '.join(BUILT_IN_TASKS)}; "
            "your own: package.module:TaskClass"
        )
    from mutransfer.training.task import check_task

    kind = import_string(BUILT_IN_TASKS.get(config.task, config.task), "task")
    try:
        return check_task(kind(**config.args))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"task {config.task} does not accept args {config.args}: {error}") from error


def import_string(text: str, key: str) -> Any:
    """The object that ``package.module:name`` names."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise ConfigError(f"{key}: expected package.module:name, found {text!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"{key}: cannot import {module!r}: {error}") from error
    except AttributeError:
        raise ConfigError(f"{key}: module {module!r} has no {name!r}") from None


def _from_parts(config: StudyConfig) -> Any:
    from mutransfer.training.task import PartsTask

    assert config.model is not None
    assert config.data is not None
    assert config.loss is not None
    return PartsTask(
        model=import_string(config.model, "model"),
        data=import_string(config.data, "data"),
        loss_fn=_loss(config.loss),
        label=f"{config.model} {config.data} {config.loss}",
    )


def _loss(name: str) -> Callable[..., Any]:
    if ":" in name:
        return import_string(name, "loss")
    import torch.nn.functional as F

    functions = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}
    if name not in functions:
        raise ConfigError(
            f"loss: expected {', '.join(functions)} or package.module:function (model, batch) -> scalar, found {name!r}"
        )
    return lambda model, batch: functions[name](*_scored(model(batch[0]), batch[1]))


def _scored(out: Any, targets: Any) -> tuple[Any, Any]:
    """The model's predictions, out of a Hugging Face output too, and targets of a shape that torch's losses take."""
    predictions = out if hasattr(out, "shape") else getattr(out, "logits", out)
    if not hasattr(predictions, "shape"):
        raise ConfigError(
            f"loss: the model returns {type(out).__name__}, neither a tensor nor an output with .logits; name a "
            "function (model, batch) -> scalar as package.module:function"
        )
    if not targets.is_floating_point() and predictions.shape[:-1] == targets.shape and targets.ndim > 1:
        return predictions.flatten(0, -2), targets.flatten()  # a class per position, as language models score
    return predictions, targets


def _set(data: dict[str, Any], option: str) -> None:
    path, equals, value = option.partition("=")
    if not equals or not path:
        raise ConfigError(f"option -o {option}: expected a.b=value")
    *parents, last = path.split(".")
    for key in parents:
        if data.get(key) is None:
            data[key] = {}
        data = data[key]
        if not isinstance(data, dict):
            raise ConfigError(f"option -o {option}: {key!r} holds a value, not keys")
    try:
        data[last] = yaml.load(value, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"option -o {option}: {value!r} is not valid YAML ({error})") from None


def _explain(path: Path, node: yaml.Node | None, options: Sequence[str], error: Mapping[str, Any]) -> str:
    location = [part for part in error["loc"] if part not in ("int", "dict[str,int]")]
    where = _origin(path, node, options, location)
    key = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        allowed = _fields(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"{where}: unknown key {key!r}{hint} Allowed here: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"{where}: {key!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if error["type"] == "value_error" else f", found {error['input']!r}"
    return f"{where}: {key}: {message}{found}" if key else f"{where}: {message}{found}"


def _origin(path: Path, node: yaml.Node | None, options: Sequence[str], location: Sequence[Any]) -> str:
    """Where a person wrote what is at ``location``: the option that set it, else the file and line."""
    at = list(map(str, location))
    for option in reversed(options):
        keys = option.partition("=")[0].split(".")
        common = min(len(keys), len(at))
        if common and keys[:common] == at[:common]:
            return f"option -o {option}"
    line = _line(node, location)
    return f"{path}:{line}" if line else str(path)


def _line(node: yaml.Node | None, location: Sequence[Any]) -> int | None:
    """The line of the deepest key on the way to ``location`` that the file has."""
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _fields(location: Sequence[Any]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "training": TrainingConfig,
        "coordinates": CoordinatesConfig,
        "space": RangeConfig,
        "budget": BudgetConfig,
    }
    owner = sections.get(str(location[0]), StudyConfig) if location else StudyConfig
    return list(owner.model_fields)
