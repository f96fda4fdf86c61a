"""YAML as configs are written in it: plain values within bounds, every key once; what is read and what is written."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_CHARACTERS = 64 * 1024  # of a file; a study takes one or two thousand, and the parser needs a second for these
MAX_DEPTH = 32  # of lists and mappings in one another
MAX_NODES = 20_000  # with what aliases stand for counted each time
_SHOWN = 80  # characters of a value in an error


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as in YAML 1.2 (PyYAML asks for 1.0e-4), and which no text can blow up."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes: dict[int, int] = {}  # id of a finished node: how many it holds, aliases followed

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        assert node is not None  # of a document's content
        self._depth -= 1
        if alias and id(node) not in self._nodes:
            raise yaml.MarkedYAMLError(problem="an alias within what it stands for", problem_mark=mark)
        self._nodes[id(node)] = 1 + sum(self._nodes[id(part)] for part in _parts(node))
        if self._nodes[id(node)] > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"aliases make it more than {MAX_NODES} values", problem_mark=mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {shortened(key.value)} is there already in line {lines[key.value]}",
                        problem_mark=key.start_mark,
                    )
                lines[key.value] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, KeyError, AttributeError, IndexError) as error:  # a date with a 13th month
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
        if isinstance(value, int) and abs(value) >= 2**63:
            raise yaml.MarkedYAMLError(problem="a whole number beyond 64 bits", problem_mark=node.start_mark)
        return value


class _Dumper(yaml.SafeDumper):
    """Quotes a text that :class:`_Loader` would take for a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
for _tag in ("binary", "set", "omap", "pairs"):  # which a config that is written again would lose
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", yaml.SafeLoader.construct_undefined)


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a text, which know their lines, and its values.

    Raises:
        ValueError: it is not valid YAML, or beyond what a config may hold, in one line of words.
        yaml.MarkedYAMLError: the same, where the line is known.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS} characters, which no study needs")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError:
        raise
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    finally:
        if loader is not None:
            loader.dispose()


def write_yaml(value: Any) -> str:
    """The text that :func:`parse_yaml` reads as ``value``."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def shortened(value: object) -> str:
    """A value as an error shows it."""
    text = repr(value)  # which shows control characters as such
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
