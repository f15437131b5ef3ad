"""Variables stand for their expressions, wherever a condition names them and nowhere else."""

import pytest

from harmost.core.limits import POLICY_VARIABLES_MAX
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.rules import PoliciesRefused, RuleError
from harmost.core.resources.kinds import Metadata, PolicySpec, Rule


def decided(when: str, variables: dict[str, str], **facts: object) -> str:
    policy = PolicySpec(rules=(Rule(name="a", when=when, deny="x"),), variables=variables)
    engine = compile_policies([(Metadata(name="p"), policy)], generation=1)
    return engine.decide({k.replace("__", "."): v for k, v in facts.items()}, [], now_s=0).effect  # type: ignore[misc]


def errors(when: str, variables: dict[str, str]) -> list[RuleError]:
    with pytest.raises(PoliciesRefused) as refused:
        decided(when, variables)
    return list(refused.value.errors)


def test_a_variable_stands_for_its_expression() -> None:
    variables = {"eu": 'subject.region == "EEA"'}
    assert decided("variables.eu", variables, subject__region="EEA") == "deny"
    assert decided("variables.eu", variables, subject__region="US") == "allow"


def test_a_variable_is_one_operand_whatever_stands_in_it() -> None:
    variables = {"either": 'purpose == "a" || purpose == "b"'}
    assert decided("channel.tls && variables.either", variables, purpose="b") == "allow"
    assert decided("!variables.either", variables, purpose="c") == "deny"


def test_variables_may_be_of_any_type_and_name_each_other_in_any_order() -> None:
    variables = {
        "here": "subject.region in variables.regions",
        "regions": '["EEA", variables.more]',
        "more": '"UK"',
        "limit": "input.tokens + 1",
    }
    assert decided("variables.here && variables.limit > 5", variables, input__tokens=5) == "allow"
    facts = {"subject__region": "UK", "input__tokens": 5}
    assert decided("variables.here && variables.limit > 5", variables, **facts) == "deny"


@pytest.mark.parametrize(
    "when",
    [
        'purpose == "variables.x"',
        "purpose == 'variables.x'",
        'purpose == r"variables.x"',
        'purpose == """variables.x"""',
        'purpose == "\\"variables.x" || purpose == \'variables.x\'',
        'purpose == "variables.x" // variables.x is a string here',
    ],
)
def test_a_name_in_a_string_or_comment_is_no_variable(when: str) -> None:
    assert decided(when, {"x": "false"}, purpose="variables.x") == "deny"


def test_a_problem_in_a_variable_is_placed_in_it_and_told_once() -> None:
    found = errors(
        "variables.bad && variables.worse", {"bad": 'purpos == "x"', "worse": "variables.bad"}
    )
    assert [(error.rule, error.path, error.line, error.column) for error in found] == [
        ("bad", ("variables", "bad"), 1, 1)
    ]
    assert found[0].message == "`purpos` is not known: did you mean `purpose`?"


def test_a_problem_after_a_variable_is_placed_as_it_is_written() -> None:
    (error,) = errors('variables.x &&\n variables.x && purpos == ""', {"x": "channel.tls"})
    assert (error.path, error.line, error.column) == (("rules", 0, "when"), 2, 17)


def test_a_problem_with_a_variable_is_placed_where_it_is_named() -> None:
    (error,) = errors('channel.tls && variables.x == "a"', {"x": "1 + 1 + 1 + 1 + 1"})
    assert (error.line, error.column) == (1, 28)  # the operator that does not fit
    (error,) = errors("channel.tls && variables.x", {"x": "1 + 1"})
    assert error.line == 1
    assert error.column in range(13, 17)


def test_variables_in_a_circle_are_refused_with_the_way_round() -> None:
    found = errors("variables.a", {"a": "variables.b", "b": "variables.c", "c": "variables.a"})
    assert len(found) == 1
    assert "`a`" in found[0].message
    assert found[0].message.endswith("break the circle")
    (own,) = errors("variables.a", {"a": "!variables.a"})
    assert "`a` → `a`" in own.message


def test_a_variable_that_is_not_declared_is_refused_with_a_hint() -> None:
    (error,) = errors("channel.tls && variables.eus", {"eu": "true"})
    assert (error.line, error.column) == (1, 16)
    assert error.message == "variable `eus` is not declared: did you mean `eu`?"
    (error,) = errors("variables.x", {})
    assert error.message == "variable `x` is not declared: declare it under `variables`"


@pytest.mark.parametrize("name", ["", "1a", "a b", "a.b", "x" * 65, "é"])
def test_a_name_that_cannot_be_written_is_refused(name: str) -> None:
    (error,) = errors("true", {name: "true"})
    assert "is no name" in error.message


def test_an_empty_variable_is_refused() -> None:
    (error,) = errors("true", {"x": " "})
    assert "says nothing" in error.message


def test_variables_that_double_each_other_are_bounded() -> None:
    variables = {"v0": "channel.tls"}
    for number in range(1, 60):
        variables[f"v{number}"] = f"variables.v{number - 1} || variables.v{number - 1}"
    found = errors("variables.v59", variables)
    assert len(found) == 1  # where it first grows too long; what names that is not told again
    assert "with its variables put in" in found[0].message


def test_more_variables_than_the_bound_are_refused() -> None:
    found = errors("true", {f"v{n}": "true" for n in range(POLICY_VARIABLES_MAX + 1)})
    assert f"more than {POLICY_VARIABLES_MAX}" in found[0].message


@pytest.mark.parametrize("item", ["purpose", "request", "variables"])
def test_a_macro_s_item_may_not_hide_what_a_variable_asks_about(item: str) -> None:
    when = f'["a"].exists({item}, variables.x)'
    (error,) = errors(when, {"x": 'purpose == "a"'})
    assert (error.line, error.column) == (1, 14)
    assert "called like a fact" in error.message
    assert decided('["a"].exists(c, variables.x)', {"x": 'purpose == "a"'}, purpose="b") == "allow"
    without = f'["a"].exists({item}, {item} == "a")'
    assert decided(without, {"x": 'purpose == "a"'}) == "deny"  # nothing is put in there
