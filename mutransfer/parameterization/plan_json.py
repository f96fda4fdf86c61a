"""The fields of a Plan out of JSON that anyone may have written: each is checked, and refused by its path."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from mutransfer.errors import PlanError
from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.sites import Mechanism, Site, SiteKind
from mutransfer.theory.rules import Form, Role, WdPolicy, family

Read = Callable[[Any, str], Any]  # (value, path) -> the field

_SHOWN = 60  # characters of what was found, in an error


def plan_fields(text: str) -> dict[str, Any]:
    """The fields of the plan that ``text`` holds.

    Raises:
        PlanError: it is not JSON, or a field is missing, unknown or out of its bounds, named by its path.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise PlanError("a plan is not nested as deep as this JSON") from None
    except ValueError as error:
        raise PlanError(f"a plan is JSON, and this is not: {error}") from None
    plan = _record(data, "", _PLAN, required=_PLAN.keys() - {"measurement"})
    for name in ("shapes", "fresh_rms"):
        if odd := sorted(plan[name].keys() - plan["scalings"].keys()):
            raise PlanError(f"{name}.{_short(odd[0])}: expected a parameter that scalings names too")
    if odd := sorted(plan["scalings"].keys() - plan["shapes"].keys()):
        raise PlanError(f"shapes.{_short(odd[0])}: missing, though scalings names it")
    return plan


def _record(
    data: Any, path: str, readers: Mapping[str, Read], required: Mapping[str, Any] | set[str]
) -> dict[str, Any]:
    """The fields of an object that has those of ``readers`` and no others."""
    if not isinstance(data, dict):
        raise _wrong(path or "the plan", "an object", data)
    for name in data:
        if name not in readers:
            raise PlanError(f"{_joined(path, name)}: unknown; expected {', '.join(readers)}")
    for name in required:
        if name not in data:
            raise PlanError(f"{_joined(path, name)}: missing")
    return {name: readers[name](value, _joined(path, name)) for name, value in data.items()}


def _each(read: Read) -> Read:
    """An object whose values are all read alike, whatever their names."""

    def read_all(data: Any, path: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise _wrong(path, "an object", data)
        return {name: read(value, _joined(path, name)) for name, value in data.items()}

    return read_all


def _number(expected: str, allowed: Callable[[float], bool]) -> Read:
    def read(value: Any, path: str) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            finite = is_number and math.isfinite(value)
        except OverflowError:  # a whole number that no float holds
            finite = False
        if not finite or not allowed(value):
            raise _wrong(path, expected, value)
        return value

    return read


def _one_of(allowed: Any) -> Read:
    def read(value: Any, path: str) -> Any:
        if not isinstance(value, str) or value not in list(allowed):
            raise _wrong(path, f"one of {', '.join(allowed)}", value)
        return value

    return read


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "a text", value)
    return value


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
    return value


def _optimizer(value: Any, path: str) -> str:
    try:
        family(_text(value, path))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None
    return value


def _size(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise _wrong(path, "a whole number that is not negative", value)
    return value


def _width(value: Any, path: str) -> Any:
    return _each(_size)(value, path) if isinstance(value, dict) else _size(value, path)  # 0 where it is not known


def _shape(value: Any, path: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _wrong(path, "a list of sizes", value)
    return tuple(_size(size, f"{path}.{i}") for i, size in enumerate(value))


def _norm_factor(value: Any, path: str) -> float | None:
    return None if value is None else _POSITIVE(value, path)


def _scaling(data: Any, path: str) -> Scaling:
    values = _record(data, path, _SCALING, {f.name for f in fields(Scaling) if f.default is MISSING})
    return Scaling(**(values | {"role": Role(values["role"])}))


def _site(data: Any, path: str) -> Site:
    values = _record(data, path, _SITE, _SITE)
    try:
        return Site(**values)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


def _mechanism(value: Any, path: str) -> Mechanism:
    try:
        return Mechanism.parse(_text(value, path))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


def _wrong(path: str, expected: str, found: Any) -> PlanError:
    return PlanError(f"{path}: expected {expected}, found {_short(found)}")


def _short(value: Any) -> str:
    """What was found as JSON has it, cut where it is long."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, str) and value.isidentifier() else json.dumps(value)[: _SHOWN + 1]
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _joined(path: str, name: str) -> str:
    shown = name if name.isprintable() and len(name) <= 2 * _SHOWN else _short(name)
    return f"{path}.{shown}" if path else shown


_POSITIVE = _number("a positive finite number", lambda x: x > 0)
_NOT_NEGATIVE = _number("a finite number that is not negative", lambda x: x >= 0)

_SCALING: Mapping[str, Read] = {
    "role": _one_of(Role),
    "reason": _text,
    "m_in": _POSITIVE,
    "m_out": _POSITIVE,
    "own_mult": _POSITIVE,
    "init_mult": _POSITIVE,
    "forward_mult": _POSITIVE,
    "lr_mult": _POSITIVE,
    "wd_mult": _NOT_NEGATIVE,  # some policies spare weights
    "eps_mult": _POSITIVE,
    "norm_mult": _norm_factor,
}
_SITE: Mapping[str, Read] = {"kind": _one_of(SiteKind), "factor": _POSITIVE, "mechanism": _mechanism}
_PLAN: Mapping[str, Read] = {
    "parameterization": _text,
    "optimizer": _optimizer,
    "form": _one_of(Form),
    "base_width": _width,
    "width": _width,
    "wd_policy": _one_of(WdPolicy),
    "scale_eps": _flag,
    "scalings": _each(_scaling),
    "sites": _each(_site),
    "shapes": _each(_shape),
    "fresh_rms": _each(_NOT_NEGATIVE),
    "measurement": _text,  # of plans that were written before there was any, none
}
