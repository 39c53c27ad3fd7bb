"""YAML read strictly: a tree of plain values with the position of each. Pure (text in, values out).

YAML reads `version: 1.10` as 1.1, `no` as False, `010` as 8, keeps the last of two equal keys, and expands 400 bytes of
aliases without end. Here every plain scalar stays the text that was written (only `null`, `~` and nothing are None), and
duplicate keys, anchors, aliases, tags, great depth and great size are mistakes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from console.errors import Mistake

MAX_CHARS: Final = 1_000_000
MAX_DEPTH: Final = 20
_INDIRECTIONS: Final = {
    "anchor": "anchors and aliases (& and *) are not allowed: write the value out",
    "tag": "tags (!) are not allowed: every value is the text that is written",
}
"""What an event of the YAML library may not have, and why."""

_NULLS: Final = {"", "~", "null", "Null", "NULL"}
_INT: Final = re.compile(r"[-+]?(?:0|[1-9]\d{0,18})")
_FLOAT: Final = re.compile(r"[-+]?(?:0|[1-9]\d*)\.\d+(?:[eE][-+]?\d{1,3})?")

Path = tuple[str | int, ...]
Value = None | str | list["Value"] | dict[str, "Value"]


@dataclass(slots=True)
class Document:
    """A parsed file: its value, where each part of it stands (line and column from 1), and what was wrong with it."""

    file: str
    value: Value = None
    positions: dict[Path, tuple[int, int]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, path: Path, message: str) -> Mistake:
        """A mistake at the nearest known position of `path`."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.positions:
                line, column = self.positions[path[:length]]
                return Mistake(self.file, line, column, message)
        return Mistake(self.file, 0, 0, message)


def read_yaml(text: str, file: str) -> Document:
    """The document of `text`; mistakes are collected, never raised. An empty file is an empty mapping."""
    document = Document(file)
    if len(text) > MAX_CHARS:
        document.mistakes.append(Mistake(file, 0, 0, f"larger than {MAX_CHARS} characters"))
        return document
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_indirection(text, document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.mistakes.append(_at_mark(file, mark, f"not YAML: {error.problem or error.context}"))
        return document
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        document.mistakes.append(Mistake(file, 0, 0, f"not YAML: {str(error).splitlines()[0]}"))
        return document
    if not document.mistakes:  # what holds aliases could be expanded without end
        document.value = {} if node is None else _convert(node, (), document)
    return document


def _at_mark(file: str, mark: Any, message: str) -> Mistake:
    """A mistake where the YAML library points: its lines and columns start at 0."""
    return Mistake(file, 0, 0, message) if mark is None else Mistake(file, mark.line + 1, mark.column + 1, message)


def _refuse_indirection(text: str, document: Document) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        for name, message in _INDIRECTIONS.items():
            if getattr(event, name, None) is not None:
                document.mistakes.append(_at_mark(document.file, event.start_mark, message))


def _convert(node: yaml.Node, path: Path, document: Document) -> Value:
    document.positions[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(path) > MAX_DEPTH:
        document.mistakes.append(document.mistake(path, f"nested deeper than {MAX_DEPTH} levels"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_convert(child, (*path, index), document) for index, child in enumerate(node.value)]
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return None if is_plain and node.value in _NULLS else str(node.value)


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            document.mistakes.append(document.mistake(path, "a key must be plain text"))
            continue
        key = str(key_node.value)
        if key in found:
            document.mistakes.append(_at_mark(document.file, key_node.start_mark, f"the key {key!r} stands twice"))
            continue
        found[key] = _convert(value_node, (*path, key), document)
        document.positions[*path, key] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
    return found


def typed(value: Value) -> object:
    """The value with plain numbers and booleans of YAML 1.2's core schema resolved, for free-form parts."""
    if isinstance(value, dict):
        return {key: typed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [typed(child) for child in value]
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, str) and _INT.fullmatch(value):
        return int(value)
    if isinstance(value, str) and _FLOAT.fullmatch(value):
        return float(value)
    return value
