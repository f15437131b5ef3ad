"""Responses: requests as the official client's own types have them, and answers event by event."""

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_body import PNG, WEATHER, official_body
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
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
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.openai_responses import ResponsesCodec

CODEC = ResponsesCodec()
OFFICIAL: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
SEAL = b'{"id":"rs_1","encrypted_content":"gAAAA"}'
body = partial(official_body, CODEC, OFFICIAL)


def read(*frames: dict[str, Any]) -> list[Event]:
    reader = CODEC.reader()
    return [event for frame in frames for event in reader.take(json.dumps(frame).encode())]


def ended(kind: str = "completed", **response: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": "resp_1", **response}}


def added(index: int = 0, **item: Any) -> dict[str, Any]:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "", **item}
    return {"type": "response.output_item.added", "output_index": index, "item": call}


def test_a_conversation_is_said_as_the_vendor_says_it() -> None:
    said = body(
        (
            Message.of("system", "Be brief."),
            Message.of("user", "how is it in Bern?"),
            Message(
                "assistant",
                (Reasoning("hm", SEAL), Text("a"), Text("b"), ToolCall("c1", "weather", "{}")),
            ),
            Message("tool", (ToolResult("c1", "rain"), ToolResult("c2", "?", is_error=True))),
        )
    )["input"]
    assert said == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "how is it in Bern?"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAAA",
        },
        {"role": "assistant", "content": "ab"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": "?"},
    ]


def test_media_go_inline_by_address_or_by_id() -> None:
    parts = (
        Text("see"),
        Media(kind="image", media_type="image/png", data=PNG),
        Media(kind="image", uri="https://example.com/a.png"),
        Media(kind="image", file_id="file-0"),
        Media(kind="file", media_type="application/pdf", data=b"%PDF"),
        Media(kind="file", uri="https://example.com/a.pdf"),
        Media(kind="file", file_id="file-1"),
    )
    (message,) = body((Message("user", parts),))["input"]
    image = {"type": "input_image", "detail": "auto"}
    assert message["content"] == [
        {"type": "input_text", "text": "see"},
        {**image, "image_url": "data:image/png;base64,iVBORw0K"},
        {**image, "image_url": "https://example.com/a.png"},
        {**image, "file_id": "file-0"},
        {
            "type": "input_file",
            "filename": "document",
            "file_data": "data:application/pdf;base64,JVBERg==",
        },
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
    ]


def test_what_is_left_out_or_has_no_form_is_told() -> None:
    messages = (
        Message("assistant", (Reasoning("hm"), Reasoning("", b"another's"))),
        Message("tool", (ToolResult("c", "?", is_error=True),)),
        Message("user", (Text("?", "5m"), Media(kind="audio", media_type="audio/wav", data=b"R"))),
    )
    assert CODEC.fit(messages, Generation(stop=("END",), seed=1)) == Fit(
        lacks=("audio",), drops=("stop", "seed", "cache", "reasoning", "tool_result.is_error")
    )
    sealed = Message("assistant", (Reasoning("hm", SEAL), Reasoning("", SEAL)))
    assert CODEC.fit((sealed,), Generation()) == Fit()
    assert "stop" not in body(stop=("END",), seed=1)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", "weather"), {"type": "function", "name": "weather"}),
    ],
)
def test_tools_are_flat_and_not_strict(choice: ToolChoice, said: object) -> None:
    asked = body(tools=(WEATHER, Tool("t")), tool_choice=choice)
    assert asked["tools"] == [
        {
            "type": "function",
            "name": "weather",
            "description": "of a place",
            "parameters": json.loads(WEATHER.parameters_schema_json),
            "strict": False,
        },
        {"type": "function", "name": "t", "parameters": {"type": "object"}, "strict": False},
    ]
    assert asked["tool_choice"] == said
    assert "parallel_tool_calls" not in asked
    one = body(tools=(WEATHER,), tool_choice=ToolChoice(one_at_a_time=True))
    assert one["parallel_tool_calls"] is False


