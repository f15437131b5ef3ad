"""Answers of ConverseStream and its errors, read an event at a time."""

import json
from typing import Any

import pytest
from aws_stream import error, event, exception
from bedrock_shapes import problems_of_event

from harmost.core.chat import Reasoning, Text, ToolCall
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX, SSE_LINE_BYTES_MAX
from harmost.core.providers.bedrock import BedrockCodec
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from harmost.core.relay.exchange import AttemptExchange
from harmost.core.usage import TokenUsage

CODEC = BedrockCodec()
USAGE = {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13, "cacheReadInputTokens": 5}
METADATA = {"usage": USAGE, "metrics": {"latencyMs": 7}}
NORMAL = TokenUsage(input_tokens=14, cached_input_tokens=5, output_tokens=4, exact=True)


def delta(index: int, **said: object) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": said, "contentBlockIndex": index}}


def stop(index: int) -> dict[str, Any]:
    return {"contentBlockStop": {"contentBlockIndex": index}}


def tool(index: int, call_id: str = "c1", **more: object) -> dict[str, Any]:
    use = {"toolUseId": call_id, "name": "weather", **more}
    return {"contentBlockStart": {"start": {"toolUse": use}, "contentBlockIndex": index}}


def ends(reason: str = "end_turn") -> list[dict[str, Any]]:
    return [{"messageStop": {"stopReason": reason}}, {"metadata": METADATA}]


START: dict[str, Any] = {"messageStart": {"role": "assistant"}}


def read(*frames: dict[str, Any]) -> list[Event]:
    """Events of `frames`, which are the vendor's, and of the end of the body."""
    reader = CODEC.reader()
    events: list[Event] = []
    for frame in frames:
        assert [p for name, said in frame.items() for p in problems_of_event(name, said)] == []
        events += reader.take(json.dumps(frame).encode())
    return events + reader.finish()


def test_words_usage_and_the_end() -> None:
    assert read(START, delta(0, text="Grüe"), delta(0, text="zi"), stop(0), *ends()) == [
        TextDelta("Grüe"),
        TextDelta("zi"),
        UsageReported(NORMAL),
        Ended("stop"),
    ]


def test_calls_of_tools_are_counted_by_themselves() -> None:
    assert read(
        START,
        delta(0, text="see"),
        stop(0),
        tool(1),
        delta(1, toolUse={"input": '{"pla'}),
        delta(1, toolUse={"input": 'ce":"Bern"}'}),
        stop(1),
        tool(2, "c2"),
        stop(2),
        *ends("tool_use"),
    ) == [
        TextDelta("see"),
        ToolCallDelta(index=0, call_id="c1", name="weather"),
        ToolCallDelta(index=0, arguments='{"pla'),
        ToolCallDelta(index=0, arguments='ce":"Bern"}'),
        ToolCallDelta(index=1, call_id="c2", name="weather"),
        ToolCallDelta(index=1, arguments="{}"),
        UsageReported(NORMAL),
        Ended("tool_calls"),
    ]


def test_tools_that_the_provider_runs_are_not_the_callers() -> None:
    frames = (tool(0, type="server_tool_use"), delta(0, toolUse={"input": "{}"}), stop(0))
    assert read(START, *frames, *ends()) == [UsageReported(NORMAL), Ended("stop")]


def test_reasoning_keeps_its_seal_and_what_is_hidden() -> None:
    assert read(
        delta(0, reasoningContent={"text": "hm"}),
        delta(0, reasoningContent={"signature": "seal"}),
        delta(1, reasoningContent={"redactedContent": "aGlkZGVu"}),
        *ends(),
    ) == [
        ReasoningDelta(text="hm"),
        ReasoningDelta(signature=b"seal"),
        ReasoningDelta(signature=b"aGlkZGVu"),
        UsageReported(NORMAL),
        Ended("stop"),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
    ],
)
def test_every_reason_to_stop(reason: str, finish: str) -> None:
    assert read(START, *ends(reason))[-1] == Ended(finish)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_answer_is_broken_and_billed(reason: str) -> None:
    reported, failed = read(START, *ends(reason))
    assert reported == UsageReported(NORMAL)
    assert isinstance(failed, ProviderError)
    assert failed.kind == "broken"
    assert reason in failed.message


