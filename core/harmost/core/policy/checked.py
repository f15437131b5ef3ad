"""What a type-checked CEL expression asks about and calls, read from its serialized `CheckedExpr`.

A reader of the protobuf wire format for the few fields that matter: core imports no protobuf, and the
CEL library shows neither the tree nor its references.

Source: cel-spec, proto/cel/expr/{checked,syntax}.proto; protobuf encoding, "Message Structure".
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

__all__ = ["Checked", "Placed", "read_checked"]

_ANY_VALUE = 2  # google.protobuf.Any
_REFERENCE_MAP, _EXPR, _SOURCE_INFO = 2, 4, 5  # CheckedExpr
_POSITIONS = 4  # SourceInfo
_ENTRY_KEY, _ENTRY_VALUE = 1, 2  # of a map
_NAME, _OVERLOAD_ID = 1, 3  # Reference
_CONST, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 5, 6, 7, 8, 9  # Expr
_ID = 2
_STRING_VALUE, _FOREIGN = 6, {4: "uint", 7: "bytes"}  # Constant
_TARGET, _FUNCTION, _ARGUMENT = 1, 2, 3  # Expr.Call
_MESSAGE_NAME, _ENTRY, _MAP_KEY, _MAP_VALUE = 1, 2, 3, 4  # Expr.CreateStruct and its Entry

# Fields of each kind of expression that are expressions again.
_CHILDREN: Mapping[int, tuple[int, ...]] = {
    _SELECT: (1,),
    _CALL: (_TARGET, _ARGUMENT),
    _LIST: (1,),
    _COMPREHENSION: (2, 4, 5, 6, 7),
}

_VARINT, _FIXED64, _BYTES = 0, 1, 2


class Placed(NamedTuple):
    """Something that stands at character `at` of the source, counted from 0."""

    at: int
    text: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What an expression is made of. `names` are those of variables.

    `overloads` are the functions by their ids; `foreign` are types of constants beyond string, int,
    bool and double; `patterns` are the constants that `matches` is given; `unknown_patterns` stand
    where it is given something else.
    """

    names: frozenset[str]
    overloads: tuple[Placed, ...]
    foreign: tuple[Placed, ...]
    patterns: tuple[Placed, ...]
    unknown_patterns: tuple[Placed, ...]


def read_checked(serialized: bytes) -> Checked:
    """Read what `Expression.serialize()` gave. O(length x depth); the parser bounds the depth."""
    checked = _only(serialized, _ANY_VALUE)
    places = dict(_places(_only(checked, _SOURCE_INFO)))
    names: set[str] = set()
    found: dict[str, list[Placed]] = {"overload": [], "foreign": [], "pattern": [], "unknown": []}
    for number, value in _fields(checked):
        if number == _REFERENCE_MAP:
            at = places.get(_number(value, _ENTRY_KEY), 0)
            for field, text in _fields(_only(value, _ENTRY_VALUE)):
                if field == _NAME:
                    names.add(text.decode())
                elif field == _OVERLOAD_ID:
                    found["overload"].append(Placed(at, text.decode()))
        elif number == _EXPR:
            for expression_id, kind, node in _nodes(value):
                for what, said in _noted(kind, node):
                    found[what].append(Placed(places.get(expression_id, 0), said))
    return Checked(
        names=frozenset(names),
        overloads=tuple(sorted(found["overload"])),
        foreign=tuple(sorted(found["foreign"])),
        patterns=tuple(sorted(found["pattern"])),
        unknown_patterns=tuple(sorted(found["unknown"])),
    )


def _places(source_info: bytes) -> Iterator[tuple[int, int]]:
    """Id of each expression, and the character where it stands."""
    for number, entry in _fields(source_info):
        if number == _POSITIONS:
            yield _number(entry, _ENTRY_KEY), _number(entry, _ENTRY_VALUE)


def _nodes(expr: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Id, kind and body of `expr` and of all expressions inside it."""
    waiting = [expr]
    while waiting:
        expression = waiting.pop()
        expression_id = _number(expression, _ID)
        for kind, node in _fields(expression):
            yield expression_id, kind, node
            waiting += _children(kind, node)


def _children(kind: int, node: bytes) -> list[bytes]:
    if kind == _STRUCT:
        entries = [value for number, value in _fields(node) if number == _ENTRY]
        inner = [field for entry in entries for field in _fields(entry)]
        return [value for number, value in inner if number in (_MAP_KEY, _MAP_VALUE)]
    if kind in _CHILDREN:
        return [value for number, value in _fields(node) if number in _CHILDREN[kind]]
    return []


def _noted(kind: int, node: bytes) -> Iterator[tuple[str, str]]:
    """What is to be known of one expression."""
    if kind == _CALL and _only(node, _FUNCTION) == b"matches":
        pattern = _pattern(node)
        yield ("unknown", "") if pattern is None else ("pattern", pattern)
    elif kind == _CONST:
        yield from (("foreign", _FOREIGN[at]) for at, _ in _fields(node) if at in _FOREIGN)
    elif kind == _STRUCT and (name := _only(node, _MESSAGE_NAME)):
        yield "foreign", name.decode()


def _pattern(call: bytes) -> str | None:
    """The last argument of a `matches` call, if it is a string constant."""
    last = [value for number, value in _fields(call) if number == _ARGUMENT][-1]
    for number, constant in _fields(last):
        if number == _CONST:
            return _only(constant, _STRING_VALUE).decode()
    return None


def _only(message: bytes, wanted: int) -> bytes:
    """The field `wanted`, or nothing."""
    return next((value for number, value in _fields(message) if number == wanted), b"")


def _number(message: bytes, wanted: int) -> int:
    """The integer in the field `wanted`, 0 if it is absent."""
    return _varint(_only(message, wanted) or b"\0", 0)[0]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field; of a varint the bytes of the varint."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind, start = key & 7, at
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            length, start = _varint(message, at)
            at = start + length
        else:
            at += 8 if kind == _FIXED64 else 4
        yield key >> 3, message[start:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, and where the next field starts."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