def test_nothing_is_kept_and_reasoning_is_asked_for_under_seal() -> None:
    asked = body(
        reasoning_effort="high",
        output_schema_json='{"type":"object"}',
        temperature_permille=500,
        top_p_permille=900,
    )
    assert asked == {
        "model": "m",
        "input": [{"role": "user", "content": "hi"}],
        "max_output_tokens": 50,
        "stream": True,
        "store": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "text": {
            "format": {
                "type": "json_schema",
                "name": "answer",
                "schema": {"type": "object"},
                "strict": False,
            }
        },
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    unthinking = body(reasoning_effort="none")
    assert unthinking["reasoning"] == {"effort": "none"}
    assert "include" not in unthinking


def test_a_tier_is_asked_for() -> None:
    request = CODEC.request(
        UpstreamRequest(
            vendor_model_id="m",
            messages=(Message.of("user", "hi"),),
            output_tokens_max=50,
            service_tier="flex",
        )
    )
    assert json.loads(request.body)["service_tier"] == "flex"
    assert request.path == "/responses"


def test_summaries_are_shown_apart_and_sealed() -> None:
    name = "response.reasoning_summary"
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    assert read(
        {"type": f"{name}_part.added", "summary_index": 0},
        {"type": f"{name}_text.delta", "summary_index": 0, "delta": "a"},
        {"type": f"{name}_part.added", "summary_index": 1},
        {"type": f"{name}_text.delta", "summary_index": 1, "delta": "b"},
        {"type": "response.output_item.done", "item": item},
        ended(),
    ) == [
        ReasoningDelta(text="a"),
        ReasoningDelta(text="\n\n"),
        ReasoningDelta(text="b"),
        ReasoningDelta(signature=SEAL),
        Ended("stop", "resp_1"),
    ]


def test_reasoning_without_a_seal_is_shown_alone() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}
    assert read(
        {"type": "response.reasoning_text.delta", "delta": "hm"},
        {"type": "response.output_item.done", "item": item},
    ) == [ReasoningDelta(text="hm")]


def test_a_refusal_is_said_as_words() -> None:
    assert read({"type": "response.refusal.delta", "delta": "No."}, ended()) == [
        TextDelta("No."),
        Ended("stop", "resp_1"),
    ]


def test_arguments_are_read_once_however_a_server_says_them() -> None:
    first = ToolCallDelta(index=0, call_id="c1", name="weather")
    arguments = ToolCallDelta(index=0, arguments='{"a":1}')
    done = {"type": "response.function_call_arguments.done", "output_index": 0}
    item = {**added(arguments='{"a":1}'), "type": "response.output_item.done"}
    delta = {
        "type": "response.function_call_arguments.delta",
        "output_index": 0,
        "delta": '{"a":1}',
    }
    whole = {**done, "arguments": '{"a":1}'}
    assert read(added(), delta, whole, item) == [first, arguments]
    assert read(added(), whole, item) == [first, arguments]
    assert read(added(), item) == [first, arguments]
    assert read(item, item) == [
        ToolCallDelta(index=0, call_id="c1", name="weather", arguments='{"a":1}')
    ]
    assert read(delta, whole) == []


@pytest.mark.parametrize(
    "rest", ['"delta":"a"', '"delta":7', '"delta":"a', '"x":1', '"delta":"\\u00e9"']
)
def test_words_mean_the_same_wherever_the_type_stands(rest: str) -> None:
    named = '"type":"response.output_text.delta"'
    first = CODEC.reader().take(f"{{{named},{rest}}}".encode())
    last = CODEC.reader().take(f"{{{rest},{named}}}".encode())
    assert [type(event) for event in first] == [type(event) for event in last]
    assert isinstance(first[0], ProviderError) or first == last


def test_more_calls_than_can_be_read_break_the_answer() -> None:
    events = read(*(added(index) for index in range(ANSWER_TOOL_CALLS_MAX + 1)))
    assert isinstance(events[-1], ProviderError)
    assert events[-1].kind == "broken"
    assert len(events) == ANSWER_TOOL_CALLS_MAX + 1


