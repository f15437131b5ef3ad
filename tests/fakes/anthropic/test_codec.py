"""Our codec against the fake that Anthropic's own client believes, in both versions of the API."""

import random
from typing import Any, get_args

import pytest
from official_body import PNG, WEATHER

from fakes.anthropic import ENVIRONMENT, MODEL, spec
from fakes.anthropic.answer import SIGNATURE
from fakes.anthropic.fake import AnthropicFake
from fakes.anthropic.request import LATER, OLDER
from fakes.ask import Told, ask
from fakes.serve import Answer, Call, Fault, serving
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

CALLS = (
    Call("toolu_1", "weather", '{"place": "Bern \\"See\\""}'),
    Call("toolu_2", "weather", "{}"),
)
ASKED = (
    Message.of("system", "be brief"),
    Message("user", (Text("see"), Media(kind="image", media_type="image/png", data=PNG))),
    Message(
        "assistant",
        (Reasoning("hm", SIGNATURE.encode()), Reasoning("of another"), ToolCall("c0", "weather", "{}")),
    ),
    Message("tool", (ToolResult("c0", "rain", is_error=True),)),
    Message.of("assistant", "rain"),
    Message("user", (Text("and?"), Media(kind="file", uri="https://example.com/a.pdf"))),
)  # fmt: skip
SCHEMA = '{"type":"object","properties":{"a":{"type":"object","properties":{}}}}'
versions = pytest.mark.parametrize("version", [OLDER, LATER])


async def told(
    fake: AnthropicFake, *, http2: bool = False, version: str = "", **asked: Any
) -> Told:
    """What our side makes of it."""
    asked = {"messages": ASKED, "model": MODEL, "environment": ENVIRONMENT, **asked}
    async with serving(fake) as url:
        return await ask(spec(url, http2=http2, api_version=version), **asked)


@versions
@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_answers_are_read_however_they_are_cut(seed: int, http2: bool, version: str) -> None:
    answer = Answer(
        reasoning="let me see",
        input_tokens=90,
        cached_tokens=30,
        cache_write_tokens=20,
        output_tokens=40,
        reasoning_tokens=8,
    )
    fake = AnthropicFake(answer, cuts=random.Random(seed))
    said = await told(
        fake,
        http2=http2,
        version=version,
        stop=("END",),
        temperature_permille=700,
        top_p_permille=900,
        seed=5,
    )
    assert said.error is None
    assert said.parts == (Reasoning("let me see", SIGNATURE.encode()), Text(answer.text))
    assert said.finish == "stop"
    assert said.response_id.startswith("msg_")
    assert said.usage == TokenUsage(
        input_tokens=90,
        cached_input_tokens=30,
        cache_write_5m_input_tokens=20,
        output_tokens=40,
        reasoning_output_tokens=8,
    )
    (seen,) = fake.seen
    assert ("temperature" in seen.json) == (version == OLDER)
    assert seen.headers["anthropic-version"] == version


@versions
@pytest.mark.parametrize("mode", ["auto", "none", "required", "named"])
async def test_tools_are_called(mode: str, version: str) -> None:
    answer = Answer("let me see", calls=CALLS, finish="tool_calls")
    choice = ToolChoice(mode, "weather" if mode == "named" else "", True)  # type: ignore[arg-type]
    said = await told(
        AnthropicFake(answer, cuts=random.Random(7)),
        version=version,
        tools=(WEATHER, Tool("now")),
        tool_choice=choice,
        reasoning_effort="low",
        temperature_permille=700,
    )
    assert said.error is None
    assert said.parts == (Text("let me see"), *(ToolCall(*call) for call in CALLS))
    assert said.finish == "tool_calls"


async def test_results_of_parallel_calls_may_come_in_a_message_each() -> None:
    calls = tuple(ToolCall(f"c{n}", "weather", "{}") for n in range(2))
    results = [Message("tool", (ToolResult(call.call_id, "rain"),)) for call in calls]
    asked = (*ASKED[:2], Message("assistant", (Text("\n\n"), *calls)), *results)
    assert (await told(AnthropicFake(), messages=asked)).error is None


