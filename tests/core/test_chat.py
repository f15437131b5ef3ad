"""What a message is made of: everything in it that can be read can be changed."""

from harmost.core.chat import Media, Message, Reasoning, Text, ToolCall, ToolResult

ALL = (
    Text("a"),
    Media(kind="image", uri="https://example.com/a"),
    Media(kind="file", media_type="application/pdf", data=b"a"),
    ToolCall("a", "a", '{"a":1}'),
    ToolResult("a", "a", is_error=True),
    Reasoning("a", b"seal"),
    Reasoning("", b"hidden"),
)


def test_what_is_written_is_all_that_can_be_read() -> None:
    written = list(Message("assistant", ALL).written())
    assert written == ["a", "https://example.com/a", "", "a", "a", '{"a":1}', "a", "a", "a", ""]


def test_a_result_still_names_its_call_when_both_are_rewritten() -> None:
    """Reasoning that is changed loses its seal, which would not fit; what cannot be read stays."""
    message = Message("assistant", ALL).rewritten(str.upper, lambda json: json + " ")
    assert message.parts == (
        Text("A"),
        Media(kind="image", uri="HTTPS://EXAMPLE.COM/A"),
        Media(kind="file", media_type="application/pdf", data=b"a"),
        ToolCall("A", "A", '{"a":1} '),
        ToolResult("A", "A", is_error=True),
        Reasoning("A"),
        Reasoning("", b"hidden"),
    )


def test_marks_stay_when_what_they_stand_on_is_rewritten() -> None:
    marked = (
        Text("a", "5m"),
        Media(kind="image", uri="https://example.com/a", cache="1h"),
        ToolCall("a", "a", "{}", "5m"),
        ToolResult("a", "a", cache="1h"),
    )
    parts = Message("user", marked).rewritten(str.upper, str.upper).parts
    assert [getattr(part, "cache", None) for part in parts] == ["5m", "1h", "5m", "1h"]


def test_its_text_is_its_words_alone() -> None:
    assert Message("assistant", (*ALL, Text("b"))).text == "ab"
    assert Message.of("user", "hi").parts == (Text("hi"),)
