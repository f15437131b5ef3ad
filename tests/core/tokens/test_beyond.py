"""Beyond what is written: nothing is free, and with its bytes no way to print it has more tokens."""

import json

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.chat import (
    Generation,
    Media,
    Message,
    Part,
    Reasoning,
    Tool,
    ToolCall,
    ToolResult,
)
from harmost.core.tokens.beyond import tokens_max_beyond

NOTHING = Generation()


def beyond(*parts: Part) -> int:
    return tokens_max_beyond((Message("assistant", parts),), NOTHING)


def test_words_have_nothing_beyond_them() -> None:
    assert tokens_max_beyond((Message.of("user", "hi"),), NOTHING) == 0


def test_a_picture_has_its_markers_alone() -> None:
    small, large = (Media(kind="image", media_type="image/png", data=b"x" * n) for n in (1, 9_999))
    assert beyond(small) == beyond(large) > 0


def test_seals_and_what_may_be_json_count() -> None:
    assert beyond(ToolCall("c", "f", "{}")) + 2 * 3 == beyond(ToolCall("c", "f", '{}"""'))
    assert beyond(ToolResult("c", "")) + 2 * 3 == beyond(ToolResult("c", "abc"))
    assert beyond(Reasoning("hm")) + 4 == beyond(Reasoning("hm", b"seal"))


def test_names_and_ids_are_written_and_so_count_elsewhere() -> None:
    parts = (ToolCall("call", "name", "{}"), ToolResult("call", "rain"))
    assert list(Message("assistant", parts).written()) == ["call", "name", "{}", "call", "rain"]
    assert beyond(ToolCall("c", "f", "{}")) == beyond(ToolCall("cc", "ff", "{}"))


def test_tools_and_schema_count() -> None:
    tool = Generation(tools=(Tool("weather", "of a place", "{}"),))
    schema = Generation(output_schema_json='{"type":"object"}')
    assert tokens_max_beyond((), tool) > 1_024
    assert tokens_max_beyond((), schema) == 2 * 17


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=20,
        ),
    )
)
def test_json_that_is_printed_anew_fits_the_bound(value: dict[str, object]) -> None:
    """At the worst each character but the indent is a token, and each line's indent is one."""
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lines = json.dumps(value, ensure_ascii=False, indent=4).split("\n")
    tokens = sum(2 + len(line.lstrip(" ").encode("utf-8", "surrogatepass")) for line in lines)
    written = len(plain.encode("utf-8", "surrogatepass"))
    assert tokens <= written + beyond(ToolCall("", "", plain))