@pytest.mark.parametrize(
    ("frame", "finish"),
    [
        (ended(), "stop"),
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (ended("incomplete"), "length"),
    ],
)
def test_how_it_ended_is_told(frame: dict[str, Any], finish: str) -> None:
    assert read(frame) == [Ended(finish, "resp_1")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (ended("failed", error={"code": "server_error", "message": "x"}), "provider_error"),
        (ended("failed", error={"code": "rate_limit_exceeded", "message": "x"}), "throttled"),
        (ended("failed", error={"code": "invalid_prompt", "message": "x"}), "content_filtered"),
        (ended("failed", error={"code": "image_too_large", "message": "x"}), "rejected"),
        (ended("failed"), "broken"),
        (ended("cancelled"), "broken"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, "throttled"),
        (
            {"type": "error", "error": {"code": "context_length_exceeded", "message": "x"}},
            "context_too_long",
        ),
        ({"type": "error"}, "provider_error"),
        ({"type": 7}, "broken"),
        ({}, "broken"),
        (ended(usage={"input_tokens": 1, "output_tokens": -1}), "broken"),
        (
            ended(
                usage={
                    "input_tokens": 1,
                    "output_tokens": 1,
                    "input_tokens_details": {"cached_tokens": 2},
                }
            ),
            "broken",
        ),
    ],
)
def test_a_failure_has_its_kind_and_ends_the_answer(frame: dict[str, Any], kind: str) -> None:
    (error,) = read(frame, ended())
    assert isinstance(error, ProviderError)
    assert error.kind == kind


def test_what_a_failed_answer_cost_is_told() -> None:
    usage, error = read(
        ended("failed", usage={"input_tokens": 3, "output_tokens": 2}, error={"message": "x"})
    )
    assert isinstance(usage, UsageReported)
    assert usage.usage.input_tokens == 3
    assert isinstance(error, ProviderError)


def test_a_stream_that_only_says_done_is_broken() -> None:
    (error,) = CODEC.reader().take(b"[DONE]")
    assert isinstance(error, ProviderError)
    assert error.kind == "broken"


def test_events_and_items_to_come_are_passed_over() -> None:
    assert read(
        {"type": "response.zork.delta", "delta": {"a": 1}, "item": None},
        added(type="tool_search_call", arguments={"query": "x"}),
        {"type": "response.output_text.delta", "delta": {"not": "words"}},
        ended(),
    ) == [TextDelta(""), Ended("stop", "resp_1")]


VALUES = st.sampled_from(
    [
        *(None, True, 0, 1, -1, 10**30, 0.5, "", "x", [], {}, {"id": 7}, {"type": "message"}),
        {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
        {"type": "function_call", "call_id": 7, "arguments": {}},
        {"type": "reasoning", "id": "r", "encrypted_content": "x"},
        {"usage": {"input_tokens": 1, "output_tokens": 1}},
        {"usage": {"input_tokens": "1"}},
        {"error": {"code": 7, "message": []}},
        {"incomplete_details": {"reason": "max_output_tokens"}},
    ]
)
KINDS = st.sampled_from(
    [
        "response.output_item.added",
        "response.output_item.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_text.delta",
        "response.reasoning_summary_part.added",
        "response.completed",
        "response.failed",
        "error",
    ]
)
FIELDS = st.sampled_from(
    ["output_index", "summary_index", "delta", "arguments", "item", "response", "error", "code"]
)


@given(st.lists(st.tuples(KINDS, st.dictionaries(FIELDS, VALUES, max_size=4)), max_size=6))
def test_no_stream_makes_it_raise_and_it_ends_once(
    frames: list[tuple[str, dict[str, Any]]],
) -> None:
    reader = CODEC.reader()
    events = [
        event
        for kind, fields in frames
        for event in reader.take(json.dumps({**fields, "type": kind}).encode())
    ]
    events += reader.finish()
    ends = [event for event in events if isinstance(event, Ended | ProviderError)]
    assert ends == events[-1:]
    assert reader.over
