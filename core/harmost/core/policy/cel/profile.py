"""CEL-H, the part of CEL that policies may use: which overloads are in it, and what to say of the rest.

In it are bool, int, double, string, list, map, timestamp, duration and null with their operators and
conversions, `has`, the macros, and `matches` with constant patterns. Nothing outside is ever answered:
it is refused when it is compiled.
"""

__all__ = ["OVERLOADS", "advice"]

# Types that have an order.
_ORDERED = ("bool", "int64", "double", "string", "timestamp", "duration")

# Ids of cel-cpp's standard overloads, those of the profile. Two of an id differ in receiver or argument.
OVERLOADS = frozenset(
    {
        *("logical_and", "logical_or", "logical_not", "not_strictly_false", "conditional"),
        *("equals", "not_equals", "in_list", "in_map", "index_list", "index_map"),
        *(f"{op}_{kind}" for op in ("less", "greater") for kind in _ORDERED),
        *(f"{op}_equals_{kind}" for op in ("less", "greater") for kind in _ORDERED),
        *(f"{op}_{kind}" for op in ("add", "subtract", "multiply") for kind in ("int64", "double")),
        *("divide_int64", "divide_double", "modulo_int64", "negate_int64", "negate_double"),
        *("add_string", "add_list", "add_timestamp_duration", "add_duration_timestamp"),
        *("add_duration_duration", "subtract_timestamp_timestamp"),
        *("subtract_timestamp_duration", "subtract_duration_duration"),
        *(f"size_{kind}" for kind in ("string", "list", "map")),
        *(f"{kind}_size" for kind in ("string", "list", "map")),
        *("starts_with_string", "ends_with_string", "contains_string"),
        *("matches", "matches_string"),
        *("bool_to_bool", "string_to_bool"),
        *("int64_to_int64", "double_to_int64", "string_to_int64", "timestamp_to_int64"),
        *("double_to_double", "int64_to_double", "string_to_double"),
        *(f"{kind}_to_string" for kind in _ORDERED),
        *("timestamp_to_timestamp", "int64_to_timestamp", "string_to_timestamp"),
        *("duration_to_duration", "string_to_duration"),
    }
)

# What to write instead of what is outside, by a part of its name.
_INSTEAD = {
    "bytes": "write a string",
    "uint": "write an int, as in `1`",
    "dyn": "leave it out and compare values of one type",
    "type": "leave it out, facts have the types that facts.yaml says",
    "optional": "ask with `has(a.b)` first",
    "message": 'write a map, as in `{"a": 1}`',
    "_to_": 'compare the time with `timestamp("2026-01-31T00:00:00Z")` or `duration("1h")`',
}


def advice(what: str, kind: str = "") -> str:
    """The refusal of `what`, which is of the `kind` (an overload id, a type) outside the profile."""
    said = kind or what
    instead = next((text for part, text in _INSTEAD.items() if part in said), "")
    instead = instead or "use the operators and functions of docs/cel.md"
    return f"`{what[:80]}` is outside the profile: {instead}"