@pytest.mark.parametrize("effort", ["none", "low", "medium", "high"])
async def test_a_schema_that_is_open_and_an_effort_are_taken(effort: str) -> None:
    fake = AnthropicFake(Answer('{"a":{}}', reasoning="hm"))
    said = await told(
        fake, output_schema_json=SCHEMA, reasoning_effort=effort, temperature_permille=1_500
    )
    assert said.error is None
    assert (Reasoning("hm", SIGNATURE.encode()) in said.parts) == (effort != "none")


@pytest.mark.parametrize("ttl", ["5m", "1h"])
async def test_marks_are_taken_and_what_they_write_is_told_by_their_time(ttl: Any) -> None:
    fake = AnthropicFake(Answer(cache_write_tokens=50))
    marked = (
        Message("system", (Text("law", ttl),)),
        *[Message("user", (Text("a", "5m"), Text("b", "5m")))] * 3,
    )
    said = await told(fake, messages=marked, tools=(Tool("now", cache=ttl),))
    assert said.error is None
    assert said.usage is not None
    written = (said.usage.cache_write_5m_input_tokens, said.usage.cache_write_1h_input_tokens)
    assert written == (50, 0)  # the two of the hour are the first of eight: four stay
    assert str(fake.seen[0].json).count("cache_control") == 4
    said = await told(fake, messages=marked[:2], tools=(Tool("now", cache=ttl),))
    assert said.usage is not None
    hour = ttl == "1h"
    written = (said.usage.cache_write_5m_input_tokens, said.usage.cache_write_1h_input_tokens)
    assert written == ((0, 50) if hour else (50, 0))


@pytest.mark.parametrize("first", ["5m", "1h"])
async def test_marks_in_any_order_are_made_to_fit(first: Any) -> None:
    fake = AnthropicFake()
    marked = Message("user", (Text("a", first), Text("b", "1h"), Text("c", "5m"), Text("d", "1h")))
    said = await told(fake, messages=(marked,))
    assert said.error is None


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
async def test_it_ends_for_a_reason(finish: Any) -> None:
    said = await told(AnthropicFake(Answer("a", finish=finish)))
    assert said.finish == finish


KINDS: dict[Fault, str] = {
    "bad_request": "rejected",
    "unauthorized": "auth",
    "not_found": "not_found",
    "throttled": "throttled",
    "quota": "quota_exhausted",
    "server_error": "provider_error",
    "overloaded": "overloaded",
    "timeout": "timeout",
    "context_too_long": "context_too_long",
    "filtered": "content_filtered",
    "stall": "stalled",
    "cut": "broken",
    "garbage": "broken",
}


def test_every_fault_is_tried() -> None:
    assert {"", *KINDS} == set(get_args(Fault))


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("fault", KINDS)
async def test_faults_are_named(fault: Fault, http2: bool) -> None:
    fake = AnthropicFake(fault=fault, cuts=random.Random(3))
    said = await told(fake, http2=http2)
    assert said.error is not None
    assert said.error.kind == KINDS[fault], said.error
    assert said.error.retry_after_s == (7.0 if fault == "throttled" else None)
    assert len(fake.seen) == 1


async def test_a_spend_limit_is_no_throttling() -> None:
    said = await told(AnthropicFake(fault="quota", quota="spend_limit"))
    assert said.error is not None
    assert (said.error.kind, said.error.http_status) == ("quota_exhausted", 429)


@pytest.mark.parametrize(
    "fault", ["throttled", "overloaded", "server_error", "timeout", "quota", "context_too_long"]
)
async def test_faults_inside_a_stream_are_named(fault: Fault) -> None:
    fake = AnthropicFake(fault=fault, inside=True, cuts=random.Random(5))
    said = await told(fake)
    assert said.error is not None
    assert said.error.kind == KINDS[fault], said.error
    assert said.error.http_status == 0


@versions
async def test_a_wrong_key_is_told_as_such_and_not_shown(version: str) -> None:
    fake = AnthropicFake()
    said = await told(fake, version=version, environment={"ANTHROPIC_API_KEY": "sk-wrong"})
    assert said.error is not None
    assert said.error.kind == "auth"
    assert "sk-wrong" not in said.error.message
