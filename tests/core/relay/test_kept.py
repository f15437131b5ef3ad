"""An answer put together again: which pieces belong together."""

from harmost.core.chat import Reasoning, Text, ToolCall
from harmost.core.providers.codec import ReasoningDelta, ToolCallDelta
from harmost.core.relay.kept import Kept


def test_nothing_that_came_is_nothing() -> None:
    assert (Kept().text, Kept().parts) == ("", ())


def test_a_seal_ends_a_piece_of_reasoning() -> None:
    kept = Kept()
    for delta in (
        ReasoningDelta(text="a"),
        ReasoningDelta(text="b"),
        ReasoningDelta(signature=b"1"),
        ReasoningDelta(signature=b"hidden"),
        ReasoningDelta(text="c"),
    ):
        kept.reasoning(delta)
    assert kept.parts == (Reasoning("ab", b"1"), Reasoning("", b"hidden"), Reasoning("c"))


def test_words_around_a_tool_call_stay_around_it() -> None:
    kept = Kept()
    kept.text_piece("é".encode())
    kept.tool_call(ToolCallDelta(index=0, call_id="c", name="f"))
    kept.text_piece(b"b")
    kept.tool_call(ToolCallDelta(index=0, call_id="other", name="other", arguments="{}"))
    assert kept.parts == (Text("é"), ToolCall("c", "f", "{}"), Text("b"))
    assert kept.text == "éb"
