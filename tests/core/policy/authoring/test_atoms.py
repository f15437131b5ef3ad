"""What a condition can still give, and which of its parts decided."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.policy.authoring.atoms import (
    ANY,
    ERROR,
    FALSE,
    TRUE,
    atoms_of,
    blamed,
    possible,
    replaced,
)
from harmost.core.policy.cel.ir import And, Const, Fact, If, Node, Not, Or

ATOMS = tuple(Fact(name, "bool") for name in ("channel.tls", "decision.significant", "a", "b"))
leaves = st.sampled_from([*ATOMS, Const("bool", True), Const("bool", False)])


def _inner(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(below, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        several.map(And), several.map(Or), below.map(Not), st.builds(If, below, below, below)
    )


trees = st.recursive(leaves, _inner, max_leaves=8)
BITS = (FALSE, TRUE, ERROR)


def cel(node: Node, values: dict[Node, int]) -> int:
    """Kleene's logic, operand by operand: the slow twin."""
    match node:
        case Const(_, value):
            return TRUE if value else FALSE
        case Not(arg):
            return {TRUE: FALSE, FALSE: TRUE, ERROR: ERROR}[cel(arg, values)]
        case And(args):
            found = {cel(arg, values) for arg in args}
            return FALSE if FALSE in found else ERROR if ERROR in found else TRUE
        case Or(args):
            found = {cel(arg, values) for arg in args}
            return TRUE if TRUE in found else ERROR if ERROR in found else FALSE
        case If(condition, then, otherwise):
            given_ = cel(condition, values)
            return given_ if given_ == ERROR else cel(then if given_ == TRUE else otherwise, values)
        case _:
            return values[node]


@settings(max_examples=200, deadline=None)
@given(trees, st.lists(st.sampled_from(BITS), min_size=4, max_size=4))
def test_with_every_atom_known_there_is_one_outcome_that_of_cel(
    node: Node, bits: list[int]
) -> None:
    values: dict[Node, int] = dict(zip(ATOMS, bits, strict=True))
    assert possible(node, values.__getitem__) == cel(node, values)


@settings(max_examples=150, deadline=None)
@given(trees, st.lists(st.integers(1, 7), min_size=4, max_size=4))
def test_no_outcome_is_missed_while_atoms_are_open(node: Node, masks: list[int]) -> None:
    known = dict(zip(ATOMS, masks, strict=True))
    reached = 0
    for bits in product(*([bit for bit in BITS if bit & mask] for mask in masks)):
        reached |= cel(node, dict(zip(ATOMS, bits, strict=True)))
    said = possible(node, known.__getitem__)
    assert reached & ~said == 0
    if len(atoms_of(node)) == _leaves(node):  # no atom stands twice: then it is exact
        assert said == reached


def _leaves(node: Node) -> int:
    match node:
        case Const():
            return 0
        case Not(arg):
            return _leaves(arg)
        case And(args) | Or(args):
            return sum(map(_leaves, args))
        case If(condition, then, otherwise):
            return _leaves(condition) + _leaves(then) + _leaves(otherwise) + 100  # branches: bound
        case _:
            return 1


@settings(max_examples=200, deadline=None)
@given(trees, st.lists(st.sampled_from(BITS), min_size=4, max_size=4))
def test_atoms_that_are_not_blamed_do_not_matter(node: Node, bits: list[int]) -> None:
    """With the blamed ones as they are, the others may say anything."""
    values: dict[Node, int] = dict(zip(ATOMS, bits, strict=True))
    blame = blamed(node, values.__getitem__)
    outcome = cel(node, values)
    if outcome == ERROR:
        return  # an error is absorbed by what another operand decides
    said = possible(node, lambda atom: values[atom] if atom in blame else ANY)
    assert said == outcome


def test_a_false_conjunction_blames_only_what_is_false() -> None:
    tls, significant, a, b = ATOMS
    values = {tls: TRUE, significant: FALSE, a: TRUE, b: FALSE}
    node = And((tls, significant, Or((a, b))))
    assert blamed(node, values.__getitem__) == (significant,)
    assert blamed(Not(node), values.__getitem__) == (significant,)


def test_a_constant_takes_the_place_of_an_atom_everywhere() -> None:
    tls, significant, *_ = ATOMS
    node = Or((And((tls, significant)), Not(tls)))
    assert replaced(node, tls, True) == Or(
        (And((Const("bool", True), significant)), Not(Const("bool", True)))
    )
