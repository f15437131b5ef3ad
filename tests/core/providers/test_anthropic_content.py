"""Tools, media, schemas and reasoning in messages, as the official client's own types have them."""

import json
from functools import partial
from typing import Any

import pytest
from answer_twin import ParserTwin, sse
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from official_body import PNG, WEATHER, official_body
from pydantic import TypeAdapter

from harmost.core.chat import (
    Generation,
    Media,
    Message,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.anthropic import VERSIONS, AnthropicCodec
from harmost.core.providers.codec import (
    Ended,
    Event,
    Fit,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UpstreamRequest,
)

CODEC = AnthropicCodec()
OFFICIAL: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)
body = partial(official_body, CODEC, OFFICIAL)


def test_a_conversation_with_tools_is_said_as_the_vendor_says_it() -> None:
    said = body(
        (
            Message.of("user", "how is it in Bern?"),
            Message(
                "assistant",
                (
                    Reasoning("hm", b"seal"),
                    Reasoning("", b"hidden"),
                    Text("let me see"),
                    ToolCall("c1", "weather", '{"place":"Bern"}'),
                ),
            ),
            Message("tool", (ToolResult("c1", "rain"), ToolResult("c2", "?", is_error=True))),
        )
    )["messages"]
    assert said == [
        {"role": "user", "content": "how is it in Bern?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "seal"},
                {"type": "redacted_thinking", "data": "hidden"},
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"place": "Bern"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "?", "is_error": True},
            ],
        },
    ]


def test_media_go_inline_by_address_or_by_id() -> None:
    parts = (
        Text("see"),
        Media(kind="image", media_type="image/png", data=PNG),
        Media(kind="image", uri="https://example.com/a.png"),
        Media(kind="file", media_type="application/pdf", data=b"%PDF"),
        Media(kind="file", file_id="file_1"),
    )
    (message,) = body((Message("user", parts),))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "see"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"},
        },
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
        },
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]


def test_what_has_no_form_is_told() -> None:
    sound = Message("user", (Media(kind="audio", media_type="audio/wav", data=b"RIFF"),))
    assert CODEC.fit((sound,), Generation()) == Fit(lacks=("audio",))
    assert CODEC.fit((Message.of("user", "hi"),), Generation(seed=1)) == Fit(drops=("seed",))


def test_reasoning_without_a_seal_is_left_out_and_told() -> None:
    """Of another vendor's model, or redacted: this one would refuse the whole request."""
    bare = Message("assistant", (Reasoning("hm"),))
    mixed = Message("assistant", (Reasoning("hm"), Text("so"), Reasoning("ah", b"seal")))
    said = body((Message.of("user", "hi"), bare, mixed))["messages"]
    assert said[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "so"},
                {"type": "thinking", "thinking": "ah", "signature": "seal"},
            ],
        }
    ]
    assert CODEC.fit((bare,), Generation()) == Fit(drops=("reasoning",))
    assert CODEC.fit((mixed,), Generation(seed=1)) == Fit(drops=("seed", "reasoning"))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice(), {"type": "auto"}),
        (ToolChoice("none"), {"type": "none"}),
        (ToolChoice("required"), {"type": "any"}),
        (ToolChoice("named", "weather"), {"type": "tool", "name": "weather"}),
        (ToolChoice(one_at_a_time=True), {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("none", one_at_a_time=True), {"type": "none"}),
    ],
)
def test_tools_are_offered(choice: ToolChoice, said: object) -> None:
    asked = body(tools=(WEATHER, Tool("now")), tool_choice=choice)
    assert asked["tools"] == [
        {
            "name": "weather",
            "description": "of a place",
            "input_schema": json.loads(WEATHER.parameters_schema_json),
        },
        {"name": "now", "input_schema": {"type": "object"}},
    ]
    assert asked["tool_choice"] == said


def test_a_schema_and_an_effort_are_asked_for() -> None:
    asked = body(output_schema_json='{"type":"object"}', reasoning_effort="low")
    assert asked["output_config"] == {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {"type": "object", "additionalProperties": False},
        },
    }
    assert asked["thinking"] == {"type": "adaptive"}


