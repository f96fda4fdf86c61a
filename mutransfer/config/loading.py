"""A study's YAML read and written, with errors that name file and line or the option."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mutransfer.config.schema import BudgetConfig, CoordinatesConfig, RangeConfig, StudyConfig, TrainingConfig
from mutransfer.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as in YAML 1.2; PyYAML asks for 1.0e-4."""


class _Dumper(yaml.SafeDumper):
    """Quotes a text that :class:`_Loader` would take for a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


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
    """The place where a person wrote what is at ``location``: the option that set it, else the file and line."""
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
