"""The user's own code that an object runs, as digests: what is edited in it shows, whatever file it is in."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import mutransfer

_OURS = Path(mutransfer.__file__).parent
_LIBRARY = Path(os.__file__).parent


def is_users_file(filename: str) -> bool:
    """Whether a file is neither of this package nor of an installed one nor of Python itself."""
    path = Path(filename)
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    return path.exists() and not (installed or _LIBRARY in path.parents or _OURS in path.parents)


def code_digests(roots: Iterable[Any]) -> dict[str, str]:
    """A digest by name of every function and class of the user's own that ``roots`` are or reach by name.

    Comments, line breaks and docstrings are not in it; numbers and texts of a module or class that the code names are.
    It is of compiled code, hence of one version of Python.
    """
    found: dict[str, str] = {}
    left, seen = list(roots), set[int]()
    while left:
        thing = left.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, FunctionType):
            if is_users_file(thing.__code__.co_filename):
                named = dict(_named(thing))
                defaults = (thing.__defaults__ or ()), sorted((thing.__kwdefaults__ or {}).items())
                told = _instructions(thing.__code__, thing.__doc__), _plain_values(named), _plain(defaults)
                found[f"{thing.__module__}.{thing.__qualname__}"] = _digest(told)
                left += named.values()
            left.append(getattr(thing, "__wrapped__", None))
        elif isinstance(thing, type):
            for cls in thing.__mro__:
                if is_users_file(getattr(sys.modules.get(cls.__module__), "__file__", None) or ""):
                    if values := _plain_values(vars(cls)):
                        found[f"{cls.__module__}.{cls.__qualname__}"] = _digest(values)
                    left += vars(cls).values()
        elif isinstance(thing, MethodType | staticmethod | classmethod):
            left.append(thing.__func__)
        elif isinstance(thing, property):
            left += [thing.fget, thing.fset]
        elif isinstance(thing, partial):
            left += [thing.func, *thing.args, *thing.keywords.values()]
    return found


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What the names in a function's code stand for: in its closure, its module, and modules that it names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
    names = set(_names(function.__code__))
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield name, value
        if isinstance(value, ModuleType) and is_users_file(getattr(value, "__file__", None) or ""):
            yield from ((f"{name}.{inner}", vars(value)[inner]) for inner in sorted(names & vars(value).keys()))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _instructions(code: CodeType, doc: str | None) -> tuple[Any, ...]:
    """The instructions of a function without its line numbers and docstring."""
    consts = [None if i == 0 and const == doc else const for i, const in enumerate(code.co_consts)]
    told = [_instructions(c, None) if isinstance(c, CodeType) else _plain(c) for c in consts]
    return code.co_code.hex(), code.co_names, code.co_varnames, told


def _plain_values(names: Any) -> list[tuple[str, str]]:
    values = ((name, _plain(value)) for name, value in names.items() if not name.startswith("__"))
    return sorted((name, value) for name, value in values if value)


def _plain(value: Any) -> str:
    """Numbers, texts and collections of them, as text; of anything else nothing."""
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return repr(value)
    if isinstance(value, tuple | list | set | frozenset):
        parts = [_plain(part) for part in value]
        return f"{type(value).__name__}({', '.join(parts if isinstance(value, tuple | list) else sorted(parts))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_plain(k)}: {_plain(v)}' for k, v in value.items())})"
    return ""


def _digest(told: Any) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