def test_reasoning_can_be_turned_off() -> None:
    asked = body(reasoning_effort="none")
    assert asked["thinking"] == {"type": "disabled"}
    assert "output_config" not in asked


def test_a_text_without_a_word_is_left_out_beside_a_call() -> None:
    """Models write it before they call; handed back it would be refused with all the rest."""
    said = body((Message("assistant", (Text("\n\n"), ToolCall("c1", "weather", "{}"))),))
    assert [block["type"] for block in said["messages"][0]["content"]] == ["tool_use"]


MINUTES = {"type": "ephemeral", "ttl": "5m"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def test_marks_are_said_where_they_stand() -> None:
    call = Message("assistant", (Text("see"), ToolCall("c1", "weather", "{}", "5m")))
    said = body(
        (
            Message.of("system", "of the profile"),
            Message("system", (Text("rules"), Text(" and law", "1h"), Text("today"))),
            Message(
                "user", (Text("hi", "1h"), Media(kind="image", data=PNG, media_type="image/png"))
            ),
            call,
            Message("tool", (ToolResult("c1", "rain"),)),
        ),
        tools=(Tool("now", cache="1h"), WEATHER),
    )
    assert said["system"] == [
        {"type": "text", "text": "of the profile\n\nrules and law", "cache_control": HOUR},
        {"type": "text", "text": "today"},
    ]
    assert said["messages"][0]["content"][0] == {
        "type": "text",
        "text": "hi",
        "cache_control": HOUR,
    }
    assert said["messages"][1]["content"][1]["cache_control"] == MINUTES
    assert [tool.get("cache_control") for tool in said["tools"]] == [HOUR, None]
    assert str(said).count("cache_control") == 4


def test_of_more_than_four_marks_the_last_are_said_and_it_is_told() -> None:
    asked = Message("user", tuple(Text(str(n), "5m") for n in range(6)))
    (message,) = body((asked,))["messages"]
    marked = [block["text"] for block in message["content"] if "cache_control" in block]
    assert marked == ["2", "3", "4", "5"]
    assert CODEC.fit((asked,), Generation()) == Fit(drops=("cache",))
    four = Message("user", asked.parts[:4])
    assert CODEC.fit((four,), Generation()) == Fit()


LATER = AnthropicCodec(VERSIONS[1])


def test_the_later_version_takes_no_sampling_and_it_is_told() -> None:
    wishes = {"temperature_permille": 700, "top_p_permille": 900}
    said = official_body(LATER, OFFICIAL, **wishes)
    assert said.keys() == {"model", "max_tokens", "messages", "stream"}
    hello = (Message.of("user", "hi"),)
    assert LATER.fit(hello, Generation(**wishes)) == Fit(drops=tuple(wishes))  # type: ignore[arg-type]
    assert LATER.fit(hello, Generation(temperature_permille=0)).drops == ("temperature_permille",)
    assert CODEC.fit(hello, Generation(**wishes)) == Fit()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wishes", "dropped"),
    [
        ({"temperature_permille": 1_000}, ()),
        ({"temperature_permille": 1_001}, ("temperature_permille",)),
        ({"temperature_permille": 1_000, "reasoning_effort": "low"}, ()),
        ({"temperature_permille": 999, "reasoning_effort": "low"}, ("temperature_permille",)),
        ({"temperature_permille": 999, "reasoning_effort": "none"}, ()),
        ({"top_p_permille": 950, "reasoning_effort": "high"}, ()),
        ({"top_p_permille": 949, "reasoning_effort": "high"}, ("top_p_permille",)),
        ({"reasoning_effort": "low", "tools": (WEATHER,)}, ()),
        (
            {
                "reasoning_effort": "low",
                "tools": (WEATHER,),
                "tool_choice": ToolChoice("required"),
                "temperature_permille": 1,
            },
            ("reasoning_effort",),
        ),
        ({"reasoning_effort": "low", "tool_choice": ToolChoice("required")}, ()),
    ],
)
def test_what_it_refuses_together_is_left_out_and_told(
    wishes: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    hello = (Message.of("user", "hi"),)
    asked = UpstreamRequest(
        vendor_model_id="m", messages=hello, output_tokens_max=9, generation=Generation(**wishes)
    )
    said = json.loads(CODEC.request(asked).body)
    assert CODEC.fit(hello, asked.generation) == Fit(drops=dropped)
    assert ("temperature" in said) == ("temperature_permille" in wishes.keys() - set(dropped))
    assert ("top_p" in said) == ("top_p_permille" in wishes.keys() - set(dropped))
    assert ("output_config" in said) == (
        wishes.get("reasoning_effort") == "low" and "reasoning_effort" not in dropped
    ) or wishes.get("reasoning_effort") == "high"


def test_each_version_names_itself_and_has_its_own_header_for_the_key() -> None:
    request = UpstreamRequest(
        vendor_model_id="m", messages=(Message.of("user", "hi"),), output_tokens_max=9
    )
    codecs = (CODEC, LATER)
    assert [c.request(request).headers["anthropic-version"] for c in codecs] == list(VERSIONS)
    assert [c.auth_headers("k") for c in codecs] == [
        {"x-api-key": "k"},
        {"authorization": "Bearer k"},
    ]
    assert [c.auth_headers("") for c in codecs] == [{}, {}]


def frame(kind: str, **fields: Any) -> bytes:
    return sse(json.dumps({"type": kind, **fields}).encode(), event=kind)


def begin(index: int, **block: Any) -> bytes:
    return frame("content_block_start", index=index, content_block=block)


def piece(index: int, **delta: Any) -> bytes:
    return frame("content_block_delta", index=index, delta=delta)


def end(index: int) -> bytes:
    return frame("content_block_stop", index=index)


def read(*frames: bytes, reason: str = "tool_use") -> list[Event]:
    parser = ParserTwin(CODEC)
    tail = frame("message_delta", delta={"stop_reason": reason}) + frame("message_stop")
    return [*parser.feed(b"".join(frames) + tail), *parser.finish()]


def test_tool_calls_come_in_pieces_and_count_from_nought() -> None:
    assert read(
        begin(0, type="text", text=""),
        piece(0, type="text_delta", text="let me see"),
        end(0),
        begin(1, type="tool_use", id="c1", name="weather", input={}),
        piece(1, type="input_json_delta", partial_json=""),
        piece(1, type="input_json_delta", partial_json='{"place":'),
        piece(1, type="input_json_delta", partial_json='"Bern"}'),
        end(1),
        begin(2, type="tool_use", id="c2", name="now", input={}),
        end(2),
    ) == [
        TextDelta("let me see"),
        ToolCallDelta(index=0, call_id="c1", name="weather"),
        ToolCallDelta(index=0, arguments='{"place":'),
        ToolCallDelta(index=0, arguments='"Bern"}'),
        ToolCallDelta(index=1, call_id="c2", name="now"),
        ToolCallDelta(index=1, arguments="{}"),
        Ended("tool_calls"),
    ]


def test_reasoning_comes_with_its_seal() -> None:
    assert read(
        begin(0, type="thinking", thinking="", signature=""),
        piece(0, type="thinking_delta", thinking="hm"),
        piece(0, type="signature_delta", signature="seal"),
        end(0),
        begin(1, type="redacted_thinking", data="hidden"),
        end(1),
        begin(2, type="text", text=""),
        piece(2, type="text_delta", text="so"),
        end(2),
        reason="end_turn",
    ) == [
        ReasoningDelta(text="hm"),
        ReasoningDelta(signature=b"seal"),
        ReasoningDelta(signature=b"hidden"),
        TextDelta("so"),
        Ended("stop"),
    ]


def test_more_tool_calls_than_can_be_read_break_the_answer() -> None:
    calls = [begin(n, type="tool_use", id="c", name="f") for n in range(ANSWER_TOOL_CALLS_MAX + 1)]
    error = read(*calls)[-1]
    assert isinstance(error, ProviderError)
    assert error.kind == "broken"


def test_arguments_of_no_call_are_read_over() -> None:
    assert read(piece(7, type="input_json_delta", partial_json="{}"), end(7)) == [
        Ended("tool_calls")
    ]
