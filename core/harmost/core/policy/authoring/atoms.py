"""A condition as a skeleton of `&&`, `||`, `!` and `?:` over atoms, and what it can still give.

An atom is a part that is no such connective: a comparison, a function, a macro. Tools of authors look
at conditions this way: which atoms a test has seen true and false, which one kept a rule from matching,
whether any facts make a condition true. Nothing here evaluates an atom.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from harmost.core.policy.cel.ir import And, Const, If, Node, Not, Or

__all__ = [
    "ANY",
    "ERROR",
    "FALSE",
    "TRUE",
    "Outcomes",
    "atoms_of",
    "blamed",
    "possible",
    "replaced",
]

# What a condition may give, as a set of bits. A known answer has one bit.
Outcomes: TypeAlias = int
FALSE = 1
TRUE = 2
ERROR = 4
ANY = FALSE | TRUE | ERROR


def atoms_of(node: Node) -> tuple[Node, ...]:
    """The atoms of the condition `node`, each once, in the order of the source; constants are none."""
    return tuple(dict.fromkeys(_atoms(node)))


def possible(node: Node, known: Callable[[Node], Outcomes]) -> Outcomes:
    """What `node` can give, where `known` says that of each atom. Exact where atoms are independent.

    Kleene's logic as in CEL: an operand that decides absorbs an error in another.
    """
    match node:
        case Const("bool", bool(value)):
            return TRUE if value else FALSE
        case Not(arg):
            return _swapped(possible(arg, known))
        case And(args):
            return _all([possible(arg, known) for arg in args])
        case Or(args):
            return _swapped(_all([_swapped(possible(arg, known)) for arg in args]))
        case If(condition, then, otherwise):
            given = possible(condition, known)
            outcomes = given & ERROR
            if given & TRUE:
                outcomes |= possible(then, known)
            if given & FALSE:
                outcomes |= possible(otherwise, known)
            return outcomes
        case _:
            return known(node)


def blamed(node: Node, known: Callable[[Node], Outcomes]) -> tuple[Node, ...]:
    """The atoms that made `node` give what it gave, where `known` has one answer for each.

    Of a false `&&` those are the false operands' atoms, of a true one all operands'; `||` the other
    way round.
    """
    return tuple(dict.fromkeys(_blamed(node, known)))


def replaced(node: Node, atom: Node, constant: bool) -> Node:
    """`node` with `constant` in the place of `atom`, connectives kept as they are."""
    if node == atom:
        return Const("bool", constant)
    match node:
        case Not(arg):
            return Not(replaced(arg, atom, constant))
        case And(args):
            return And(tuple(replaced(arg, atom, constant) for arg in args))
        case Or(args):
            return Or(tuple(replaced(arg, atom, constant) for arg in args))
        case If(condition, then, otherwise):
            parts = (replaced(part, atom, constant) for part in (condition, then, otherwise))
            return If(*parts)
        case _:
            return node


def _atoms(node: Node) -> Iterator[Node]:
    match node:
        case Const():
            return
        case Not(arg):
            yield from _atoms(arg)
        case And(args) | Or(args):
            for arg in args:
                yield from _atoms(arg)
        case If(condition, then, otherwise):
            for part in (condition, then, otherwise):
                yield from _atoms(part)
        case _:
            yield node


def _blamed(node: Node, known: Callable[[Node], Outcomes]) -> Iterator[Node]:
    match node:
        case Const():
            return
        case Not(arg):
            yield from _blamed(arg, known)
        case And(args) | Or(args):
            # The operands that give what the whole gives: where it is decided, those that decide it.
            given = possible(node, known)
            for arg in args:
                if possible(arg, known) == given:
                    yield from _blamed(arg, known)
        case If(condition, then, otherwise):
            yield from _blamed(condition, known)
            given = possible(condition, known)
            if given != ERROR:
                yield from _blamed(then if given == TRUE else otherwise, known)
        case _:
            yield node


def _all(parts: list[Outcomes]) -> Outcomes:
    """What `&&` of independent `parts` can give."""
    outcomes = 0
    if any(part & FALSE for part in parts):
        outcomes |= FALSE
    if all(part & TRUE for part in parts):
        outcomes |= TRUE
    # An error shows where one operand is an error and no other is false.
    if all(part & (TRUE | ERROR) for part in parts) and any(part & ERROR for part in parts):
        outcomes |= ERROR
    return outcomes


def _swapped(outcomes: Outcomes) -> Outcomes:
    return (
        (outcomes & ERROR) | (TRUE if outcomes & FALSE else 0) | (FALSE if outcomes & TRUE else 0)
    )
