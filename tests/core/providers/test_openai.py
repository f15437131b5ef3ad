"""The OpenAI codec: what it asks, what it understands, what it makes of nonsense."""

import json
from typing import Any

import pytest
from answer_twin import ParserTwin
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.chat import Generation, Message
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    TextDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.openai import OpenAiCodec
from harmost.core.usage import TokenUsage

CODEC = OpenAiCodec()


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def choice(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
ANSWER = (
    event(id="chatcmpl-1", choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
    + event(id="chatcmpl-1", choices=[choice("Grüße")], usage=None)
    + event(choices=[choice(", 你好")])
    + event(choices=[choice(None, "stop")])
    + event(choices=[], usage=USAGE)
    + DONE
)
EVENTS: list[Event] = [
    TextDelta("Grüße"),
    TextDelta(", 你好"),
    UsageReported(TokenUsage(input_tokens=9, output_tokens=4)),
    Ended("stop", "chatcmpl-1"),
]


def read(*pieces: bytes) -> list[Event]:
    parser = ParserTwin(CODEC)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish()


def kind(stream: bytes) -> str:
    last = read(stream)[-1]
    return last.kind if isinstance(last, ProviderError) else "no error"


def usage(**fields: Any) -> TokenUsage:
    events = read(event(choices=[choice("", "stop")], usage=fields) + DONE)
    (reported,) = [event for event in events if isinstance(event, UsageReported)]
    return reported.usage


def error_kind(status: int, headers: dict[str, str] | None = None, **error: Any) -> str:
    body = json.dumps({"error": error}).encode()
    return CODEC.error(status=status, headers=headers or {}, body=body).kind


def test_the_request_asks_for_a_stream_with_usage_and_a_cap() -> None:
    request = CODEC.request(
        UpstreamRequest(
            vendor_model_id="gpt-x",
            messages=(Message.of("system", "be brief"), Message.of("user", "hi")),
            output_tokens_max=50,
            generation=Generation(temperature_permille=700, top_p_permille=0, stop=("x",), seed=3),
        )
    )
    assert request.path == "/chat/completions"
    assert json.loads(request.body) == {
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "max_completion_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
        "top_p": 0.0,
        "stop": ["x"],
        "seed": 3,
    }


def test_what_is_not_asked_for_is_not_sent() -> None:
    request = CODEC.request(UpstreamRequest(vendor_model_id="m", messages=(), output_tokens_max=1))
    assert set(json.loads(request.body)) == {
        "model", "messages", "max_completion_tokens", "stream", "stream_options",
    }  # fmt: skip


def test_a_service_tier_is_asked_for() -> None:
    request = CODEC.request(
        UpstreamRequest(vendor_model_id="m", messages=(), output_tokens_max=1, service_tier="flex")
    )
    assert json.loads(request.body)["service_tier"] == "flex"


def test_an_empty_secret_sends_no_header() -> None:
    assert CODEC.auth_headers("") == {}
    assert CODEC.auth_headers("k") == {"authorization": "Bearer k"}


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


def test_cached_and_reasoning_tokens_are_parts_of_their_wholes() -> None:
    assert usage(
        prompt_tokens=10,
        completion_tokens=8,
        total_tokens=18,
        prompt_tokens_details={"cached_tokens": 6, "cache_write_tokens": 2},
        completion_tokens_details={"reasoning_tokens": 5},
    ) == TokenUsage(
        input_tokens=10,
        cached_input_tokens=6,
        cache_write_5m_input_tokens=2,
        output_tokens=8,
        reasoning_output_tokens=5,
    )


def test_reasoning_that_is_counted_beside_the_completion_is_billed() -> None:
    counted = usage(
        prompt_tokens=10,
        completion_tokens=8,
        total_tokens=118,
        completion_tokens_details={"reasoning_tokens": 100},
    )
    assert (counted.output_tokens, counted.reasoning_output_tokens) == (108, 100)


def test_absent_usage_is_not_zero_usage() -> None:
    assert not any(
        isinstance(e, UsageReported) for e in read(event(choices=[choice("a", "stop")]) + DONE)
    )
    assert not any(
        isinstance(e, UsageReported)
        for e in read(event(choices=[choice("a", "stop")], usage={}) + DONE)
    )
    assert usage(prompt_tokens=0, completion_tokens=0) == TokenUsage()


def test_usage_that_counts_along_is_exact_only_at_the_end() -> None:
    events = read(
        event(choices=[choice("a")], usage=USAGE)
        + event(choices=[choice("", "stop")], usage=USAGE)
        + DONE
    )
    assert [e.usage.exact for e in events if isinstance(e, UsageReported)] == [False, True]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
    ],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    assert read(event(choices=[choice("a", reason)]) + DONE)[-1] == Ended(finish)  # type: ignore[arg-type]


def test_a_server_that_gives_up_is_broken() -> None:
    assert kind(event(choices=[choice("a", "abort")]) + DONE) == "broken"


def test_a_refusal_is_text() -> None:
    refusal = event(choices=[{"index": 0, "delta": {"refusal": "no"}, "finish_reason": "stop"}])
    assert read(refusal + DONE)[0] == TextDelta("no")


def test_other_choices_are_left_out() -> None:
    assert read(event(choices=[{"index": 1, "delta": {"content": "b"}}]) + ANSWER) == EVENTS


def test_done_without_a_finish_reason_is_broken() -> None:
    assert kind(event(choices=[choice("a")]) + DONE) == "broken"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "x", "type": "server_error"}, "provider_error"),
        ({"message": "x", "code": "rate_limit_exceeded"}, "throttled"),
        ({"message": "x", "type": "insufficient_quota"}, "quota_exhausted"),
        ({"message": "x", "code": 503}, "provider_error"),
        ("it broke", "provider_error"),
        (["it", "broke"], "provider_error"),
    ],
)
def test_an_error_inside_the_stream_ends_it(error: object, expected: str) -> None:
    assert kind(event(choices=[choice("a")]) + event(error=error) + ANSWER) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"[]",
        b'{"choices": 7}',
        b'{"choices": [{"delta": {"content": 7}}]}',
        b'{"choices": [{"delta": {"content": "\xff\xfe"}}]}',
        b'{"usage": {"prompt_tokens": -1, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 1.5, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 1' + b"0" * 5000 + b', "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 1e999, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 1, "completion_tokens": 2000000000}}',
        (
            b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1,'
            b' "prompt_tokens_details": {"cached_tokens": 2}}}'
        ),
        (
            b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1,'
            b' "completion_tokens_details": {"reasoning_tokens": 2}}}'
        ),
        b'{"error": ' + b"[" * 100_000,
        b'{"zork": ' + b"[" * 100_000,
    ],
)
def test_nonsense_is_broken(data: bytes) -> None:
    assert kind(b"data: " + data + b"\n\n" + ANSWER) == "broken"


