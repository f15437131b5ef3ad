"""Our codecs read what Azure OpenAI answers: `azure` classic deployments, `openai` the v1 address."""

import random
from types import ModuleType
from typing import Any

import pytest

import fakes.azure
import fakes.azure_v1
from fakes.ask import HELLO, Told, ask
from fakes.azure.fake import AzureFake
from fakes.serve import Answer, Call, serving
from harmost.core.chat import Media, Message, Text, Tool, ToolCall

PNG = b"\x89PNG\r\n"
WEATHER = Tool("weather", "of a place", '{"type":"object","properties":{}}')
CALLS = (Call("call_1", "weather", '{"place":"B\\"ern"}'), Call("call_2", "weather", "{}"))
BOTH = pytest.mark.parametrize("vendor", [fakes.azure, fakes.azure_v1])


async def told(
    vendor: ModuleType, fake: AzureFake, messages: Any = HELLO, *, changes: Any = None, **asked: Any
) -> Told:
    async with serving(fake) as url:
        return await ask(
            vendor.spec(url, **(changes or {})),
            messages,
            model=vendor.MODEL,
            environment=vendor.ENVIRONMENT,
            **asked,
        )


@BOTH
@pytest.mark.parametrize("http2", [False, True])
async def test_an_answer_is_read_however_it_is_cut(vendor: ModuleType, http2: bool) -> None:
    answer = Answer(cached_tokens=64, reasoning_tokens=5)
    fake = AzureFake(answer=answer, cuts=random.Random(7))
    got = await told(vendor, fake, changes={"http2": http2}, stop=("END",))
    assert got.error is None
    assert got.parts == (Text(answer.text),)
    assert got.usage is not None
    assert (got.usage.cached_input_tokens, got.usage.reasoning_output_tokens) == (64, 5)
    assert got.response_id.startswith("chatcmpl-")
    (seen,) = fake.seen
    assert seen.headers["api-key"] == fake.key
    assert "authorization" not in seen.headers


@BOTH
async def test_tools_a_picture_and_a_schema_are_taken(vendor: ModuleType) -> None:
    fake = AzureFake(answer=Answer(text="", calls=CALLS, finish="tool_calls"))
    picture = Media(kind="image", media_type="image/png", data=PNG)
    got = await told(
        vendor,
        fake,
        (Message("user", (Text("?"), picture)),),
        tools=(WEATHER,),
        output_schema_json='{"type":"object","properties":{}}',
        reasoning_effort="high",
    )
    assert got.error is None
    assert got.parts == tuple(ToolCall(*call) for call in CALLS)


async def test_responses_are_there_at_the_v1_address() -> None:
    fake = AzureFake()
    got = await told(fakes.azure_v1, fake, changes={"codec": "openai-responses"})
    assert got.error is None
    assert got.parts == (Text(fake.answer.text),)
    assert fake.seen[0].path == "/openai/v1/responses"


@BOTH
@pytest.mark.parametrize(
    ("fault", "kind", "status", "retry_after_s"),
    [
        ("bad_request", "rejected", 400, None),
        ("unauthorized", "auth", 401, None),
        ("not_found", "not_found", 404, None),
        ("throttled", "throttled", 429, 7.0),
        ("server_error", "provider_error", 500, None),
        ("overloaded", "overloaded", 503, None),
        ("timeout", "timeout", 408, None),
        ("context_too_long", "context_too_long", 400, None),
        ("filtered", "content_filtered", 400, None),
        ("stall", "stalled", 0, None),
        ("cut", "broken", 0, None),
        ("garbage", "broken", 0, None),
    ],
)
async def test_a_fault_has_its_kind(
    vendor: ModuleType, fault: Any, kind: str, status: int, retry_after_s: float | None
) -> None:
    got = await told(vendor, AzureFake(fault=fault), changes={"idle_timeout_ms": 300})
    assert got.error is not None
    assert (got.error.kind, got.error.http_status) == (kind, status), got.error
    assert got.error.retry_after_s == retry_after_s
