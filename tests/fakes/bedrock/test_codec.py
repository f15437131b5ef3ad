"""Our codec reads what Amazon Bedrock answers."""

import json
import random
from typing import Any

import pytest

from fakes.ask import HELLO, Told, ask
from fakes.bedrock import ENVIRONMENT, MODEL, BedrockFake, spec
from fakes.bedrock.answers import SEAL
from fakes.bedrock.fake import Refusal
from fakes.serve import Answer, Call, serving
from harmost.core.chat import (
    Media,
    Message,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.usage import TokenUsage

PNG = b"\x89PNG\r\n"
WEATHER = Tool("weather", "of a place", '{"type":"object","properties":{}}', cache="1h")
CALLS = (Call("call_1", "weather", '{"place": "B\\"ern"}'), Call("call_2", "weather", "{}"))
SAID = tuple(ToolCall(*call) for call in CALLS)


async def told(
    fake: BedrockFake,
    messages: Any = HELLO,
    *,
    changes: Any = None,
    model: str = MODEL,
    environment: Any = ENVIRONMENT,
    **asked: Any,
) -> Told:
    async with serving(fake) as url:
        return await ask(
            spec(url, **(changes or {})), messages, model=model, environment=environment, **asked
        )


def usage_of(answer: Answer) -> TokenUsage:
    return TokenUsage(
        input_tokens=answer.input_tokens,
        cached_input_tokens=answer.cached_tokens,
        cache_write_5m_input_tokens=answer.cache_write_tokens,
        output_tokens=answer.output_tokens,
        exact=True,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("http2", [False, True])
async def test_an_answer_is_read_however_it_is_cut(http2: bool, seed: int) -> None:
    answer = Answer(cached_tokens=64, cache_write_tokens=9, finish="length")
    fake = BedrockFake(answer=answer, cuts=random.Random(seed))
    got = await told(fake, changes={"http2": http2}, temperature_permille=500, stop=("END",))
    assert got.error is None
    assert got.parts == (Text(answer.text),)
    assert got.finish == "length"
    assert got.usage == usage_of(answer)
    assert [seen.http_version for seen in fake.seen] == ["2" if http2 else "1.1"]
    assert fake.seen[0].raw_path == f"/model/{MODEL.replace(':', '%3A')}/converse-stream"


@pytest.mark.parametrize("seed", range(3))
async def test_parallel_calls_and_reasoning_are_read_and_handed_back(seed: int) -> None:
    answer = Answer(reasoning="Rain?", text="See.", calls=CALLS, finish="tool_calls")
    fake = BedrockFake(answer=answer, cuts=random.Random(seed))
    got = await told(fake, tools=(WEATHER,), reasoning_effort="high")
    assert got.parts == (Reasoning("Rain?", SEAL.encode()), Text("See."), *SAID)
    assert got.finish == "tool_calls"
    answered = (
        *HELLO,
        Message("assistant", got.parts),
        Message("tool", (ToolResult("call_1", '{"sky":"rain"}', cache="5m"),)),
        Message("tool", (ToolResult("call_2", "?", is_error=True),)),
        Message.of("user", "So?"),
    )
    fake.answer = Answer()
    for choice in (ToolChoice("named", "weather"), ToolChoice("none")):
        again = await told(fake, answered, tools=(WEATHER,), tool_choice=choice)
        assert again.error is None
        assert again.parts == (Text(fake.answer.text),)
    handed_back = fake.seen[1].json["messages"][1]["content"][0]["reasoningContent"]
    assert handed_back == {"reasoningText": {"text": "Rain?", "signature": SEAL}}


async def test_a_picture_documents_and_a_schema_are_taken() -> None:
    fake = BedrockFake(answer=Answer(text='{"place":"Bern"}'))
    parts = (
        Text("?", cache="5m"),
        Media(kind="image", media_type="image/png", data=PNG),
        Media(kind="file", media_type="application/pdf", data=b"%PDF"),
        Media(kind="file", media_type="text/plain", uri="s3://bucket/notes.txt"),
    )
    got = await told(
        fake,
        (Message("system", (Text("Be brief.", cache="1h"),)), Message("user", parts)),
        output_schema_json='{"type":"object"}',
    )
    assert got.error is None
    assert json.loads(got.parts[0].text) == {"place": "Bern"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fault", "kind", "status", "retry_after_s"),
    [
        ("bad_request", "rejected", 400, None),
        ("unauthorized", "auth", 403, None),
        ("not_found", "not_found", 404, None),
        ("throttled", "throttled", 429, 7.0),
        ("quota", "quota_exhausted", 429, None),
        ("server_error", "provider_error", 500, None),
        ("overloaded", "overloaded", 503, None),
        ("timeout", "timeout", 408, None),
        ("context_too_long", "context_too_long", 400, None),
        ("stall", "stalled", 0, None),
        ("cut", "broken", 0, None),
        ("garbage", "broken", 0, None),
    ],
)
async def test_a_fault_has_its_kind(
    fault: Any, kind: str, status: int, retry_after_s: float | None
) -> None:
    got = await told(BedrockFake(fault=fault), changes={"idle_timeout_ms": 300})
    assert got.error is not None
    assert (got.error.kind, got.error.http_status) == (kind, status), got.error
    assert got.error.retry_after_s == retry_after_s


async def test_other_exceptions_have_their_kinds() -> None:
    fake = BedrockFake(refusal=Refusal(429, "ModelNotReadyException", "not ready"))
    got = await told(fake)
    assert got.error is not None
    assert got.error.kind == "overloaded"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("throttlingException", "throttled"), ("modelStreamErrorException", "provider_error")],
)
async def test_a_stream_that_breaks_by_an_exception_keeps_what_was_said(
    name: str, kind: str
) -> None:
    fake = BedrockFake(breaks_by=(name, "why"), cuts=random.Random(1))
    got = await told(fake)
    assert got.error is not None
    assert (got.error.kind, got.error.message) == (kind, f"{name}: why")
    (said,) = got.parts
    assert isinstance(said, Text)
    assert said.text
    assert fake.answer.text.startswith(said.text)


async def test_what_is_filtered_ends_so() -> None:
    got = await told(BedrockFake(fault="filtered"))
    assert got.error is None
    assert got.finish == "content_filter"


async def test_a_key_that_is_wrong_or_missing_is_told() -> None:
    for environment, changes in (({"BEDROCK_FAKE_KEY": "wrong"}, {}), ({}, {"credentials": ""})):
        got = await told(BedrockFake(), environment=environment, changes=changes)
        assert got.error is not None
        assert got.error.kind == "auth"
        assert "wrong" not in got.error.message


async def test_an_event_stream_of_another_framing_is_no_answer() -> None:
    class Stranger(BedrockFake):
        def reply(self, seen: Any) -> Any:
            return super().reply(seen)._replace(headers={"content-type": "text/event-stream"})

    got = await told(Stranger())
    assert got.error is not None
    assert got.error.kind == "broken"
