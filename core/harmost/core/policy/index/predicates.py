"""What an atom asks, for an index: of which one fact, and how it is answered.

An atom that asks one fact of the call can be answered once for each value of that fact. One that asks
only candidate facts can be answered once for each model. All others have to be run for each call.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from harmost.core.policy.cel.ir import (
    And,
    Call,
    Compare,
    Comparison,
    Const,
    Fact,
    Has,
    In,
    Index,
    ListOf,
    Node,
    Not,
    Or,
    children,
    walk,
)

__all__ = ["Asked", "KeyKind", "Predicate", "can_err", "predicate", "presence_of"]

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class KeyKind(StrEnum):
    """How an index looks at a fact; see index.pyi."""

    VALUE = "value"
    ENTRY = "entry"
    ELEMENTS = "elements"
    NUMBER = "number"
    FOLD_STRING = "fold_string"
    FOLD_BOOL = "fold_bool"
    FOLD_STRINGS = "fold_strings"


class Predicate(NamedTuple):
    """A question about one fact. `entry` is the key of a map whose value is asked for.

    `values`: the constants it is compared with; None with ENTRY: whether there is one. `ranges`: the
    integers it may be, bounds included. Neither: the atom itself has to be asked.
    """

    kind: KeyKind
    fact: str
    entry: str | None = None
    values: frozenset[str] | None = None
    ranges: tuple[tuple[int, int], ...] = ()


class Asked(NamedTuple):
    """What an index asks about one fact, and the lanes that hold it, in its plain or negated form.

    `values` and `ranges` are Predicate's. `unary` answers the plain form for a fact of a value: 1 if it
    holds, 0 if not, -1 if that is an error.
    """

    values: frozenset[str] | None
    ranges: tuple[tuple[int, int], ...]
    negated: bool
    unary: Callable[[object], int]
    lanes: list[int]


_FOLDS = {
    "string": KeyKind.FOLD_STRING,
    "bool": KeyKind.FOLD_BOOL,
    "list(string)": KeyKind.FOLD_STRINGS,
}
_MIRRORED: dict[Comparison, Comparison] = {
    "==": "==",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}


def predicate(atom: Node) -> Predicate | None:
    """What `atom` asks of one fact, if it is about one and can be indexed."""
    match atom:
        case In(Const("string", str(element)), Fact(name, "list(string)")):
            return Predicate(KeyKind.ELEMENTS, name, values=frozenset((element,)))
        case In(Const("string", str(key)), Fact(name, "map(string,string)")):
            return Predicate(KeyKind.ENTRY, name, key)
        case Has(Fact(name, "map(string,string)"), key):
            return Predicate(KeyKind.ENTRY, name, key)
        case In(subject, ListOf(items)) if all(isinstance(item, Const) for item in items):
            found = _one_of(subject, items)
        case Compare("==", subject, Const() as constant):
            found = _one_of(subject, (constant,))
        case Compare("==", Const() as constant, subject):
            found = _one_of(subject, (constant,))
        case Compare(op, Fact(name, "int"), Const() as constant) if op != "!=":
            return _ordered(name, op, constant)
        case Compare(op, Const() as constant, Fact(name, "int")) if op != "!=":
            return _ordered(name, _MIRRORED[op], constant)
        case _:
            found = None
    return found or _folded(atom)


def _one_of(subject: Node, items: tuple[Node, ...]) -> Predicate | None:
    constants = [item for item in items if isinstance(item, Const)]
    strings = frozenset(item.value for item in constants if isinstance(item.value, str))
    match subject:
        case Fact(name, "string"):
            # A constant of another type is never equal to a string.
            return Predicate(KeyKind.VALUE, name, values=strings)
        case Index(Fact(name, "map(string,string)"), Const("string", str(key))):
            return Predicate(KeyKind.ENTRY, name, key, values=strings)
        case Fact(name, "int"):
            parts = [_range("==", item) for item in constants]
            return Predicate(KeyKind.NUMBER, name, ranges=tuple(part for part in parts if part))
        case _:
            return None


def _ordered(name: str, op: Comparison, constant: Const) -> Predicate | None:
    if constant.kind not in ("int", "double"):
        return None
    part = _range(op, constant)
    return Predicate(KeyKind.NUMBER, name, ranges=(part,) if part else ())


def _range(op: Comparison, constant: Const) -> tuple[int, int] | None:
    """The integers n for which `n op constant`; None if there are none."""
    bound = constant.value
    if isinstance(bound, bool) or not isinstance(bound, int | float) or math.isnan(bound):
        return None
    if math.isinf(bound):
        below = bound > 0
        holds = op in ("<", "<=") if below else op in (">", ">=")
        return (_INT_MIN, _INT_MAX) if holds else None
    whole = bound == math.floor(bound)
    first, last = _INT_MIN, _INT_MAX
    if op == "==":
        if not whole:
            return None
        first = last = int(bound)
    elif op in ("<", "<="):
        last = math.floor(bound) - (op == "<" and whole)
    else:
        first = math.ceil(bound) + (op == ">" and whole)
    first, last = max(first, _INT_MIN), min(last, _INT_MAX)
    return (first, last) if first <= last else None


def _folded(atom: Node) -> Predicate | None:
    """An atom about one string, bool, list of strings, or entry of a map: answered when it is seen."""
    names = {(part.name, part.type) for part in walk(atom) if isinstance(part, Fact)}
    if len(names) != 1:
        return None
    ((name, kind),) = names
    if kind in _FOLDS:
        return Predicate(_FOLDS[kind], name)
    if kind == "map(string,string)":
        entries = _entries(atom)
        if entries is not None and len(entries) == 1:
            return Predicate(KeyKind.FOLD_STRING, name, next(iter(entries)))
    return None


def _entries(atom: Node) -> set[str] | None:
    """The keys under which `atom` looks into its map; None if it also uses the map as a whole."""
    found: set[str] = set()
    waiting = [atom]
    while waiting:
        match waiting.pop():
            case Index(Fact(), Const("string", str(key))):
                found.add(key)
            case Has(Fact(), key):
                found.add(key)
            case In(Const("string", str(key)), Fact()):
                found.add(key)
            case Fact():
                return None
            case other:
                waiting.extend(children(other))
    return found


def presence_of(atom: Node) -> tuple[str, str] | None:
    """Map and key, if `atom` asks whether the map has the key."""
    asked = predicate(atom)
    if asked is None or asked.kind is not KeyKind.ENTRY or asked.values is not None:
        return None
    return asked.fact, asked.entry or ""


def can_err(atom: Node, present: frozenset[tuple[str, str]] = frozenset()) -> bool:
    """Whether `atom` may be an error though its facts are as declared.

    `present` are the maps and keys known to be there. True also where we cannot tell.
    """
    return not _sure_type(atom, present)


_NUMBERS = frozenset({"int", "double"})
_ORDERED = _NUMBERS | {"string", "bool"}
_OF_STRINGS = frozenset({"startsWith", "endsWith", "contains", "matches"})


def _sure_type(node: Node, present: frozenset[tuple[str, str]]) -> str:
    """The type of what `node` gives whatever the facts are; "" where it may be an error."""
    types = [_sure_type(child, present) for child in children(node)]
    match node:
        case Const(kind) | Fact(_, kind):
            return kind
        case Index(Fact(name, kind), Const("string", str(key))) if (name, key) in present:
            return kind.removeprefix("map(string,").removesuffix(")")
        case _ if "" in types:
            return ""
        case Compare(op):
            return "bool" if op in ("==", "!=") or _in_order(*types) else ""
        case In(_, ListOf()):
            return "bool"
        case In(_, Fact(_, kind)) if kind.startswith(("list(", "map(")):
            return "bool"
        case Has(Fact(_, kind)) if kind.startswith("map(string,"):
            return "bool"
        case Call(function) if function in _OF_STRINGS and set(types) == {"string"}:
            return "bool"
        case Call("size") if types[0] == "string" or types[0].startswith(("list(", "map(")):
            return "int"
        case And() | Or() | Not() if set(types) == {"bool"}:
            return "bool"
        case ListOf():
            return "list"
        case _:
            return ""


def _in_order(one: str, other: str) -> bool:
    return (one == other and one in _ORDERED) or {one, other} <= _NUMBERS