def test_an_event_without_end_is_broken() -> None:
    assert kind(b"data: " + b"x" * 2_000_000) == "broken"


@given(stream=st.binary(max_size=300))
def test_any_bytes_are_an_error_not_an_exception(stream: bytes) -> None:
    assert kind(stream) == "broken"
    assert kind(b"data: " + stream + b"\n\n") in ("broken", "provider_error")


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["choices", "usage", "error", "id", "delta"]), inner)
        ),
    )
)
def test_any_json_is_no_exception(body: object) -> None:
    data = json.dumps(body).encode()
    events = read(b"data: " + data + b"\n\n")
    assert isinstance(events[-1], Ended | ProviderError)
    assert CODEC.error(status=500, headers={}, body=data).http_status == 500


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": "context_length_exceeded"}, "context_too_long"),
        (400, {"message": "This model's maximum context length is 8 tokens"}, "context_too_long"),
        (400, {"code": "content_filter"}, "content_filtered"),
        (400, {"innererror": {}, "code": "content_policy_violation"}, "content_filtered"),
        (400, {"message": "bad"}, "rejected"),
        (401, {"code": "invalid_api_key"}, "auth"),
        (402, {}, "quota_exhausted"),
        (403, {}, "auth"),
        (404, {"code": "model_not_found"}, "not_found"),
        (408, {}, "timeout"),
        (429, {"code": "rate_limit_exceeded"}, "throttled"),
        (429, {"type": "insufficient_quota"}, "quota_exhausted"),
        (429, {"code": "credit_balance_exhausted"}, "quota_exhausted"),
        (429, {"code": "slow_down"}, "throttled"),
        (500, {}, "provider_error"),
        (503, {}, "overloaded"),
        (302, {}, "provider_error"),
    ],
)
def test_error_classes(status: int, error: dict[str, Any], expected: str) -> None:
    assert error_kind(status, **error) == expected


def test_a_body_that_says_nothing_leaves_the_status() -> None:
    assert CODEC.error(status=502, headers={}, body=b"<html>").kind == "provider_error"
    assert CODEC.error(status=200, headers={}, body=b"<html>").kind == "broken"
    assert CODEC.error(status=302, headers={}, body=b"").kind == "broken"


def test_messages_are_one_bounded_line() -> None:
    error = CODEC.error(
        status=500, headers={}, body=json.dumps({"error": {"message": "a\nb " * 500}}).encode()
    )
    assert "\n" not in error.message
    assert len(error.message) == 500
