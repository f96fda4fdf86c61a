"""A study's YAML read and written, with errors that name file and line or the option."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mutransfer.config.schema import BudgetConfig, CoordinatesConfig, RangeConfig, StudyConfig, TrainingConfig
from mutransfer.config.yaml_text import MAX_CHARACTERS, MAX_DEPTH, parse_yaml, shortened, write_yaml
from mutransfer.errors import ConfigError

_ALTERNATIVES = ("int", "dict[str,int]", "Role", "AxesConfig")  # not keys: which of two kinds of value was read
_MOST_ERRORS = 10  # told at once


def load_config(path: Path, options: Sequence[str] = ()) -> StudyConfig:
    """The study in a YAML file, with ``a.b=c`` options over it.

    Raises ConfigError with file, line, what was found, what is allowed and the nearest valid spelling.
    """
    node, data = _read(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    for option in options:
        _set(data, option)
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        lines = [_explain(path, node, options, e) for e in error.errors(include_url=False)]
        more = [f"{path}: and {len(lines) - _MOST_ERRORS} more"] if len(lines) > _MOST_ERRORS else []
        raise ConfigError("\n".join(lines[:_MOST_ERRORS] + more)) from None


def dump_config(config: StudyConfig) -> str:
    """The study as YAML that loads to the same study."""
    return write_yaml(config.model_dump(mode="json", exclude_defaults=True))


def parse_value(option: str, text: str) -> Any:
    """The value that the option ``-o key=text`` gives."""
    try:
        return parse_yaml(text)[1]
    except (yaml.MarkedYAMLError, ValueError) as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        raise ConfigError(f"{_named(option)}: {shortened(text)} is not valid YAML ({problem})") from None


def override_place(path: Path, options: Sequence[str], config: StudyConfig, override: str) -> str:
    """The file and line, or the option, of the override of that pattern or for that parameter."""
    pattern = next((p for p in config.overrides if p == override or fnmatchcase(override, p)), "")
    return _origin(path, _read(path)[0], options, ["overrides", pattern])


def _read(path: Path) -> tuple[yaml.Node | None, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a YAML file, found bytes that are no text") from None
    try:
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


def _set(data: dict[str, Any], option: str) -> None:
    path, equals, value = option.partition("=")
    if not equals or not path:
        raise ConfigError(f"{_named(option)}: expected a.b=value")
    *parents, last = path.split(".")
    if len(parents) > MAX_DEPTH:
        raise ConfigError(f"{_named(option)}: keys nested more than {MAX_DEPTH} deep")
    for key in parents:
        # Copied: in YAML two keys may stand for one mapping, and the option names one of them.
        data[key] = dict(data[key]) if isinstance(data.get(key), dict) else data.get(key)
        if data[key] is None:
            data[key] = {}
        data = data[key]
        if not isinstance(data, dict):
            raise ConfigError(f"{_named(option)}: {key!r} holds a value, not keys")
    data[last] = parse_value(option, value)


def _named(option: str) -> str:
    return f"option -o {option if len(option) <= 120 else option[:120] + '...'}"


def _explain(path: Path, node: yaml.Node | None, options: Sequence[str], error: Mapping[str, Any]) -> str:
    location = [part for part in error["loc"] if part not in _ALTERNATIVES]
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
    found = "" if error["type"] == "value_error" else f", found {shortened(error['input'])}"
    return f"{where}: {key}: {message}{found}" if key else f"{where}: {message}{found}"


def _origin(path: Path, node: yaml.Node | None, options: Sequence[str], location: Sequence[Any]) -> str:
    """The place where a person wrote what is at ``location``: the option that set it, else the file and line."""
    at = list(map(str, location))
    for option in reversed(options):
        keys = option.partition("=")[0].split(".")
        common = min(len(keys), len(at))
        if common and keys[:common] == at[:common]:
            return _named(option)
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
