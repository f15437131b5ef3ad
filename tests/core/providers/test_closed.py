"""Objects of a schema are closed where they are schemas, and nowhere else."""

import json
from typing import Any

import pytest

from harmost.core.providers.closed import closed

NO = {"additionalProperties": False}
OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (OBJECT, OBJECT | NO),
        (
            {"type": "object", "properties": {"type": OBJECT, "a": {"type": "string"}}},
            {"type": "object", "properties": {"type": OBJECT | NO, "a": {"type": "string"}}} | NO,
        ),
        ({"type": "array", "items": OBJECT}, {"type": "array", "items": OBJECT | NO}),
        ({"anyOf": [OBJECT, {"type": "null"}]}, {"anyOf": [OBJECT | NO, {"type": "null"}]}),
        ({"$defs": {"a": OBJECT}, "$ref": "#/$defs/a"}, {"$defs": {"a": OBJECT | NO}, "$ref": "#/$defs/a"}),
        (OBJECT | {"additionalProperties": True}, OBJECT | {"additionalProperties": True}),
        ({"const": OBJECT, "enum": [OBJECT]}, {"const": OBJECT, "enum": [OBJECT]}),
        ({"properties": [], "anyOf": {}, "items": True}, {"properties": [], "anyOf": {}, "items": True}),
    ],
)  # fmt: skip
def test_by_example(schema: Any, made: Any) -> None:
    assert json.loads(closed(json.dumps(schema))) == made


def test_what_is_deeper_than_its_bound_stays() -> None:
    text = '{"items":' * 200 + '{"type":"object"}' + "}" * 200
    assert closed(text) == text
