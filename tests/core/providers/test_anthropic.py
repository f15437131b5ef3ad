"""The Anthropic codec: what it asks, what it understands, what it makes of nonsense."""

import json
from typing import Any

import pytest
from answer_twin import ParserTwin
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.chat import Generation, Message
from harmost.core.providers.anthropic import AnthropicCodec
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.usage import TokenUsage

CODEC = AnthropicCodec()


def event(type_: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type_, **fields}).encode()
    return b"event: " + type_.encode() + b"\ndata: " + data + b"\n\n"


def start(**usage: Any) -> bytes:
    return event("message_start", message={"id": "msg_1", "usage": usage})


def delta(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def stop(reason: str | None = "end_turn", **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage or None) + event(
        "message_stop"
    )


ANSWER = (
    start(input_tokens=9, output_tokens=1)
    + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + event("ping")
    + delta("Grüße")
    + event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
    + delta(", 你好")
    + event("content_block_stop", index=0)
    + event("event_to_come", delta=None)
    + stop(output_tokens=4)
)
EVENTS: list[Event] = [
    UsageReported(TokenUsage(input_tokens=9, output_tokens=1, exact=False)),
    TextDelta("Grüße"),
    ReasoningDelta(text="hm"),
    TextDelta(", 你好"),
    UsageReported(TokenUsage(input_tokens=9, output_tokens=4)),
    Ended("stop", "msg_1"),
]


def read(*pieces: bytes) -> list[Event]:
    parser = ParserTwin(CODEC)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish()


def kind(stream: bytes) -> str:
    last = read(stream)[-1]
    return last.kind if isinstance(last, ProviderError) else "no error"


def last_usage(stream: bytes) -> TokenUsage:
    return [event.usage for event in read(stream) if isinstance(event, UsageReported)][-1]


def test_the_request_takes_the_system_text_out_of_the_messages() -> None:
    request = CODEC.request(
        UpstreamRequest(
            vendor_model_id="claude-x",
            messages=(
                Message.of("system", "be brief"),
                Message.of("user", "hi"),
                Message.of("user", "there"),
                Message.of("system", "be kind"),
            ),
            output_tokens_max=50,
            generation=Generation(
                temperature_permille=700, top_p_permille=900, stop=("x",), seed=1
            ),
        )
    )
    assert request.path == "/v1/messages"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert json.loads(request.body) == {
        "model": "claude-x",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": "there"}],
        "stream": True,
        "system": "be brief\n\nbe kind",
        "temperature": 0.7,
        "top_p": 0.9,
        "stop_sequences": ["x"],
    }


def test_an_empty_secret_sends_no_header() -> None:
    assert CODEC.auth_headers("") == {}
    assert CODEC.auth_headers("k") == {"x-api-key": "k"}


def test_an_answer_cut_at_every_byte_gives_the_same_events() -> None:
    assert read(ANSWER) == EVENTS
    assert read(*(bytes([byte]) for byte in ANSWER)) == EVENTS
    for at in range(len(ANSWER)):
        assert read(ANSWER[:at], ANSWER[at:]) == EVENTS


def test_an_answer_that_ends_early_anywhere_is_broken() -> None:
    for at in range(len(ANSWER) - 1):
        assert kind(ANSWER[:at]) == "broken"


def test_nothing_comes_after_the_end() -> None:
    parser = ParserTwin(CODEC)
    parser.feed(ANSWER)
    assert parser.feed(ANSWER) == []
    assert parser.finish() == []


def test_cached_input_is_counted_inside_the_input() -> None:
    stream = start(
        input_tokens=1,
        cache_read_input_tokens=20,
        cache_creation_input_tokens=300,
        cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        output_tokens=0,
    )
    assert last_usage(stream + stop(output_tokens=7)) == TokenUsage(
        input_tokens=321,
        cached_input_tokens=20,
        cache_write_5m_input_tokens=100,
        cache_write_1h_input_tokens=200,
        output_tokens=7,
    )


def test_a_cache_write_without_a_lifetime_is_one_of_five_minutes() -> None:
    stream = start(input_tokens=1, cache_creation_input_tokens=300, output_tokens=0)
    assert last_usage(stream + stop(output_tokens=7)) == TokenUsage(
        input_tokens=301, cache_write_5m_input_tokens=300, output_tokens=7
    )


def test_a_later_count_replaces_an_earlier_one() -> None:
    stream = start(input_tokens=5, output_tokens=1)
    assert last_usage(stream + stop(input_tokens=6, output_tokens=7)) == TokenUsage(
        input_tokens=6, output_tokens=7
    )


def test_thinking_is_a_part_of_the_output() -> None:
    usage = last_usage(
        start(input_tokens=5, output_tokens=1)
        + stop(output_tokens=7, output_tokens_details={"thinking_tokens": 3})
    )
    assert usage.reasoning_output_tokens == 3


def test_absent_usage_is_not_zero_usage() -> None:
    stream = event("message_start", message={"id": "msg_1"}) + delta("a") + stop()
    assert read(stream) == [TextDelta("a"), Ended("stop", "msg_1")]
    assert (
        last_usage(start(input_tokens=0, output_tokens=0) + stop(output_tokens=0)) == TokenUsage()
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("reason_to_come", "stop"),
    ],
)
def test_stop_reasons(reason: str, finish: str) -> None:
    assert read(stop(reason))[-1] == Ended(finish)  # type: ignore[arg-type]


