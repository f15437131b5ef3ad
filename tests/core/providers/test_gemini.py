"""Answers and errors of Google's generateContent, a chunk at a time."""

import json
import random
from typing import Any

import pytest
from effort import effort

from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from harmost.core.providers.gemini import GeminiCodec
from harmost.core.usage import TokenUsage

CODEC = GeminiCodec()


def chunk(*parts: object, finish: str = "", **fields: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    return json.dumps({"candidates": [candidate], **fields}).encode()


def read(*chunks: bytes) -> list[Event]:
    reader = CODEC.reader()
    return [event for data in chunks for event in reader.take(data)] + reader.finish()


def broken(*chunks: bytes) -> str:
    error = read(*chunks)[-1]
    assert isinstance(error, ProviderError)
    assert error.kind == "broken"
    return error.message


def test_the_last_finish_reason_holds_when_the_body_is_over() -> None:
    """Older models state one in every chunk."""
    assert read(
        chunk({"text": "a"}, finish="STOP", responseId="r"),
        chunk({"text": "b"}, finish="STOP"),
        chunk(finish="MAX_TOKENS"),
    ) == [TextDelta("a"), TextDelta("b"), Ended("length", "r")]


def test_a_body_without_a_finish_reason_is_broken() -> None:
    assert "without a finish reason" in broken(chunk({"text": "a"}))
    assert "without a finish reason" in broken(chunk(finish="FINISH_REASON_UNSPECIFIED"))
    assert "without a finish reason" in broken()


def test_what_is_null_is_not_said() -> None:
    """Proto JSON has no null, fronts written in other languages have."""
    call = {"functionCall": {"name": "f", "id": None, "args": None}, "thoughtSignature": None}
    nothing = {"text": None, "thought": None}
    data = {"content": {"parts": [nothing, call]}, "finishReason": None, "index": None}
    end = {"content": {"parts": None}, "finishReason": "STOP", "finishMessage": None}
    chunks = [
        {"candidates": None, "promptFeedback": None, "usageMetadata": None, "responseId": None},
        {"candidates": [data], "promptFeedback": {"blockReason": None}, "error": None},
        {"candidates": [{"content": None}]},
        {"candidates": [end]},
    ]
    assert read(*(json.dumps(each).encode() for each in chunks)) == [
        ToolCallDelta(index=0, call_id="call--0", name="f", arguments="{}"),
        Ended("tool_calls"),
    ]


def test_nothing_comes_after_the_end() -> None:
    reader = CODEC.reader()
    assert reader.finish() != []
    assert reader.take(chunk({"text": "a"})) == reader.finish() == reader.overflow() == []


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "SPII", "MODEL_ARMOR", "LANGUAGE"])
def test_what_is_withheld_for_its_content_is_filtered(reason: str) -> None:
    assert read(chunk(finish=reason)) == [Ended("content_filter")]


@pytest.mark.parametrize(
    "reason", ["OTHER", "MALFORMED_FUNCTION_CALL", "MISSING_THOUGHT_SIGNATURE", "NEW_ONE"]
)
def test_an_end_that_is_no_answer_is_told_by_its_name(reason: str) -> None:
    candidate = {"finishReason": reason, "finishMessage": "because"}
    data = json.dumps({"candidates": [candidate]}).encode()
    assert broken(data) == f"the provider ended the answer with `{reason}`: because"


def test_a_call_without_an_id_gets_one_of_its_answer() -> None:
    one = {"functionCall": {"name": "now"}}
    two = {"functionCall": {"name": "weather", "id": "c", "args": {"place": "Bern"}}}
    assert read(chunk(one, responseId="r"), chunk(two, finish="STOP")) == [
        ToolCallDelta(index=0, call_id="call-r-0", name="now", arguments="{}"),
        ToolCallDelta(index=1, call_id="c", name="weather", arguments='{"place": "Bern"}'),
        Ended("tool_calls", "r"),
    ]


def test_a_seal_comes_before_what_it_is_on() -> None:
    call = {"functionCall": {"name": "now", "id": "c"}, "thoughtSignature": "QQ=="}
    assert read(
        chunk({"text": "hm", "thought": True}, call),
        chunk({"text": "so", "thoughtSignature": "Qg=="}),
        chunk({"text": "", "thoughtSignature": "Qw=="}, finish="STOP"),
    ) == [
        ReasoningDelta(text="hm"),
        ReasoningDelta(signature=b"gemini:QQ=="),
        ToolCallDelta(index=0, call_id="c", name="now", arguments="{}"),
        ReasoningDelta(signature=b"gemini:Qg=="),
        TextDelta("so"),
        ReasoningDelta(signature=b"gemini:Qw=="),
        Ended("tool_calls"),
    ]


def test_only_the_first_candidate_is_read() -> None:
    other = {"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "OTHER"}
    first = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
    data = json.dumps({"candidates": [other, first]}).encode()
    assert read(data) == [TextDelta("a"), Ended("stop")]


def test_usage_counts_along_and_is_exact_at_the_end() -> None:
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 1, "thoughtsTokenCount": 2}
    first = chunk({"text": "a"}, usageMetadata=counts)
    more = chunk({"text": "a"}, usageMetadata={**counts, "candidatesTokenCount": 2})
    last = chunk(finish="STOP", usageMetadata={**counts, "candidatesTokenCount": 4})
    events = read(first, more, last)
    usages = [event.usage for event in events if isinstance(event, UsageReported)]
    assert usages == [
        TokenUsage(input_tokens=9, output_tokens=3, reasoning_output_tokens=2, exact=False),
        TokenUsage(input_tokens=9, output_tokens=6, reasoning_output_tokens=2, exact=True),
    ]


