"""Conditions as alternatives of literals: the same answer in three-valued logic, bounded in number."""

from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.limits import POLICY_ALTERNATIVES_MAX
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.ir import And, Const, Fact, In, Node, Not, Or
from harmost.core.policy.index.normal import Alternatives, Literal, alternatives

# Kleene's truth values: an error is neither.
FALSE, ERROR, TRUE = 0, 1, 2
ATOMS = tuple(Fact(f"f{number}", "bool") for number in range(4))


def truth(node: Node, values: dict[Node, int]) -> int:
    match node:
        case And(args):
            return min(truth(arg, values) for arg in args)
        case Or(args):
            return max(truth(arg, values) for arg in args)
        case Not(arg):
            return TRUE - truth(arg, values)
        case Const("bool", value):
            return TRUE if value else FALSE
        case _:
            return values[node]


def truth_of(found: Alternatives, values: dict[Node, int]) -> int:
    def literal(each: Literal) -> int:
        said = truth(each.atom, values)
        return TRUE - said if each.negated else said

    return max(
        (min((literal(each) for each in conjunction), default=TRUE) for conjunction in found),
        default=FALSE,
    )


def random_node(dice: Random, depth: int) -> Node:
    kind = dice.random()
    if depth == 0 or kind < 0.2:
        return dice.choice((*ATOMS, *ATOMS, Const("bool", True), Const("bool", False)))
    if kind < 0.4:
        return Not(random_node(dice, depth - 1))
    args = tuple(random_node(dice, depth - 1) for _ in range(dice.randint(2, 4)))
    return And(args) if kind < 0.7 else Or(args)


@given(st.integers(0, 2**32), st.booleans())
def test_alternatives_are_true_false_and_errors_where_the_condition_is(
    seed: int, negated: bool
) -> None:
    node = random_node(Random(seed), 4)
    found = alternatives(node, negated=negated)
    for said in product((FALSE, ERROR, TRUE), repeat=len(ATOMS)):
        values: dict[Node, int] = dict(zip(ATOMS, said, strict=True))
        expected = truth(node, values)
        assert truth_of(found, values) == (TRUE - expected if negated else expected)


def pairs(count: int) -> Node:
    """(a0 || b0) && (a1 || b1) && ...: 2**count alternatives."""
    return And(
        tuple(
            Or((Fact(f"a{number}", "bool"), Fact(f"b{number}", "bool"))) for number in range(count)
        )
    )


def test_more_alternatives_than_the_bound_keep_parts_whole_and_mean_the_same() -> None:
    node = pairs(9)
    found = alternatives(node)
    assert 1 < len(found) <= POLICY_ALTERNATIVES_MAX
    assert any(isinstance(each.atom, Or) for conjunction in found for each in conjunction)
    names = [Fact(f"{side}{number}", "bool") for number in range(9) for side in "ab"]
    dice = Random(1)
    for _ in range(500):
        values: dict[Node, int] = {name: dice.choice((FALSE, ERROR, TRUE, TRUE)) for name in names}
        assert truth_of(found, values) == truth(node, values)


def test_an_or_of_more_than_the_bound_stays_one_atom() -> None:
    node = Or(tuple(Fact(f"f{number}", "bool") for number in range(POLICY_ALTERNATIVES_MAX + 1)))
    assert alternatives(node) == ((Literal(node, False),),)
    assert alternatives(node, negated=True) == (tuple(Literal(arg, True) for arg in node.args),)


def test_macros_over_elements_are_questions_about_elements() -> None:
    def of(text: str) -> Alternatives:
        return alternatives(fact_environment().compile(text).node)

    pan, phi = (
        In(Const("string", name), Fact("data.classes", "list(string)")) for name in ("pan", "phi")
    )
    assert of('data.classes.exists(c, c in ["pan", "phi"])') == (
        (Literal(pan),),
        (Literal(phi),),
    )
    assert of('data.classes.all(c, c != "pan")') == ((Literal(pan, True),),)
    assert of('data.classes.all(c, !(c in ["pan", "phi"]))') == (
        (Literal(pan, True), Literal(phi, True)),
    )


def test_zeros_of_both_signs_are_different_constants() -> None:
    found = alternatives(
        fact_environment()
        .compile("1.0 / -0.0 < double(input.tokens) && 1.0 / 0.0 < double(input.tokens)")
        .node
    )
    assert len(found[0]) == 2
