"""Schemas whose objects take no other properties than they name, for vendors that ask for it.

What fits the closed schema fits the open one, so that nothing is lost but what nobody named.
"""

import json
from typing import Any, cast

__all__ = ["closed"]

_DEPTH_MAX = 64  # deeper ones stay as they are, and the vendor says what it thinks of them
_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "allOf", "oneOf", "prefixItems")


def closed(schema_json: str) -> str:
    """`schema_json`, with `additionalProperties: false` in each object that does not say otherwise."""
    schema = json.loads(schema_json)
    _close(schema, 0)
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _close(schema: Any, depth: int) -> None:
    if not isinstance(schema, dict) or depth > _DEPTH_MAX:
        return
    read = cast(dict[str, Any], schema)
    if read.get("type") == "object":
        read.setdefault("additionalProperties", False)
    below: list[Any] = [read.get("items")]
    for keyword in _NAMED:
        named: Any = read.get(keyword)
        below += named.values() if isinstance(named, dict) else ()
    for keyword in _LISTED:
        listed: Any = read.get(keyword)
        below += listed if isinstance(listed, list) else ()
    for each in below:
        _close(each, depth + 1)
