"""Tools, media, schemas and reasoning in chat.completions, as the official client's own types have them."""

import json
from functools import partial
from typing import Any

import pytest
from answer_twin import ParserTwin, sse
from official_body import PNG, WEATHER, official_body
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
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
from harmost.core.providers.codec import (
    Ended,
    Event,
    Fit,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from harmost.core.providers.openai import OpenAiCodec

CODEC = OpenAiCodec()
OFFICIAL: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)
body = partial(official_body, CODEC, OFFICIAL)


def test_a_conversation_with_tools_is_said_as_the_vendor_says_it() -> None:
    said = body(
        (
            Message.of("user", "how is it in Bern?"),
            Message("assistant", (Reasoning("hm", b"seal"), ToolCall("c1", "weather", "{}"))),
            Message("tool", (ToolResult("c1", "rain"), ToolResult("c2", "?", is_error=True))),
            Message("assistant", (Text("a"), Text("b"))),
        )
    )["messages"]
    assert said == [
        {"role": "user", "content": "how is it in Bern?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "?"},
        {"role": "assistant", "content": "ab"},
    ]


def test_media_go_inline_or_by_address() -> None:
    parts = (
        Text("see"),
        Media(kind="image", media_type="image/png", data=PNG),
        Media(kind="image", uri="https://example.com/a.png"),
        Media(kind="audio", media_type="audio/wav", data=b"RIFF"),
        Media(kind="file", media_type="application/pdf", data=b"%PDF"),
        Media(kind="file", file_id="file-1"),
    )
    (message,) = body((Message("user", parts),))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {
            "type": "file",
            "file": {
                "filename": "document",
                "file_data": "data:application/pdf;base64,JVBERg==",
            },
        },
        {"type": "file", "file": {"file_id": "file-1"}},
    ]


@pytest.mark.parametrize(
    ("media", "lacks"),
    [
        (Media(kind="image", file_id="f"), ("image.file_id",)),
        (Media(kind="audio", uri="https://x"), ("audio.uri",)),
        (Media(kind="audio", file_id="f"), ("audio.file_id",)),
        (Media(kind="file", uri="https://x"), ("file.uri",)),
        (Media(kind="image", uri="https://x"), ()),
        (Media(kind="file", file_id="f"), ()),
    ],
)
def test_what_has_no_form_is_told(media: Media, lacks: tuple[str, ...]) -> None:
    messages = (Message("user", (media, media)),)
    assert CODEC.fit(messages, Generation(seed=1)) == Fit(lacks=lacks)


def test_what_is_left_out_is_told() -> None:
    thought = Message("assistant", (Reasoning("hm"), Reasoning("", b"seal")))
    failed = Message("tool", (ToolResult("c", "?", is_error=True), ToolResult("d", "rain")))
    assert CODEC.fit((thought, failed), Generation()) == Fit(
        drops=("reasoning", "tool_result.is_error")
    )


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (
            ToolChoice("named", "weather"),
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_tools_are_offered(choice: ToolChoice, said: object) -> None:
    asked = body(tools=(WEATHER, Tool("now")), tool_choice=choice)
    assert asked["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "of a place",
                "parameters": json.loads(WEATHER.parameters_schema_json),
            },
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}},
    ]
    assert asked["tool_choice"] == said
    assert "parallel_tool_calls" not in asked


def test_one_tool_at_a_time_is_asked_for() -> None:
    asked = body(tools=(WEATHER,), tool_choice=ToolChoice(one_at_a_time=True))
    assert asked["parallel_tool_calls"] is False


def test_a_schema_and_an_effort_are_asked_for() -> None:
    asked = body(output_schema_json='{"type":"object"}', reasoning_effort="low")
    assert asked["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}},
    }
    assert asked["reasoning_effort"] == "low"


def read(*deltas: dict[str, Any], finish: str = "tool_calls") -> list[Event]:
    parser = ParserTwin(CODEC)
    choices = [{"delta": delta} for delta in deltas]
    choices.append({"delta": {}, "finish_reason": finish})
    stream = b"".join(sse(json.dumps({"choices": [choice]}).encode()) for choice in choices)
    return [*parser.feed(stream + sse(b"[DONE]")), *parser.finish()]


def call(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


def test_parallel_tool_calls_come_in_pieces() -> None:
    assert read(
        call(0, id="c1", type="function", function={"name": "weather", "arguments": ""}),
        call(0, function={"arguments": '{"place"'}),
        call(1, id="c2", function={"name": "now", "arguments": "{}"}),
        call(0, function={"arguments": ':"Bern"}'}),
    ) == [
        ToolCallDelta(index=0, call_id="c1", name="weather"),
        ToolCallDelta(index=0, arguments='{"place"'),
        ToolCallDelta(index=1, call_id="c2", name="now", arguments="{}"),
        ToolCallDelta(index=0, arguments=':"Bern"}'),
        Ended("tool_calls"),
    ]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_is_shown_comes_before_the_words(field: str) -> None:
    assert read({field: "hm"}, {field: "", "content": "so"}, finish="stop") == [
        ReasoningDelta(text="hm"),
        TextDelta("so"),
        Ended("stop"),
    ]


def test_calls_of_a_server_that_does_not_number_them_stay_apart() -> None:
    def unnumbered(**fields: Any) -> dict[str, Any]:
        return {"tool_calls": [fields]}

    assert read(
        unnumbered(id="c1", function={"name": "weather", "arguments": "{"}),
        unnumbered(function={"arguments": "}"}),
        unnumbered(id="c2", function={"name": "now", "arguments": "{}"}),
        finish="stop",
    ) == [
        ToolCallDelta(index=0, call_id="c1", name="weather", arguments="{"),
        ToolCallDelta(index=0, arguments="}"),
        ToolCallDelta(index=1, call_id="c2", name="now", arguments="{}"),
        Ended("tool_calls"),
    ]


def test_more_unnumbered_calls_than_can_be_read_break_the_answer() -> None:
    calls = [{"tool_calls": [{"id": f"c{n}"}]} for n in range(ANSWER_TOOL_CALLS_MAX + 1)]
    error = read(*calls)[-1]
    assert isinstance(error, ProviderError)
    assert error.kind == "broken"


@pytest.mark.parametrize("index", [-1, ANSWER_TOOL_CALLS_MAX])
def test_a_tool_call_out_of_bounds_breaks_the_answer(index: int) -> None:
    (error,) = read(call(index, id="c"))
    assert isinstance(error, ProviderError)
    assert error.kind == "broken"
