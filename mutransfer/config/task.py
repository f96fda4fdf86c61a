"""The task that a config names, built in or a user's own."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from mutransfer.config.imports import import_string
from mutransfer.config.schema import AxesConfig, StudyConfig
from mutransfer.errors import ConfigError

BUILT_IN_TASKS = {
    "digits-mlp": "mutransfer.training.tasks.digits:DigitsMLP",
    "induction": "mutransfer.training.tasks.induction:InductionAttention",
    "parity": "mutransfer.training.tasks.parity:ParityMLP",
    "stdlib-gpt": "mutransfer.training.tasks.source_bytes:SourceBytesGPT",
}


def load_task(config: StudyConfig) -> Any:
    """The Task that the study names."""
    task = _from_parts(config) if config.task is None else _named_task(config)
    return _overridden(task, config.overrides) if config.overrides else task


def _overridden(task: Any, overrides: Mapping[str, str | AxesConfig]) -> Any:
    from mutransfer.parameterization.model.layouts import Axes
    from mutransfer.training.task_adapters import OverriddenTask

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
    from mutransfer.training.task_adapters import with_args

    make = import_string(BUILT_IN_TASKS.get(config.task, config.task), "task")
    try:
        return with_args(check_task(make(**config.args)), config.args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"task {config.task} does not accept args {config.args}: {error}") from error


def _from_parts(config: StudyConfig) -> Any:
    from mutransfer.training.task_adapters import PartsTask

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
