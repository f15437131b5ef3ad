"""The Cohere codec: what it asks, as the official client's types have it, and what it makes of answers."""

import json
from functools import partial
from typing import Annotated, Any, Literal

import cohere
import pytest
from answer_twin import ParserTwin, sse
from hypothesis import given
from hypothesis import strategies as st
from official_body import PNG, WEATHER, official_body
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

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
    UsageReported,
)
from harmost.core.providers.cohere import CohereCodec
from harmost.core.usage import TokenUsage

CODEC = CohereCodec()


class Asked(BaseModel):
    """`ClientV2.chat_stream`, of the client's types."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[
        Annotated[
            cohere.UserChatMessageV2
            | cohere.AssistantChatMessageV2
            | cohere.SystemChatMessageV2
            | cohere.ToolChatMessageV2,
            Field(discriminator="role"),
        ]
    ]
    stream: Literal[True]
    max_tokens: int
    temperature: float | None = None
    p: float | None = None
    seed: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[cohere.ToolV2] | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    thinking: cohere.Thinking | None = None
    response_format: cohere.JsonObjectResponseFormatV2 | None = None


body = partial(official_body, CODEC, TypeAdapter(Asked))


def read(*frames: dict[str, Any]) -> list[Event]:
    parser = ParserTwin(CODEC)
    return (
        parser.feed(b"".join(sse(json.dumps(frame).encode()) for frame in frames)) + parser.finish()
    )


def said(**message: Any) -> dict[str, Any]:
    return {"message": message}


def end(reason: str | None = "COMPLETE", **delta: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, **delta}}


def last(*frames: dict[str, Any]) -> str:
    (*_, event) = read(*frames)
    return event.kind if isinstance(event, ProviderError) else "no error"


def test_a_conversation_with_tools_is_said_as_the_vendor_says_it() -> None:
    parts = (Reasoning("look"), Text("so"), ToolCall("c1", "weather", '{"place":"Bern"}'))
    asked = body(
        (
            Message.of("system", "be brief"),
            Message.of("user", "how is it in Bern?"),
            Message("assistant", parts),
            Message("tool", (ToolResult("c1", "rain"), ToolResult("c2", "?"))),
            Message("assistant", (Reasoning("hm"), Reasoning("", b"hidden"), Text("rain"))),
            Message("assistant", (Reasoning("", b"hidden"),)),
        )
    )
    function = {"name": "weather", "arguments": '{"place":"Bern"}'}
    assert asked["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "how is it in Bern?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            "tool_plan": "look",
            "content": "so",
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "?"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "rain"}],
        },
    ]


def test_pictures_go_inline_or_by_address() -> None:
    parts = (
        Text("see"),
        Media(kind="image", media_type="image/png", data=PNG),
        Media(kind="image", uri="https://example.com/a.png"),
    )
    (message,) = body((Message("user", parts),))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]


def test_wishes_are_said_in_the_vendor_s_words() -> None:
    asked = body(temperature_permille=300, top_p_permille=500, seed=7, stop=("a", "b"))
    assert (asked["temperature"], asked["p"], asked["seed"]) == (0.3, 0.5, 7)
    assert asked["stop_sequences"] == ["a", "b"]
    assert asked["max_tokens"] == 50
    schema = '{"type":"object"}'
    assert body(output_schema_json=schema)["response_format"] == {
        "type": "json_object",
        "json_schema": {"type": "object"},
    }


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        (ToolChoice(), ["weather", "now"], None),
        (ToolChoice("none"), ["weather", "now"], "NONE"),
        (ToolChoice("required"), ["weather", "now"], "REQUIRED"),
        (ToolChoice("named", "now"), ["now"], "REQUIRED"),
    ],
)
def test_a_tool_that_is_asked_for_by_name_is_the_only_one(
    choice: ToolChoice, names: list[str], expected: str | None
) -> None:
    asked = body(tools=(WEATHER, Tool("now")), tool_choice=choice)
    assert [tool["function"]["name"] for tool in asked["tools"]] == names
    assert asked.get("tool_choice") == expected


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("none", {"type": "disabled"}),
        ("low", {"type": "enabled", "token_budget": 10}),
        ("medium", {"type": "enabled", "token_budget": 25}),
        ("high", {"type": "enabled"}),
    ],
)
def test_an_effort_is_a_budget_of_thinking(effort: str, thinking: object) -> None:
    assert body(reasoning_effort=effort)["thinking"] == thinking


@pytest.mark.parametrize(
    ("part", "fit"),
    [
        (Media(kind="audio", media_type="audio/wav", data=b"R"), Fit(lacks=("audio",))),
        (Media(kind="file", media_type="application/pdf", data=b"%"), Fit(lacks=("file",))),
        (Media(kind="image", file_id="f"), Fit(lacks=("image.file_id",))),
        (ToolResult("c", "?", is_error=True), Fit(drops=("tool_result.is_error",))),
        (Reasoning("", b"hidden"), Fit(drops=("reasoning",))),
        (Reasoning("hm", b"seal"), Fit()),
    ],
)
def test_content_without_a_form_is_told(part: Any, fit: Fit) -> None:
    assert CODEC.fit((Message("user", (part,)),), Generation()) == fit


@pytest.mark.parametrize(
    ("wish", "fit", "field"),
    [
        ({"temperature_permille": 1_001}, Fit(drops=("temperature_permille",)), "temperature"),
        ({"temperature_permille": 1_000}, Fit(), ""),
        ({"tools": (Tool("f", cache="5m"),)}, Fit(drops=("cache",)), ""),
        ({"top_p_permille": 9}, Fit(drops=("top_p_permille",)), "p"),
        ({"top_p_permille": 995}, Fit(drops=("top_p_permille",)), "p"),
        ({"stop": ("a",) * 5}, Fit(), ""),
        ({"stop": ("a",) * 6}, Fit(lacks=("stop of more than 5",)), ""),
        (
            {"tools": (WEATHER,), "output_schema_json": "{}"},
            Fit(lacks=("output_schema_json with tools",)),
            "",
        ),
        (
            {"tools": (WEATHER,), "tool_choice": ToolChoice(one_at_a_time=True)},
            Fit(drops=("tool_choice.one_at_a_time",)),
            "",
        ),
    ],
)
def test_wishes_without_a_form_are_told_and_left_out(
    wish: dict[str, Any], fit: Fit, field: str
) -> None:
    assert CODEC.fit((), Generation(**wish)) == fit
    assert field not in body(**wish)


def test_everything_may_be_sampled_as_far_as_the_vendor_can() -> None:
    """Left out, `p` would be 0.75."""
    assert CODEC.fit((), Generation(top_p_permille=1_000)) == Fit()
    assert body(top_p_permille=1_000)["p"] == 0.99


def test_plans_and_thinking_are_reasoning() -> None:
    assert read(
        {"type": "message-start", "id": "r", "delta": said(role="assistant", content=[])},
        {"type": "tool-plan-delta", "delta": said(tool_plan="ask")},
        {"type": "content-start", "index": 0, "delta": said(content={"thinking": "h"})},
        {"type": "content-delta", "index": 0, "delta": said(content={"thinking": "m"})},
        {"type": "content-end", "index": 0},
        {"type": "content-start", "index": 1, "delta": said(content={"text": "", "type": "text"})},
        {"type": "content-delta", "index": 1, "delta": said(content={"text": "so"})},
        {"type": "citation-start", "index": 0, "delta": said(citations={"start": 0})},
        {"type": "a-kind-to-come", "index": 0, "delta": None},
        end("STOP_SEQUENCE", usage={"tokens": {"input_tokens": 2.0, "output_tokens": 1.0}}),
    ) == [
        ReasoningDelta(text="ask"),
        ReasoningDelta(text="h"),
        ReasoningDelta(text="m"),
        TextDelta("so"),
        UsageReported(TokenUsage(input_tokens=2, output_tokens=1)),
        Ended("stop", "r"),
    ]


def test_arguments_are_streamed_and_none_are_an_empty_object() -> None:
    def start(index: int, call_id: str) -> dict[str, Any]:
        calls = {"id": call_id, "type": "function", "function": {"name": "now", "arguments": ""}}
        return {"type": "tool-call-start", "index": index, "delta": said(tool_calls=calls)}

    more = {"function": {"arguments": '{"a":1}'}}
    assert read(
        start(0, "c1"),
        {"type": "tool-call-delta", "index": 0, "delta": said(tool_calls=more)},
        {"type": "tool-call-end", "index": 0},
        start(1, "c2"),
        {"type": "tool-call-end", "index": 1},
        end("TOOL_CALL"),
    ) == [
        ToolCallDelta(index=0, call_id="c1", name="now"),
        ToolCallDelta(index=0, arguments='{"a":1}'),
        ToolCallDelta(index=1, call_id="c2", name="now"),
        ToolCallDelta(index=1, arguments="{}"),
        Ended("tool_calls"),
    ]


def test_more_calls_than_can_be_read_break_the_answer() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    frames = [
        {"type": "tool-call-start", "index": index, "delta": said(tool_calls=call)}
        for index in range(ANSWER_TOOL_CALLS_MAX + 1)
    ]
    assert last(*frames[:-1], end("TOOL_CALL")) == "no error"
    assert last(*frames) == "broken"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("COMPLETE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls"), ("NEW", "stop")],
)
def test_reasons_to_end_are_told(reason: str, finish: str) -> None:
    assert read(end(reason)) == [Ended(finish)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (end("ERROR"), "provider_error"),
        (end("ERROR", error="boom"), "provider_error"),
        (end("TIMEOUT"), "timeout"),
        (end(None), "broken"),
        (end(None, error="boom"), "broken"),
        ({"message": "too busy"}, "provider_error"),
        (end(usage={"billed_units": {"input_tokens": -1.0, "output_tokens": 1.0}}), "broken"),
        ({"type": "content-delta", "delta": said(content={"text": "half"})}, "broken"),
        ({"type": "content-delta", "delta": said(content={"text": 5})}, "broken"),
    ],
)
def test_failures_inside_an_answer_are_named(frame: dict[str, Any], kind: str) -> None:
    assert last(frame) == kind


def test_an_answer_that_failed_says_what_it_used() -> None:
    used = {"billed_units": {"input_tokens": 3.0, "output_tokens": 2.0}}
    reported, failed = read(end("ERROR", usage=used))
    assert reported == UsageReported(TokenUsage(input_tokens=3, output_tokens=2))
    assert isinstance(failed, ProviderError)


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["type", "delta", "message", "content", "usage", "index"]),
                inner | st.sampled_from(["message-end", "tool-call-start", "content-delta"]),
            )
        ),
    )
)
def test_any_json_is_no_exception(body: object) -> None:
    data = json.dumps(body).encode()
    parser = ParserTwin(CODEC)
    events = parser.feed(b"data: " + data + b"\n\n") + parser.finish()
    assert isinstance(events[-1], Ended | ProviderError)
    assert CODEC.error(status=500, headers={}, body=data).http_status == 500


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: temperature must be between 0 and 1.0 inclusive.", "rejected"),
        (400, "too many tokens: size limit exceeded by 11326 tokens.", "context_too_long"),
        (401, "invalid api token", "auth"),
        (402, "Please add or update your payment method", "quota_exhausted"),
        (404, "model 'xyz' not found", "not_found"),
        (422, "invalid", "rejected"),
        (429, "Please wait and try again later", "throttled"),
        (429, "You are using a Trial key, which is limited to 40 API calls / minute.", "throttled"),
        (
            429,
            "You are using a Trial key, which is limited to 1000 API calls / month.",
            "quota_exhausted",
        ),
        (498, "deny-listed", "content_filtered"),
        (499, "request cancelled", "provider_error"),
        (500, "", "provider_error"),
        (501, "not implemented", "provider_error"),
        (503, "", "overloaded"),
        (504, "", "timeout"),
    ],
)
def test_refusals_are_named(status: int, message: str, kind: str) -> None:
    error = CODEC.error(
        status=status,
        headers={"retry-after": "3"},
        body=json.dumps({"id": "e", "message": message}).encode(),
    )
    assert (error.kind, error.http_status, error.retry_after_s) == (kind, status, 3.0)
    assert message in error.message
    assert CODEC.error(status=status, headers={}, body=b"<html>").http_status == status


def test_the_key_is_a_bearer_token() -> None:
    assert CODEC.auth_headers("k") == {"authorization": "Bearer k"}
    assert CODEC.auth_headers("") == {}
