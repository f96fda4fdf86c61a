"""The parameterization that a config names: a built-in table, or ``package.module:TABLE`` of the user's own."""

from __future__ import annotations

import yaml

from mutransfer.config.imports import import_string
from mutransfer.errors import ConfigError
from mutransfer.theory import rules
from mutransfer.theory.content import content_of, is_built_in, named_by_content
from mutransfer.theory.rules import Parameterization


def load_table(name: str, key: str = "parameterization") -> Parameterization:
    """The table, named as its runs are recorded: ``name@digest of its exponents`` where it is the user's own.

    Raises ConfigError where it cannot be imported, is no Parameterization, or takes a built-in one's name.
    """
    if ":" not in name:
        return rules.parameterization(name)
    table = import_string(name, key)
    if not isinstance(table, Parameterization):
        raise ConfigError(
            f"{key}: {name} is a {type(table).__name__}, expected a mutransfer.Parameterization: one Row for every Role"
        )
    if table.name in rules.TABLES and not is_built_in(table):
        raise ConfigError(
            f"{key}: {name} has the name of the built-in table {table.name!r} and other exponents; give it a name of "
            f"its own: Parameterization(name='my_{table.name}', ...)"
        )
    return named_by_content(table)


def table_yaml(table: Parameterization) -> str:
    """The content of a table as YAML, for people to read."""
    return yaml.safe_dump(content_of(table), sort_keys=False, width=120)
