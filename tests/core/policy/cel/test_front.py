"""Conditions are compiled with every problem placed, and never harm the process."""

import pytest

from harmost.core.limits import CEL_CHARS_MAX
from harmost.core.policy.cel.expression import CelProblem, ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.front import Environment

SCHEMA = Schema(
    {
        "data.classes": "list(string)",
        "subject.region": "string",
        "model.region": "string",
        "labels": "map(string,string)",
        "input.tokens": "int",
    },
    defaults=False,
)
ENVIRONMENT = Environment(SCHEMA)


def problems(source: str) -> tuple[CelProblem, ...]:
    with pytest.raises(ExpressionRefused) as refused:
        ENVIRONMENT.compile(source)
    assert refused.value.problems
    return refused.value.problems


def test_the_examples_of_the_architecture_compile() -> None:
    compiled = ENVIRONMENT.compile('"personal" in data.classes && subject.region == "EEA"')
    assert compiled.names == {"data.classes", "subject.region"}
    assert ENVIRONMENT.compile('model.region in ["EEA"]').names == {"model.region"}
    assert ENVIRONMENT.compile('"pan" in data.classes').names == {"data.classes"}


def test_a_condition_holds_or_not() -> None:
    compiled = ENVIRONMENT.compile('input.tokens > 3 && labels["env"] == "prod"')
    assert compiled.holds_for({"input.tokens": 4, "labels": {"env": "prod"}}) == (True, "")
    assert compiled.holds_for({"input.tokens": 3, "labels": {}}) == (False, "")
    frame = SCHEMA.frame({"input.tokens": 4, "labels": {"env": "prod"}})
    assert compiled.holds(frame) == (True, "")


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ('labels["env"] == "prod"', {"labels": {}}),
        ("input.tokens / 0 == 1", {"input.tokens": 1}),
        ("input.tokens * input.tokens > 0", {"input.tokens": 2**62}),
        ("input.tokens > 1", {}),
        ("input.tokens > 1", {"input.tokens": "1"}),
        ("input.tokens > 1", {"input.tokens": 2**64}),
        ('subject.region == "x"', {"subject.region": "\ud800"}),
        ('"a" in data.classes', {"data.classes": ("a",)}),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_not_an_answer(
    source: str, variables: dict[str, object]
) -> None:
    holds, error = ENVIRONMENT.compile(source).holds_for(variables)
    assert holds is False
    assert error


def test_a_loop_without_end_in_sight_is_an_error() -> None:
    source = "true"
    for depth in range(8):
        source = f"data.classes.all(x{depth}, {source})"
    assert "use fewer macros inside each other" in problems(source)[0].message


def test_problems_have_their_line_and_column() -> None:
    assert problems('subject.region == "x" &&\n  input.tokens == "y"') == (
        CelProblem(2, 16, "found no matching overload for '_==_' applied to '(int, string)'"),
    )


def test_a_map_whose_keys_take_too_long_to_compare_is_refused() -> None:
    pairs = ",".join(f"{n}+0:0" for n in range(500))
    assert "may take" in problems(f"{{{pairs}}} == {{}}")[0].message
    constant = ",".join(f"{n}:0" for n in range(1_000))  # compared once, when it is compiled
    assert ENVIRONMENT.compile(f"input.tokens in {{{constant}}}").names == {"input.tokens"}


@pytest.mark.parametrize(
    ("source", "column", "said"),
    [
        ("input.tokens > 9223372036854775808", 16, "invalid int literal"),
        ("input.tokens > -9223372036854775809", 16, "invalid int literal"),
        ("input.tokens > 0x1FFFFFFFFFFFFFFFF", 16, "invalid hex int literal"),
        (r'subject.region == "\ud800"', 19, "unicode"),
        (r'subject.region == "\q"', 19, ""),
        ('subject.region == "a\nb"', 19, ""),
        ("subject.region == 'a\x00b", 19, ""),
        ("input.tokens == 1 && \u00e9 == 2", 22, "token recognition error"),
    ],
)
def test_constants_that_are_none_are_refused_with_their_place(
    source: str, column: int, said: str
) -> None:
    first = problems(source)[0]
    assert (first.line, first.column) == (1, column)
    assert said in first.message.lower()


def test_a_string_may_hold_a_nul() -> None:
    condition = ENVIRONMENT.compile(r'subject.region == "a\x00b"')
    assert condition.holds_for({"subject.region": "a\0b"}) == (True, "")
    assert condition.holds_for({"subject.region": "a"}) == (False, "")


def test_every_problem_is_told_up_to_a_few() -> None:
    assert len(problems("a == 1 || b == 2")) == 2
    assert len(problems(" || ".join(f"a{n} == 1" for n in range(50)))) == 5


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    assert problems("data.clases == []")[0].message == (
        "`data.clases` is not known: did you mean `data.classes`?"
    )
    assert problems("zzz == 1")[0].message == "`zzz` is not known: use a declared name"