def test_an_answer_whose_usage_does_not_come_is_whole() -> None:
    assert read(START, delta(0, text="a"), ends()[0]) == [TextDelta("a"), Ended("stop")]


def test_a_body_that_ends_before_the_model_stopped_is_broken() -> None:
    failed = read(START, delta(0, text="a"))[-1]
    assert isinstance(failed, ProviderError)
    assert failed.kind == "broken"


def test_usage_that_contradicts_itself_is_broken() -> None:
    reader = CODEC.reader()
    reader.take(b'{"messageStop":{"stopReason":"end_turn"}}')
    (failed,) = reader.take(b'{"metadata":{"usage":{"inputTokens":-1,"outputTokens":1}}}')
    assert isinstance(failed, ProviderError)
    assert failed.kind == "broken"


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"contentBlockDelta":{"delta":{"text":7}}}',
        b'{"contentBlockDelta":[]}',
        b'{"exception":7}',
        b'{"messageStop":{}}',
        b'{"a":' * 100_000,
    ],
)
def test_hostile_events_are_broken(hostile: bytes) -> None:
    reader = CODEC.reader()
    (failed,) = reader.take(hostile)
    assert isinstance(failed, ProviderError)
    assert failed.kind == "broken"
    assert reader.take(hostile) == []


@pytest.mark.parametrize("strange", [b"{}", b'{"zork":{}}', b'{"contentBlockDelta":{}}'])
def test_events_to_come_are_passed_over(strange: bytes) -> None:
    assert CODEC.reader().take(strange) == []


def test_an_exception_without_a_body_is_an_error() -> None:
    (failed,) = CODEC.reader().take(b'{"exception":{}}')
    assert isinstance(failed, ProviderError)
    assert failed.kind == "broken"


def test_more_tools_than_can_be_read_are_broken() -> None:
    reader = CODEC.reader()
    frames = [json.dumps(tool(n)).encode() for n in range(ANSWER_TOOL_CALLS_MAX + 1)]
    events = [event for frame in frames for event in reader.take(frame)]
    assert len(events) == ANSWER_TOOL_CALLS_MAX + 1
    assert isinstance(events[-1], ProviderError)


IN_STREAM = {
    "internalServerException": "provider_error",
    "modelStreamErrorException": "provider_error",
    "validationException": "rejected",
    "throttlingException": "throttled",
    "serviceUnavailableException": "overloaded",
}


@pytest.mark.parametrize(("name", "kind"), IN_STREAM.items())
def test_exceptions_in_the_stream(name: str, kind: str) -> None:
    assert problems_of_event(name, {"message": "why"}) == []
    (failed,) = CODEC.reader().take(json.dumps({"exception": {name: {"message": "why"}}}).encode())
    assert failed == ProviderError(kind=kind, message=f"{name}: why")  # type: ignore[arg-type]


TOO_LONG = "Input is too long for requested model."


@pytest.mark.parametrize(
    ("name", "status", "words", "kind"),
    [
        ("ThrottlingException", 429, "Too many requests", "throttled"),
        ("ThrottlingException", 429, "Too many tokens per day, please wait", "quota_exhausted"),
        ("ModelNotReadyException", 429, "not ready", "overloaded"),
        ("ServiceQuotaExceededException", 400, "quota", "quota_exhausted"),
        ("ValidationException", 400, "malformed", "rejected"),
        ("ValidationException", 400, TOO_LONG, "context_too_long"),
        ("ValidationException", 400, "Number of input tokens exceeds maximum", "context_too_long"),
        ("ValidationException", 400, "larger than the context window", "context_too_long"),
        (
            "ValidationException",
            400,
            "prompt is too long: 9 tokens > 8 maximum",
            "context_too_long",
        ),
        ("ValidationException", 400, "The provided model identifier is invalid.", "not_found"),
        ("ValidationException", 400, "blocked by content filtering policy", "content_filtered"),
        ("AccessDeniedException", 403, "no access", "auth"),
        ("UnrecognizedClientException", 403, "The security token is invalid", "auth"),
        ("ExpiredTokenException", 403, "expired", "auth"),
        ("ResourceNotFoundException", 404, "no such", "not_found"),
        ("ModelTimeoutException", 408, "too slow", "timeout"),
        ("ModelErrorException", 424, "model", "provider_error"),
        ("ModelStreamErrorException", 424, "model", "provider_error"),
        ("InternalServerException", 500, "oh", "provider_error"),
        ("ServiceUnavailableException", 503, "busy", "overloaded"),
        ("ZorkException", 418, "tea", "rejected"),
        ("", 502, "bad gateway", "provider_error"),
    ],
)
def test_every_error_of_the_service(name: str, status: int, words: str, kind: str) -> None:
    suffix = ":http://internal.amazon.com/coral/com.amazon.bedrock/"
    for typed in (name, name and name + suffix, name and f"com.amazon.bedrock#{name}"):
        told = CODEC.error(
            status=status,
            headers={"x-amzn-errortype": typed},
            body=json.dumps({"message": words}).encode(),
        )
        assert (told.kind, told.http_status) == (kind, status)
        assert told.message == (f"{name}: {words}" if name else words)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message":7}', b'{"__type":7}'])
