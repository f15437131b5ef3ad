"""What a type-checked CEL expression asks about and calls, read from its serialized `CheckedExpr`.

A reader of the protobuf wire format for the few fields that matter: core imports no protobuf, and the
CEL library shows neither the tree nor its references.

Source: cel-spec, proto/cel/expr/{checked,syntax}.proto; protobuf encoding, "Message Structure".
"""

from collections.abc import Iterator, Mapping

import msgspec

__all__ = ["Checked", "read_checked"]

_ANY_VALUE = 2  # google.protobuf.Any
_REFERENCE_MAP, _EXPR = 2, 4  # CheckedExpr
_ENTRY_VALUE = 2  # of a map
_NAME, _OVERLOAD_ID = 1, 3  # Reference
_CONST, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 5, 6, 7, 8, 9  # Expr
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


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """`names` of variables, `overloads` of functions.

    `foreign` are types of constants beyond string, int, bool, double, list and map; `patterns` are what `matches` is given, None where that is not a constant.
    """

    names: frozenset[str]
    overloads: frozenset[str]
    foreign: tuple[str, ...]
    patterns: tuple[str | None, ...]


def read_checked(serialized: bytes) -> Checked:
    """Read what `Expression.serialize()` gave. O(length x depth); the parser bounds the depth."""
    names: set[str] = set()
    overloads: set[str] = set()
    foreign: list[str] = []
    patterns: list[str | None] = []
    for number, value in _fields(_only(serialized, _ANY_VALUE)):
        if number == _REFERENCE_MAP:
            for field, text in _fields(_only(value, _ENTRY_VALUE)):
                if field == _NAME:
                    names.add(text.decode())
                elif field == _OVERLOAD_ID:
                    overloads.add(text.decode())
        elif number == _EXPR:
            for kind, node in _nodes(value):
                if kind == _CALL and _only(node, _FUNCTION) == b"matches":
                    patterns.append(_pattern(node))
                elif kind == _CONST:
                    foreign += [_FOREIGN[at] for at, _ in _fields(node) if at in _FOREIGN]
                elif kind == _STRUCT and (name := _only(node, _MESSAGE_NAME)):
                    foreign.append(name.decode())
    return Checked(
        names=frozenset(names),
        overloads=frozenset(overloads),
        foreign=tuple(foreign),
        patterns=tuple(patterns),
    )


def _nodes(expr: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of `expr` and of all expressions inside it."""
    waiting = [expr]
    while waiting:
        for kind, node in _fields(waiting.pop()):
            yield kind, node
            if kind == _STRUCT:
                entries = [value for number, value in _fields(node) if number == _ENTRY]
                children = [field for entry in entries for field in _fields(entry)]
                waiting += [child for number, child in children if number in (_MAP_KEY, _MAP_VALUE)]
            elif kind in _CHILDREN:
                waiting += [child for number, child in _fields(node) if number in _CHILDREN[kind]]


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