def test_an_unknown_function_gets_the_nearest_known_one() -> None:
    for source, said in (
        ('true &&\n subject.region.startswith("E")', "did you mean `startsWith`?"),
        ("matchs(subject.region, 'a')", "did you mean `matches`?"),
        ("data.classes.exist(c, true)", "did you mean `exists`?"),
        ("math.greatest(1, 2) == 2", "see docs/cel.md for all functions"),
    ):
        assert any(said in problem.message for problem in problems(source)), problems(source)


@pytest.mark.parametrize(
    ("source", "column", "said"),
    [
        ("subject.region", 1, "gives a string, not a bool"),
        ("1 + 1", 1, "gives a int, not a bool"),
        ("input.tokens &&", 16, "mismatched input '<EOF>'"),
        ("", 1, "mismatched input '<EOF>'"),
        ("   ", 4, "mismatched input '<EOF>'"),
        ("true; true", 5, "token recognition error"),
        ("true\x00", 5, "token recognition error"),
        ("/* c */ true", 1, "'/'"),
        ("timestamp(0).getHours() == 1", 22, "`getHours` is outside the profile: compare the"),
        ('duration("1s").getSeconds() == 1', 26, "`getSeconds` is outside the profile: compare"),
        ("duration(1) == duration(2)", 9, "`duration` is outside the profile"),
        ('true && b"a" == b"b"', 9, "`bytes`"),
        ("1u == 2u", 1, "`1u` is outside the profile: write an int"),
        ("type(1) == int", 5, "`type`"),
        ("dyn(1) == 1", 4, "`dyn` is outside the profile: leave it out"),
        ("google.protobuf.Int32Value{value: 3} == 3", 1, "`google.protobuf.Int32Value`"),
        ("\ud800", 1, "surrogates not allowed"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(
    source: str, column: int, said: str
) -> None:
    first = problems(source)[0]
    assert (first.line, first.column) == (1, column)
    assert said in first.message


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "missing )"),
        ("[", "missing ]"),
        ("a{1001}", "invalid repetition size"),
        ("((a{30}){30}){30}", "invalid repetition size"),
        ("(?=a)", "invalid perl operator"),
        ("(a)\\\\1", "invalid escape sequence"),
    ],
)
def test_a_pattern_that_re2_refuses_is_refused_when_loaded(pattern: str, said: str) -> None:
    (problem,) = problems(f'subject.region.matches("{pattern}")')
    assert said in problem.message
    assert problem.column == 24


def test_a_pattern_is_found_wherever_it_stands() -> None:
    for source in (
        'data.classes.exists(c, c.matches("("))',
        '{"a": subject.region.matches("(")}["a"]',
        '[subject.region.matches("(")][0]',
        'true ? matches(subject.region, "(") : false',
        '!(false || subject.region.matches("("))',
    ):
        assert "missing )" in problems(source)[0].message


def test_a_pattern_that_is_no_constant_is_refused() -> None:
    assert "not a constant" in problems("subject.region.matches(model.region)")[0].message


def test_a_pattern_that_ruins_backtracking_engines_runs_in_linear_time() -> None:
    compiled = ENVIRONMENT.compile('subject.region.matches("^(a+)+$")')
    assert compiled.holds_for({"subject.region": "a" * 100_000 + "!"}) == (False, "")


@pytest.mark.parametrize("megabyte", ["a" * 1_000_000, " " * 1_000_000 + "true", "(" * 1_000_000])
def test_a_megabyte_is_refused_unparsed(megabyte: str) -> None:
    (problem,) = problems(megabyte)
    assert f"more than {CEL_CHARS_MAX}" in problem.message


@pytest.mark.parametrize(
    "deep",
    [
        "(" * 2_000 + "true" + ")" * 2_000,
        "[" * 2_000 + "1" + "]" * 2_000 + " == []",
        "1" + " + 1" * 1_500 + " == 1",
        "true ? true : " * 500 + "true",
        "labels" + '["a"]' * 1_500 + ' == "a"',
        "size(" * 1_000 + "labels" + ")" * 1_000 + " == 1",
    ],
)
def test_deep_nesting_is_refused_by_name(deep: str) -> None:
    assert "nested too deeply" in problems(deep)[0].message


def test_long_but_flat_conditions_compile() -> None:
    source = " || ".join(f'subject.region == "{n}"' for n in range(250))
    assert ENVIRONMENT.compile(source).holds_for({"subject.region": "249"}) == (True, "")
    assert ENVIRONMENT.compile("!" * 8_000 + "true").holds_for({}) == (True, "")