def test_a_prompt_that_is_blocked_is_filtered_and_its_tokens_are_told() -> None:
    data = json.dumps(
        {
            "promptFeedback": {"blockReason": "JAILBREAK", "blockReasonMessage": "no"},
            "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
        }
    ).encode()
    usage, error = read(data)
    assert isinstance(usage, UsageReported)
    assert isinstance(error, ProviderError)
    assert (error.kind, error.message) == (
        "content_filtered",
        "the prompt was blocked: JAILBREAK no",
    )


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"candidates":[{"content":{"parts":[{"text":7}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":[]}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":"{}"}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png"}}]}}]}',
        b'{"usageMetadata":{"promptTokenCount":1,"cachedContentTokenCount":2}}',
        b'{"error":null,"candidates":"' + b"[" * 100_000,
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_broken(hostile: bytes) -> None:
    assert broken(hostile)


def test_arguments_that_are_no_utf_8_are_still_json() -> None:
    data = b'{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"a":"\xff"}}}]}}]}'
    (call, _) = read(data)
    assert isinstance(call, ToolCallDelta)
    assert json.loads(call.arguments) == {"a": "\N{REPLACEMENT CHARACTER}"}


def test_more_calls_than_can_be_read_break_the_answer() -> None:
    calls = [{"functionCall": {"name": "f"}}] * (ANSWER_TOOL_CALLS_MAX + 1)
    assert "more tools" in broken(chunk(*calls, finish="STOP"))


def error(code: int, **fields: Any) -> ProviderError:
    body = json.dumps({"error": {"code": code, **fields}}).encode()
    told = CODEC.error(status=code, headers={}, body=body)
    assert told == CODEC.error(status=code, headers={}, body=b"[" + body + b"]")
    return told


def quota(window: str) -> dict[str, object]:
    violation = {"quotaId": f"GenerateRequestsPer{window}PerProjectPerModel-FreeTier"}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def test_a_quota_of_a_minute_comes_back_whatever_is_said_of_billing() -> None:
    words = "You exceeded your current quota, please check your plan and billing details."
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22s"}
    for window, kind in (("Minute", "throttled"), ("Day", "quota_exhausted")):
        told = error(
            429, status="RESOURCE_EXHAUSTED", message=words, details=[quota(window), delay]
        )
        assert (told.kind, told.retry_after_s) == (kind, 22.0)
        assert told.message.startswith("RESOURCE_EXHAUSTED: You exceeded")


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", "quota_exhausted"),
        (429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.", "throttled"),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            "context_too_long",
        ),
        (400, "FAILED_PRECONDITION", "User location is not supported.", "rejected"),
        (403, "PERMISSION_DENIED", "no", "auth"),
        (404, "NOT_FOUND", "no", "not_found"),
        (500, "INTERNAL", "no", "provider_error"),
        (503, "UNAVAILABLE", "no", "overloaded"),
        (504, "DEADLINE_EXCEEDED", "no", "timeout"),
    ],
)
def test_an_error_has_its_kind(status: int, name: str, message: str, kind: str) -> None:
    assert error(status, status=name, message=message).kind == kind


def test_a_key_that_is_not_valid_is_ours_to_mend() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    assert error(400, status="INVALID_ARGUMENT", details=details).kind == "auth"


@pytest.mark.parametrize(
    "details", [None, 7, [7], [{"violations": 7}], [{"violations": [7]}], [{"reason": []}]]
)
def test_details_of_no_form_change_nothing(details: object) -> None:
    assert error(503, status="UNAVAILABLE", details=details).kind == "overloaded"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[7]", b'{"error":7}', b"[" * 100_000])
def test_a_body_of_no_form_leaves_the_status(body: bytes) -> None:
    assert CODEC.error(status=503, headers={"retry-after": "7"}, body=body).kind == "overloaded"


def test_an_error_inside_the_stream_ends_it() -> None:
    failed = {"code": 503, "status": "UNAVAILABLE", "message": "busy"}
    said, told = read(chunk({"text": "a"}), json.dumps({"error": failed}).encode(), b"{}")
    assert said == TextDelta("a")
    assert told == ProviderError(kind="overloaded", message="UNAVAILABLE: busy")


VALUES = (b"null", b"7", b"-1", b'"x"', b"[]", b"{}", b"true", b"1e999", b'"\xff"', b"9" * 30)


def test_no_chunk_and_no_error_however_spoilt_raises_or_goes_on_for_ever() -> None:
    detail = {"reason": "x", "violations": [{"quotaId": "a"}], "retryDelay": "3s"}
    failed = {"code": 429, "status": "X", "message": "m", "details": [detail]}
    call = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QQ=="}
    counts = {"promptTokenCount": 6, "candidatesTokenCount": 3}
    good = chunk({"text": "w"}, call, finish="STOP", usageMetadata=counts, responseId="r")
    bad = json.dumps({"error": failed, "promptFeedback": {"blockReason": "X"}}).encode()
    chance = random.Random(7)
    for _ in range(effort(500, ci=5_000, nightly=100_000)):
        data = bytearray(chance.choice((good, bad)))
        if chance.random() < 0.5:
            data[chance.randrange(len(data))] = chance.randrange(256)
        else:
            begun = data.find(b":", chance.randrange(len(data) // 2)) + 1
            ends = (data.find(b",", begun), data.find(b"}", begun))
            data[begun : min(end for end in ends if end > 0)] = chance.choice(VALUES)
        reader = CODEC.reader()
        ends_seen = [
            isinstance(event, Ended | ProviderError)
            for event in [*reader.take(bytes(data)), *reader.take(good), *reader.finish()]
        ]
        assert ends_seen.count(True) == 1
        assert ends_seen[-1]
        CODEC.error(status=429, headers={}, body=bytes(data))