def test_a_stop_without_a_reason_is_broken() -> None:
    assert kind(delta("a") + stop(None)) == "broken"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "overloaded"),
        ({"type": "rate_limit_error", "message": "x"}, "throttled"),
        ({"type": "api_error", "message": "x"}, "provider_error"),
        ("it broke", "provider_error"),
        (None, "broken"),
    ],
)
def test_an_error_inside_the_stream_ends_it(error: object, expected: str) -> None:
    assert kind(delta("a") + event("error", error=error) + ANSWER) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"{}",
        b'{"type": 7}',
        b'{"type": "content_block_delta", "delta": {"text": 7}}',
        b'{"type": "content_block_delta", "delta": {"text": "\xff\xfe"}}',
        b'{"type": "message_delta", "usage": {"output_tokens": -1}}',
        b'{"type": "message_delta", "usage": {"output_tokens": 1' + b"0" * 5000 + b"}}",
        (
            b'{"type": "message_delta", "usage": {"input_tokens": 1, "output_tokens": 1,'
            b' "output_tokens_details": {"thinking_tokens": 2}}}'
        ),
        b'{"type": "error", "error": ' + b"[" * 100_000,
    ],
)
def test_nonsense_is_broken(data: bytes) -> None:
    assert kind(b"data: " + data + b"\n\n" + ANSWER) == "broken"


def test_an_event_without_end_is_broken() -> None:
    assert kind(b"data: " + b"x" * 2_000_000) == "broken"


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["delta", "usage", "error", "message"]), inner)
        ),
    ),
    type_=st.sampled_from(["message_start", "message_delta", "message_stop", "error", "zork"]),
)
def test_any_json_is_no_exception(body: object, type_: str) -> None:
    fields = body if isinstance(body, dict) else {"delta": body}
    events = read(event(type_, **fields))
    assert isinstance(events[-1], Ended | ProviderError)
    error = CODEC.error(status=500, headers={}, body=json.dumps(body).encode())
    assert error.http_status == 500


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (
            400,
            {"type": "invalid_request_error", "message": "prompt is too long: 9"},
            "context_too_long",
        ),
        (400, {"message": "Your credit balance is too low"}, "quota_exhausted"),
        (400, {"type": "invalid_request_error", "message": "bad"}, "rejected"),
        (401, {"type": "authentication_error"}, "auth"),
        (402, {"type": "billing_error"}, "quota_exhausted"),
        (403, {"type": "permission_error"}, "auth"),
        (404, {"type": "not_found_error"}, "not_found"),
        (413, {"type": "request_too_large"}, "context_too_long"),
        (429, {"type": "rate_limit_error"}, "throttled"),
        (
            429,
            {"type": "rate_limit_error", "details": {"reason": "enforced_spend_limit_reached"}},
            "quota_exhausted",
        ),
        (500, {"type": "api_error"}, "provider_error"),
        (504, {"type": "timeout_error"}, "timeout"),
        (529, {"type": "overloaded_error"}, "overloaded"),
    ],
)
def test_error_classes(status: int, error: dict[str, Any], expected: str) -> None:
    body = json.dumps({"type": "error", "error": error}).encode()
    assert CODEC.error(status=status, headers={}, body=body).kind == expected
