"""The conformance suite of google/cel-spec: answered as expected, or refused; never answered differently."""

import cel_spec
import pytest

from harmost.core.policy.cel.expression import Expression, ExpressionRefused
from harmost.core.policy.cel.ir import decode, encode
from harmost.core.policy.cel.vm import EvaluationError


def outcome(case: cel_spec.Case) -> object:
    """The value, ERROR, or the refusal. What is evaluated went through bytes, as in a snapshot."""
    try:
        compiled = cel_spec.compile_case(case)
    except ExpressionRefused as refused:
        return refused
    expression = compiled.expression
    if case.expected_type:
        assert expression.type == case.expected_type, case.id
    if case.row.get("check_only"):
        return case.expected
    loaded = Expression(case.source, decode(encode(expression.node)), expression.program.schema)
    try:
        return loaded.program.value(loaded.program.schema.frame(compiled.values))
    except EvaluationError:
        return cel_spec.ERROR


def as_expected(got: object, case: cel_spec.Case) -> bool:
    if isinstance(got, ExpressionRefused):
        return False
    if got is case.expected or cel_spec.ERROR in (got, case.expected):
        return got is case.expected
    return cel_spec.same(got, case.expected)


def test_every_case_of_the_profile_is_answered_as_expected() -> None:
    inside = [case for case in cel_spec.cases() if case.in_profile]
    assert inside
    wrong = [
        (case.id, case.source, got, case.expected)
        for case in inside
        if not as_expected(got := outcome(case), case)
    ]
    assert wrong == []


def test_every_other_case_is_answered_as_expected_or_refused() -> None:
    outside = [case for case in cel_spec.cases() if not case.in_profile]
    assert outside
    outcomes = [(case, outcome(case)) for case in outside]
    wrong = [
        (case.id, case.source, got, case.expected)
        for case, got in outcomes
        if not isinstance(got, ExpressionRefused) and not as_expected(got, case)
    ]
    assert wrong == []
    refusals = [got for _, got in outcomes if isinstance(got, ExpressionRefused)]
    assert refusals
    assert all(problem.message for refused in refusals for problem in refused.problems)


@pytest.mark.parametrize(
    ("got", "expected"), [(1, 1.0), (True, 1), (0.0, -0.0), ("1", 1), ([1], [1.0]), (None, False)]
)
def test_the_suite_tells_values_of_different_types_apart(got: object, expected: object) -> None:
    assert not cel_spec.same(got, expected)
