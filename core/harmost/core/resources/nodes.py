"""YAML text into a tree of nodes that know where they stand. Knows nothing of kinds.

Values follow the core schema of YAML 1.2: `on`, `yes` and `NO` are text, so `hop: {on: [error]}`
and `region: NO` mean what they say. Tags and merge keys are not used. Bytes are bounded by the
caller; depth, and the number of nodes with aliases expanded, here.

Source: YAML 1.2.2, section 10.3.2.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn, TypeAlias

import yaml
from yaml._yaml import CParser

__all__ = [
    "DEPTH_MAX",
    "NODES_MAX",
    "MappingNode",
    "Node",
    "Place",
    "ScalarNode",
    "SequenceNode",
    "Unreadable",
    "compose",
    "core_scalar",
]

DEPTH_MAX = 32  # the deepest field of the kinds stands at 8; the rest is for JSON schemas
NODES_MAX = 2_000_000  # 24 MiB of documents hold fewer; a bomb of aliases holds more
NUMBER_CHARS_MAX = 64  # no number that a field takes is longer; int() of a long text is quadratic

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Place(NamedTuple):
    """Where something stands; lines and columns count from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


class Unreadable(Exception):
    """The text is not the YAML that is understood here."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message


class ScalarNode(NamedTuple):
    """A value. `text` is what was written; `style` is "" (plain), "'", '"', "|" or ">"."""

    place: Place
    value: str | int | float | bool | None
    text: str
    style: str


class SequenceNode(NamedTuple):
    """A list."""

    place: Place
    items: tuple["Node", ...]


class MappingNode(NamedTuple):
    """A mapping: each key once, with its own place."""

    place: Place
    keys: dict[str, Place]
    values: dict[str, "Node"]


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


def compose(source: str, text: str) -> Iterator[Node]:
    """The root of each document in `text`; `source` names it. Raises Unreadable. O(text)."""
    reader = _Reader(source, text)
    try:
        yield from reader.documents()
    except yaml.YAMLError as error:
        raise _unreadable(source, text, error) from error


def core_scalar(text: str) -> str | int | float | bool | None:
    """What plain `text` means in the core schema. A number of over 64 characters stays text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > NUMBER_CHARS_MAX or text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Reader:
    """One source's events, taken one by one."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._parser: Any = CParser(text)
        self._nodes = 0
        self._anchors: dict[str, tuple[Node | None, int]] = {}  # None: not finished yet

    def documents(self) -> Iterator[Node]:
        while True:
            event = self._parser.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._node(self._parser.get_event(), 1)

    def _node(self, event: Any, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        self._count(1, place)
        if depth > DEPTH_MAX:
            self._refuse(place, f"nested deeper than {DEPTH_MAX} levels: flatten it")
        if event.tag is not None:
            self._refuse(place, f"the tag `{event.tag[:64]}` is not used here: remove it")
        before = self._nodes
        if event.anchor is not None:
            self._anchors[event.anchor] = (None, 0)
        node = self._content(event, place, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._nodes - before + 1)
        return node

    def _content(self, event: Any, place: Place, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            value = core_scalar(event.value) if plain else event.value
            return ScalarNode(place, value, event.value, "" if plain else event.style or "")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        return self._mapping(place, depth)

    def _sequence(self, place: Place, depth: int) -> SequenceNode:
        items: list[Node] = []
        while not isinstance(event := self._parser.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return SequenceNode(place, tuple(items))

    def _mapping(self, place: Place, depth: int) -> MappingNode:
        keys: dict[str, Place] = {}
        values: dict[str, Node] = {}
        while not isinstance(event := self._parser.get_event(), yaml.MappingEndEvent):
            at = self._place(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(at, "a key must be plain text: write `name: value`")
            key = event.value
            if key in keys:
                first = keys[key]
                self._refuse(
                    at, f"`{key[:64]}` stands twice, first on line {first.line}: remove one"
                )
            keys[key] = at
            values[key] = self._node(self._parser.get_event(), depth + 1)
        return MappingNode(place, keys, values)

    def _alias(self, event: Any, place: Place) -> Node:
        node, size = self._anchors.get(event.anchor, (None, -1))
        if size == -1:
            self._refuse(place, f"`*{event.anchor[:64]}` has no anchor before it: add `&`")
        if node is None:
            self._refuse(
                place, f"`*{event.anchor[:64]}` stands inside its own anchor: write it out"
            )
        self._count(size, place)
        return node

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            self._refuse(
                place, f"more than {NODES_MAX} values, aliases counted in full: part the file"
            )

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self._source, mark.line + 1, mark.column + 1)

    def _refuse(self, place: Place, message: str) -> NoReturn:
        raise Unreadable(place, message)


def _unreadable(source: str, text: str, error: yaml.YAMLError) -> Unreadable:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source, 1, 1)
        return Unreadable(place, f"not YAML: {what}: correct it")
    position = getattr(error, "position", 0)
    before = text[:position] if isinstance(position, int) else ""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Unreadable(
        Place(source, line, column), "a character that YAML does not allow: remove it"
    )
