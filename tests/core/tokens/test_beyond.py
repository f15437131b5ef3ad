"""Input beyond words: nothing in it is free, and a tokenizer never makes more of it than the bound."""

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
from harmost.core.tokens.beyond import estimate_beyond_text, tokens_max_beyond_text

NOTHING = Generation()


def most(*parts: Part) -> int:
    return tokens_max_beyond_text((Message("assistant", parts),), NOTHING)


def test_words_and_media_count_nothing_here() -> None:
    messages = (
        Message.of("user", "hi"),
        Message("user", (Media(kind="image", media_type="image/png", data=b"x" * 99),)),
    )
    assert tokens_max_beyond_text(messages, NOTHING) == 0
    assert estimate_beyond_text(messages, NOTHING) == 0


def test_every_byte_of_a_call_counts() -> None:
    assert most(ToolCall("c", "f", "{}")) + 3 * 3 == most(ToolCall("c", "f", '{}"""'))
    assert most(ToolCall("c", "f", "{}")) + 2 == most(ToolCall("cc", "ff", "{}"))


def test_results_and_reasoning_count() -> None:
    assert most(ToolResult("c", "rain")) >= 4
    assert most(Reasoning("hm", b"seal")) >= 6


def test_tools_and_schema_count() -> None:
    tool = Generation(tools=(Tool("weather", "of a place", "{}"),))
    schema = Generation(output_schema_json='{"type":"object"}')
    assert tokens_max_beyond_text((), tool) > 1_024
    assert tokens_max_beyond_text((), schema) >= 17


@given(st.text(), st.text(), st.text())
def test_the_estimate_is_below_the_bound(call_id: str, name: str, arguments: str) -> None:
    messages = (Message("assistant", (ToolCall(call_id, name, arguments),)),)
    assert estimate_beyond_text(messages, NOTHING) <= tokens_max_beyond_text(messages, NOTHING)
