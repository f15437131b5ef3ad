"""Our codec reads what OpenAI answers in Responses."""

import random
from typing import Any

import pytest

from fakes.ask import HELLO, Told, ask
from fakes.openai.fake import OpenAiFake
from fakes.openai_responses import ENVIRONMENT, MODEL, spec
from fakes.serve import Answer, Call, serving
from harmost.core.chat import Media, Message, Reasoning, Text, Tool, ToolCall, ToolResult
from harmost.core.usage import TokenUsage

PNG = b"\x89PNG\r\n"
WEATHER = Tool("weather", "of a place", '{"type":"object","properties":{}}')
CALLS = (Call("call_1", "weather", '{"place":"B\\"ern"}'), Call("call_2", "weather", "{}"))
SAID = tuple(ToolCall(*call) for call in CALLS)
SCHEMA = '{"type":"object","properties":{"place":{"type":"string"}}}'


async def told(
    fake: OpenAiFake, messages: Any = HELLO, *, changes: Any = None, **asked: Any
) -> Told:
    async with serving(fake) as url:
        return await ask(
            spec(url, **(changes or {})), messages, model=MODEL, environment=ENVIRONMENT, **asked
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("http2", [False, True])
async def test_an_answer_is_read_however_it_is_cut(http2: bool, seed: int) -> None:
    answer = Answer(cached_tokens=64, cache_write_tokens=9, reasoning_tokens=5, finish="length")
    fake = OpenAiFake(answer=answer, cuts=random.Random(seed))
    got = await told(fake, changes={"http2": http2}, temperature_permille=500)
    assert got.error is None
    assert got.parts == (Text(answer.text),)
    assert got.finish == "length"
    assert got.usage == TokenUsage(
        input_tokens=110,
        cached_input_tokens=64,
        cache_write_5m_input_tokens=9,
        output_tokens=21,
        reasoning_output_tokens=5,
        exact=True,
    )
    assert got.response_id.startswith("resp_")
    assert [seen.http_version for seen in fake.seen] == ["2" if http2 else "1.1"]
    assert fake.seen[0].json["store"] is False


@pytest.mark.parametrize("seed", range(3))
async def test_reasoning_and_parallel_calls_are_read_and_handed_back(seed: int) -> None:
    fake = OpenAiFake(
        answer=Answer(text="", calls=CALLS, finish="tool_calls", reasoning="Hm, hm."),
        cuts=random.Random(seed),
    )
    got = await told(fake, tools=(WEATHER,), reasoning_effort="high")
    assert got.finish == "tool_calls"
    reasoning, *calls = got.parts
    assert isinstance(reasoning, Reasoning)
    assert reasoning.text == "Hm, hm."
    assert reasoning.signature
    assert tuple(calls) == SAID
    answered = (
        *HELLO,
        Message("assistant", got.parts),
        Message("tool", tuple(ToolResult(call.call_id, "rain") for call in CALLS)),
    )
    fake.answer = Answer()
    again = await told(fake, answered, tools=(WEATHER,), reasoning_effort="high")
    assert again.error is None
    assert again.parts == (Text(fake.answer.text),)
    handed_back = fake.seen[1].json["input"][1]
    assert handed_back["encrypted_content"].startswith("gAAAA")
    assert handed_back["summary"] == [{"type": "summary_text", "text": "Hm, hm."}]


async def test_reasoning_of_another_vendor_is_left_out() -> None:
    thought = Message("assistant", (Reasoning("hm", b"another's seal"), Text("Hello.")))
    fake = OpenAiFake()
    got = await told(fake, (*HELLO, thought, *HELLO))
    assert got.error is None
    assert [item["role"] for item in fake.seen[0].json["input"]] == ["user", "assistant", "user"]


async def test_a_picture_a_schema_and_a_system_message_are_taken() -> None:
    fake = OpenAiFake(answer=Answer(text='{"place":"Bern"}'))
    picture = Media(kind="image", media_type="image/png", data=PNG)
    got = await told(
        fake,
        (Message("system", (Text("Be brief."),)), Message("user", (Text("?"), picture))),
        output_schema_json=SCHEMA,
        stop=("END",),
        seed=7,
    )
    assert got.error is None
    assert got.parts == (Text('{"place":"Bern"}'),)


@pytest.mark.parametrize(
    ("fault", "kind", "status", "retry_after_s"),
    [
        ("bad_request", "rejected", 400, None),
        ("unauthorized", "auth", 401, None),
        ("not_found", "not_found", 404, None),
        ("throttled", "throttled", 429, 7.0),
        ("quota", "quota_exhausted", 429, None),
        ("server_error", "provider_error", 500, None),
        ("overloaded", "overloaded", 503, None),
        ("context_too_long", "context_too_long", 0, None),
        ("stall", "stalled", 0, None),
        ("cut", "broken", 0, None),
        ("garbage", "broken", 0, None),
    ],
)
async def test_a_fault_has_its_kind(
    fault: Any, kind: str, status: int, retry_after_s: float | None
) -> None:
    got = await told(OpenAiFake(fault=fault), changes={"idle_timeout_ms": 300})
    assert got.error is not None
    assert (got.error.kind, got.error.http_status) == (kind, status), got.error
    assert got.error.retry_after_s == retry_after_s


async def test_what_is_filtered_ends_so() -> None:
    got = await told(OpenAiFake(fault="filtered"))
    assert got.error is None
    assert got.finish == "content_filter"


async def test_fewer_tokens_than_the_vendor_takes_are_refused_by_it() -> None:
    got = await told(OpenAiFake(), output_tokens_max=15)
    assert got.error is not None
    assert got.error.kind == "rejected"
    assert ">= 16" in got.error.message