def test_errors_without_words_are_told_by_their_status(body: bytes) -> None:
    assert CODEC.error(status=503, headers={}, body=body).kind == "overloaded"


def test_the_type_of_an_error_may_stand_in_its_body() -> None:
    said = b'{"__type":"ModelNotReadyException","Message":"soon"}'
    told = CODEC.error(status=429, headers={"retry-after": "3"}, body=said)
    assert (told.kind, told.retry_after_s) == ("overloaded", 3.0)
    assert told.message == "ModelNotReadyException: soon"


@pytest.mark.parametrize(
    ("hint", "seconds"), [("7000", 7.0), ("250", 0.25), ("-1", None), ("soon", None)]
)
def test_the_service_says_when_to_come_again(hint: str, seconds: float | None) -> None:
    told = CODEC.error(status=429, headers={"x-amz-retry-after": hint}, body=b"{}")
    assert told.retry_after_s == seconds


def exchange() -> AttemptExchange:
    return AttemptExchange("bedrock", output_tokens_max=1000, attempt_id="a", keep_text=True)


def wire(*frames: dict[str, Any]) -> bytes:
    return b"".join(event(name, said) for frame in frames for name, said in frame.items())


def test_an_exchange_reads_the_vendors_framing_cut_anywhere() -> None:
    stream = wire(
        START,
        delta(0, reasoningContent={"text": "hm"}),
        delta(0, reasoningContent={"signature": "seal"}),
        stop(0),
        delta(1, text="Grüezi"),
        stop(1),
        tool(2),
        stop(2),
        *ends("tool_use"),
    )
    whole = exchange()
    told = whole.receive(stream)
    assert whole.parts == (
        Reasoning("hm", b"seal"),
        Text("Grüezi"),
        ToolCall("c1", "weather", "{}"),
    )
    assert (whole.usage, whole.finish_reason, whole.error) == (NORMAL, "tool_calls", None)
    for at in range(0, len(stream), 3):
        cut = exchange()
        pieces = (cut.receive(stream[:at]), cut.receive(stream[at:]))
        assert b"".join(piece or b"" for piece in pieces) == told
        assert (cut.parts, cut.usage) == (whole.parts, NORMAL)


@pytest.mark.parametrize(
    ("ending", "kind", "words"),
    [
        (b"\xff" * 16, "broken", "no event stream of AWS"),
        (exception("throttlingException", {"message": "slow"}), "throttled", "slow"),
        (error("InternalError", "oh no"), "provider_error", "oh no"),
        (event("a", "x" * SSE_LINE_BYTES_MAX), "broken", "larger than its bound"),
        (b"", "broken", "before `messageStop`"),
    ],
)
def test_an_exchange_tells_how_the_stream_failed(ending: bytes, kind: str, words: str) -> None:
    reading = exchange()
    reading.receive(wire(START, delta(0, text="Grüezi")) + ending)
    reading.finish()
    assert reading.text == "Grüezi"
    assert reading.error is not None
    assert reading.error.kind == kind
    assert words in reading.error.message
    assert reading.receive(wire(delta(0, text="more"))) is None
