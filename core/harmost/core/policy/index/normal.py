"""A condition as alternatives of literals: negation at the atoms, OR outside, AND inside.

What holds for this form and not just for two-valued logic: AND, OR and NOT of CEL are those of Kleene
(an error is absorbed where another operand decides). So "is not definitely false" and "is definitely
true" both pass through AND and OR, and an index may answer either literal by literal.

An atom is what is left: a comparison, a function, a macro, `?:`. Which of them can be indexed is
decided elsewhere. Nothing here evaluates.
"""

from collections.abc import Iterable
from itertools import product
from math import prod
from typing import NamedTuple, TypeAlias

from harmost.core.limits import POLICY_ALTERNATIVES_MAX
from harmost.core.policy.cel.ir import (
    And,
    Compare,
    Const,
    Each,
    Fact,
    In,
    ListOf,
    Local,
    Node,
    Not,
    Or,
    encode,
)

__all__ = ["Alternatives", "Literal", "alternatives"]


class Literal(NamedTuple):
    """`atom`, or its opposite."""

    atom: Node
    negated: bool = False


Alternatives: TypeAlias = tuple[tuple[Literal, ...], ...]

_NEVER: Alternatives = ()
_ALWAYS: Alternatives = ((),)


def alternatives(node: Node, *, negated: bool = False) -> Alternatives:
    """The conjunctions of which `node` (or its opposite) is the disjunction.

    () never holds, ((),) always. More than POLICY_ALTERNATIVES_MAX: the part that has most stays an
    atom, so the answer is the same and only costs more.
    """
    match _simplified(node):
        case Const("bool", bool(value)):
            return _ALWAYS if value != negated else _NEVER
        case Not(arg):
            return alternatives(arg, negated=not negated)
        case And(args):
            return _either(args, negated) if negated else _both(args, negated)
        case Or(args):
            return _both(args, negated) if negated else _either(args, negated)
        case Compare("!=", left, right):
            return ((Literal(Compare("==", left, right), not negated),),)
        case atom:
            return ((Literal(atom, negated),),)


def _either(args: tuple[Node, ...], negated: bool) -> Alternatives:
    parts = [alternatives(arg, negated=negated) for arg in args]
    while sum(map(len, parts)) > POLICY_ALTERNATIVES_MAX:
        if not _largest_kept_whole(parts, args, negated):
            return ((Literal(And(args) if negated else Or(args), negated),),)
    if _ALWAYS in parts:
        return _ALWAYS
    return _distinct(conjunction for part in parts for conjunction in part)


def _both(args: tuple[Node, ...], negated: bool) -> Alternatives:
    parts = [alternatives(arg, negated=negated) for arg in args]
    while prod(map(len, parts)) > POLICY_ALTERNATIVES_MAX:
        _largest_kept_whole(parts, args, negated)
    return _distinct(
        tuple({_key(literal): literal for found in chosen for literal in found}.values())
        for chosen in product(*parts)
    )


def _distinct(conjunctions: Iterable[tuple[Literal, ...]]) -> Alternatives:
    found = {tuple(_key(literal) for literal in each): each for each in conjunctions}
    return tuple(found.values())


def _key(literal: Literal) -> tuple[bytes, bool]:
    """What tells literals apart: as nodes -0.0 and 0.0 are equal, and 1.0 divided by them is not."""
    return encode(literal.atom), literal.negated


def _largest_kept_whole(parts: list[Alternatives], args: tuple[Node, ...], negated: bool) -> bool:
    """Make an atom of the argument that has most alternatives; False if each has one."""
    largest = max(range(len(parts)), key=lambda index: len(parts[index]))
    if len(parts[largest]) <= 1:
        return False
    parts[largest] = ((Literal(args[largest], negated),),)
    return True


def _simplified(node: Node) -> Node:
    """A macro that only asks which elements a list of strings has, as those questions."""
    match node:
        case Each("exists", Fact(_, "list(string)") as over, test, None):
            elements = _elements(test)
            return _any_in(elements, over) if elements else node
        case Each("all", Fact(_, "list(string)") as over, Not(test), None):
            elements = _elements(test)
            return Not(_any_in(elements, over)) if elements else node
        case Each("all", Fact(_, "list(string)") as over, Compare("!=", left, right), None):
            elements = _elements(Compare("==", left, right))
            return Not(_any_in(elements, over)) if elements else node
        case _:
            return node


def _any_in(elements: tuple[Const, ...], over: Fact) -> Node:
    if len(elements) == 1:
        return In(*elements, over)
    return Or(tuple(In(element, over) for element in elements))


def _elements(test: Node) -> tuple[Const, ...]:
    """The strings that `test` compares the item of its macro with, if that is all it does."""
    match test:
        case Compare("==", Local(0), Const("string") as element):
            return (element,)
        case Compare("==", Const("string") as element, Local(0)):
            return (element,)
        case In(Local(0), ListOf(items)):
            found = tuple(item for item in items if isinstance(item, Const))
            strings = [item for item in found if item.kind == "string"]
            return found if len(strings) == len(items) else ()
        case _:
            return ()
