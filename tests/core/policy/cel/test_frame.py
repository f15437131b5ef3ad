"""Facts become C values once, with defaults or without, and are swapped by candidate."""

import gc

import pytest

from harmost.core.policy.cel.frame import Facts, Frame, Schema
from harmost.core.policy.cel.front import Environment
from harmost.core.policy.facts import declared_facts, fact_schema

SCHEMA = Schema(
    {"n": "int", "text": "string"}, {"m.name": "string", "m.tags": "list(string)"}, defaults=True
)
ENVIRONMENT = Environment(SCHEMA)


def test_slots_are_in_order_the_request_first() -> None:
    assert SCHEMA.names == ("n", "text", "m.name", "m.tags")
    assert SCHEMA.types == ("int", "string", "string", "list(string)")
    assert SCHEMA.split == 2
    assert [SCHEMA.slot(name) for name in SCHEMA.names] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        SCHEMA.slot("other")


def test_the_schema_of_facts_is_that_of_facts_yaml() -> None:
    assert fact_schema().names == tuple(declared_facts())
    assert fact_schema() is fact_schema()
    assert fact_schema().names[fact_schema().split] == "model.name"


def test_what_is_not_given_is_empty_or_an_error() -> None:
    condition = ENVIRONMENT.compile("n == 0 && text == '' && m.name == '' && m.tags == []")
    assert condition.holds(SCHEMA.frame({})) == (True, "")
    strict = Schema({"n": "int"}, defaults=False)
    assert Environment(strict).compile("n == 0").holds_for({}) == (False, "`n` has no value")


def test_candidates_are_swapped_and_the_request_stays() -> None:
    condition = ENVIRONMENT.compile("n == 1 && m.name == 'b'")
    frame = Frame(SCHEMA)
    frame.use(SCHEMA.request({"n": 1}))
    candidates = [SCHEMA.candidate({"m.name": name}) for name in ("a", "b")]
    answers = []
    for facts in candidates:
        frame.use(facts)
        answers.append(condition.holds(frame))
    assert answers == [(False, ""), (True, "")]
    frame.clear_candidate()
    assert condition.holds(frame) == (False, "`m.name` has no value")


def test_a_new_frame_has_no_facts() -> None:
    assert ENVIRONMENT.compile("n == 0").holds(Frame(SCHEMA)) == (False, "`n` has no value")


def test_facts_keep_what_they_point_to() -> None:
    given: dict[str, object] = {"text": "".join(["long ", "text " * 100]), "m.tags": ["x" * 100]}
    frame = SCHEMA.frame(given)
    expected = str(given["text"])
    condition = ENVIRONMENT.compile(f"text == '{expected}' && '{'x' * 100}' in m.tags")
    given["m.tags"] = None
    given.clear()
    gc.collect()
    _ = ["y" * 500 for _ in range(1_000)]
    assert condition.holds(frame) == (True, "")


def test_changing_what_was_given_changes_nothing() -> None:
    tags = ["a"]
    frame = SCHEMA.frame({"m.tags": tags})
    tags[0] = "b"
    assert ENVIRONMENT.compile("m.tags == ['a']").holds(frame) == (True, "")


def test_facts_of_another_schema_are_refused() -> None:
    other = Schema({"n": "int"}, defaults=True)
    with pytest.raises(ValueError, match="another schema"):
        Frame(SCHEMA).use(other.request({}))
    with pytest.raises(TypeError, match="made by a schema"):
        Facts()


@pytest.mark.parametrize(
    "kind", ["", "uint", "list()", "list", "map(string)", "bytes", "x" * 1_000]
)
def test_what_is_no_type_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="is no type of a fact"):
        Schema({"n": kind}, defaults=True)


@pytest.mark.parametrize(
    "given", [object(), b"x", {1.5: 1}, (1,), {"a": {1, 2}}, [[[[]]] * 2, 2**64], "\udc80"]
)
def test_a_value_that_cel_lacks_is_an_error_of_what_asks_for_it(given: object) -> None:
    schema = Schema({"x": "dyn", "n": "int"}, defaults=True)
    environment = Environment(schema)
    frame = schema.frame({"x": given, "n": 1})
    assert environment.compile("n == 1").holds(frame) == (True, "")
    assert environment.compile("x == 1").holds(frame)[1].startswith("`x` has a value of another")


def test_a_value_without_end_is_an_error() -> None:
    endless: list[object] = []
    endless.append(endless)
    schema = Schema({"x": "dyn"}, defaults=True)
    frame = schema.frame({"x": endless})
    assert Environment(schema).compile("x == 1").holds(frame)[0] is False
