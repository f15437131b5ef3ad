"""A schema is compiled with every problem told; an answer is taken only if it fits."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.errors import StepFailed
from harmost.core.mission.schema import (
    OUTPUT_CHARS_MAX,
    SCHEMA_DEPTH_MAX,
    SCHEMA_FIELDS_MAX,
    OutputSchema,
    SchemaRefused,
    compile_schema,
)


def of(properties: dict[str, Any], **more: Any) -> OutputSchema:
    return compile_schema({"type": "object", "properties": properties, **more})


EMPATHY = of({"score": {"type": "integer"}}, required=["score"])
EVERYTHING = of(
    {
        "word": {"type": "string", "enum": ["yes", "no"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 10},
        "ratio": {"type": "number", "minimum": 0.5},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "scores": {"type": "array", "items": {"type": "number"}},
        "people": {
            "type": "array",
            "items": {"type": "object", "properties": {"age": {"type": "integer"}}},
        },
        "mood": {
            "type": "object",
            "title": "Mood",
            "description": "how they feel",
            "properties": {"name": {"type": "string"}, "not-a-name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    }
)


def misfit(schema: OutputSchema, text: str) -> str:
    with pytest.raises(StepFailed) as failed:
        schema.parse(text)
    return failed.value.message


def test_fields_have_cel_types() -> None:
    assert EVERYTHING.cel_types == {
        "word": "string",
        "count": "int",
        "ratio": "double",
        "sure": "bool",
        "tags": "list(string)",
        "scores": "list(double)",
        "mood.name": "string",
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 7}',
        ' \n{"score": 7}\n ',
        '```json\n{"score": 7}\n```',
        '```\n{"score": 7}\n```\n',
        '```JSON  \n\n{"score": 7}```',
        '\ufeff{"score": 7}',
        '{"score": 7.0}',
        '{"score": 7, "why": {"not": ["declared", null, 1e9]}}',
    ],
)
def test_an_answer_that_fits_is_taken(text: str) -> None:
    output = EMPATHY.parse(text)
    assert output["score"] == 7
    assert type(output["score"]) is int


def test_every_type_is_parsed_as_its_cel_type() -> None:
    output = EVERYTHING.parse(
        '{"word": "yes", "count": 3, "ratio": 1, "sure": true, "tags": ["a"], "scores": [1, 2.5],'
        ' "people": [{"age": 40}], "mood": {"name": "calm"}}'
    )
    assert output == {
        "word": "yes",
        "count": 3,
        "ratio": 1.0,
        "sure": True,
        "tags": ["a"],
        "scores": [1.0, 2.5],
        "people": [{"age": 40}],
        "mood": {"name": "calm"},
    }
    assert type(output["ratio"]) is float
    assert type(output["scores"][0]) is float


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"word": "maybe"}, "`$.word` is none of `yes`, `no`"),
        ({"word": 1}, "`$.word` is no string"),
        ({"word": None}, "`$.word` is no string"),
        ({"count": 11}, "`$.count` is above 10"),
        ({"count": -1}, "`$.count` is below 0"),
        ({"count": 1.5}, "`$.count` is no integer"),
        ({"count": True}, "`$.count` is no integer"),
        ({"count": "3"}, "`$.count` is no integer"),
        ({"count": 2**63}, "`$.count` is no integer"),
        ({"ratio": 0.25}, "`$.ratio` is below 0.5"),
        ({"ratio": False}, "`$.ratio` is no number"),
        ({"sure": "true"}, "`$.sure` is no boolean"),
        ({"sure": 1}, "`$.sure` is no boolean"),
        ({"tags": "a"}, "`$.tags` is no array"),
        ({"tags": ["a", 1]}, "`$.tags[1]` is no string"),
        ({"people": [{"age": "old"}]}, "`$.people[0].age` is no integer"),
        ({"mood": []}, "`$.mood` is no object"),
        ({"mood": {}}, "`$.mood.name` is missing"),
        ({"mood": {"name": "x", "more": 1}}, "`$.mood.more` is not declared"),
        ([], "`$` is no object"),
        ("score", "`$` is no object"),
        (None, "`$` is no object"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_with_its_path(answer: object, said: str) -> None:
    assert misfit(EVERYTHING, json.dumps(answer)).endswith(said)


def test_only_the_first_problems_are_told() -> None:
    message = misfit(EVERYTHING, json.dumps({"tags": [1] * 100}))
    assert message.count("is no string") == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7 out of 10",
        '{"score": 7',
        '{"score": 7} and more',
        "{'score': 7}",
        "```json\n```",
        '{"score": NaN}',
        '{"score": 1e999}',
        '{"score": "\ud800"}',
        "\0",
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    assert "is not JSON" in misfit(EMPATHY, text)


def test_an_answer_is_never_repeated() -> None:
    for text in ('{"score": "bob@example.com"}', "bob@example.com"):
        assert "bob" not in misfit(EMPATHY, text)


def test_an_answer_has_a_size_and_a_depth() -> None:
    assert f"more than {OUTPUT_CHARS_MAX}" in misfit(EMPATHY, " " * (OUTPUT_CHARS_MAX + 1))
    assert "nested too deeply" in misfit(EMPATHY, "[" * 100_000)


@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_json_is_taken_or_refused(answer: object) -> None:
    try:
        EMPATHY.parse(json.dumps(answer))
    except StepFailed:
        return
    assert isinstance(answer, dict)


@pytest.mark.parametrize(
    ("schema", "path", "said"),
    [
        ({"type": "string"}, "$", "is no object"),
        ({}, "$.type", "is none of"),
        ({"type": "object", "properties": {"a": {}}}, "$.properties.a.type", "is none of"),
        (
            {"type": "object", "properties": {"a": {"type": "null"}}},
            "$.properties.a.type",
            "`array`",
        ),
        ({"type": ["object"]}, "$.type", "is none of"),
        ({"type": "object", "properties": {"a": 3}}, "$.properties.a", "is no mapping"),
        ({"type": "object", "properties": []}, "$.properties", "is no mapping"),
        ({"type": "object", "patternProperties": {}}, "$.patternProperties", "is not read"),
        ({"type": "object", "$ref": "x"}, "$.$ref", "is not read"),
        ({"type": "object", "required": ["a"]}, "$.required", "names `a`"),
        ({"type": "object", "required": "a"}, "$.required", "no list of names"),
        ({"type": "object", "additionalProperties": {}}, "$.additionalProperties", "neither"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}},
            "$.properties.a.pattern",
            "is not read of type `string`: `enum` are",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array"}}},
            "$.properties.a",
            "says nothing of its `items`",
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}
                },
            },
            "$.properties.a.items",
            "is an array in an array",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "enum": [1, "2"]}}},
            "$.properties.a.enum",
            "holds a value that is no integer",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "enum": []}}},
            "$.properties.a.enum",
            "is no list of values",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": "0"}}},
            "$.properties.a.minimum",
            "is no number",
        ),
    ],
)
def test_a_schema_outside_the_subset_is_refused_with_its_path(
    schema: dict[str, Any], path: str, said: str
) -> None:
    with pytest.raises(SchemaRefused) as refused:
        compile_schema(schema)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert said in problem.message


def test_all_problems_of_a_schema_are_told() -> None:
    with pytest.raises(SchemaRefused) as refused:
        of({"a": {"type": "x"}, "b": {"type": "string", "minimum": 1}}, required=["c"])
    assert len(refused.value.problems) == 3


def test_a_schema_has_a_depth_and_a_size() -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(SCHEMA_DEPTH_MAX):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(SchemaRefused, match="nested deeper"):
        compile_schema(deep)
    with pytest.raises(SchemaRefused, match="more than 256") as refused:
        of({f"f{index}": {"type": "string"} for index in range(10 * SCHEMA_FIELDS_MAX)})
    assert len(refused.value.problems) == 1
