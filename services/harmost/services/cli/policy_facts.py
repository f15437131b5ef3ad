"""Facts on the command line: read from `name=value`, and said in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmost.core.errors import InvalidInput

__all__ = ["facts_from", "said", "value_said"]

FILE_BYTES_MAX = 1_048_576
SAID_CHARS_MAX = 400


def facts_from(words: list[str], file: Path | None) -> dict[str, Any]:
    """The facts in a YAML file, and those of `words`, each `name=value` with the value in YAML."""
    from harmost.core.resources.nodes import MappingNode
    from harmost.core.resources.shapes import plain

    facts: dict[str, Any] = {}
    if file is not None:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX)
        root = _one(str(file), content.decode("utf-8", "replace"))
        if not isinstance(root, MappingNode):
            raise InvalidInput(f"`{file}` has no facts: write `name: value` lines")
        facts = plain(root)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidInput(f"`{word[:80]}` is no fact: write `name=value`")
        facts[name] = plain(_one(f"--fact {name}", value)) if value else ""
    return facts


def said(facts: Mapping[str, Any]) -> str:
    """`facts` (Values of protobuf) as `name = value`, parted by commas; cut where that is long."""
    text = ", ".join(f"{name} = {value_said(facts[name])}" for name in sorted(facts))
    return text if len(text) <= SAID_CHARS_MAX else f"{text[:SAID_CHARS_MAX]}…"


def value_said(value: Any) -> str:
    """A Value of protobuf as JSON; whole numbers without a point."""
    return json.dumps(_builtin(value), ensure_ascii=False)


def _builtin(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "list_value":
            return [_builtin(item) for item in value.list_value.values]
        case "struct_value":
            fields = value.struct_value.fields
            return {key: _builtin(fields[key]) for key in sorted(fields)}
        case None:
            return None
        case kind:
            return getattr(value, kind)


def _one(source: str, text: str) -> Any:
    from harmost.core.resources.nodes import Unreadable, compose

    try:
        roots = list(compose(source, text))
    except Unreadable as error:
        raise InvalidInput(str(error)) from None
    if len(roots) != 1:
        raise InvalidInput(f"{source}: one YAML value is expected, there are {len(roots)}")
    return roots[0]
