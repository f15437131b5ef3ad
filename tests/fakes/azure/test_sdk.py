"""OpenAI's own clients for Azure believe the fake: classic deployments and the v1 address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from fakes.azure.fake import AzureFake
from fakes.serve import Answer, Call, serving

HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
CALLS = (Call("call_1", "weather", '{"place":"Bern"}'), Call("call_2", "weather", "{}"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)


@asynccontextmanager
async def client_of(fake: AzureFake, kind: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with serving(fake) as url:
        if kind == "v1":
            made = openai.AsyncOpenAI(
                base_url=f"{url}/openai/v1/", api_key=fake.key, _strict_response_validation=True
            )
        else:
            by_token = {"azure_ad_token": fake.key} if kind == "token" else {"api_key": fake.key}
            made = openai.AsyncAzureOpenAI(
                azure_endpoint=url,
                api_version="2024-10-21",
                _strict_response_validation=True,
                **by_token,  # type: ignore[arg-type]
            )
        async with made:
            yield made


@pytest.mark.parametrize("kind", ["key", "token", "v1"])
async def test_an_answer_is_the_same_whole_and_streamed(kind: str) -> None:
    fake = AzureFake(answer=Answer(cached_tokens=64, reasoning_tokens=5))
    async with client_of(fake, kind) as client:
        whole = await client.chat.completions.create(model="gpt-x", messages=HELLO)
        stream = await client.chat.completions.create(
            model="gpt-x", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        first, *chunks = [chunk async for chunk in stream]
    assert first.choices == []
    assert "prompt_filter_results" in (first.model_extra or {})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text == fake.answer.text
    assert whole.usage == chunks[-1].usage
    assert "prompt_filter_results" in (whole.model_extra or {})


@pytest.mark.parametrize("kind", ["key", "v1"])
async def test_tools_are_called(kind: str) -> None:
    fake = AzureFake(answer=Answer(text="", calls=CALLS, finish="tool_calls"))
    async with client_of(fake, kind) as client:
        whole: Any = await client.chat.completions.create(
            model="gpt-x", messages=HELLO, tools=[WEATHER]
        )
    calls = whole.choices[0].message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in calls] == list(CALLS)


@pytest.mark.parametrize("kind", ["key", "v1"])
@pytest.mark.parametrize(
    ("fault", "error", "calls", "code"),
    [
        ("bad_request", openai.BadRequestError, 1, "unsupported_value"),
        ("unauthorized", openai.AuthenticationError, 1, "401"),
        ("not_found", openai.NotFoundError, 1, "DeploymentNotFound"),
        ("throttled", openai.RateLimitError, 3, "429"),
        ("server_error", openai.InternalServerError, 3, None),
        ("overloaded", openai.InternalServerError, 3, None),
        ("timeout", openai.APIStatusError, 3, "Timeout"),
        ("context_too_long", openai.BadRequestError, 1, "context_length_exceeded"),
        ("filtered", openai.BadRequestError, 1, "content_filter"),
    ],
)
async def test_a_fault_has_its_class_and_number_of_calls(
    kind: str, fault: Any, error: type[openai.APIStatusError], calls: int, code: str | None
) -> None:
    fake = AzureFake(fault=fault)
    if fault == "throttled":
        fake.headers = {"retry-after-ms": "2"}
    async with client_of(fake, kind) as client:
        with pytest.raises(error) as raised:
            await client.chat.completions.create(model="gpt-x", messages=HELLO)
    assert raised.value.code == code
    assert len(fake.seen) == calls


async def test_an_unknown_deployment_or_version_is_not_found() -> None:
    fake = AzureFake()
    async with client_of(fake, "key") as client:
        with pytest.raises(openai.NotFoundError, match="API deployment"):
            await client.chat.completions.create(model="other", messages=HELLO)
        with pytest.raises(openai.NotFoundError, match="Resource not found"):
            await client.chat.completions.create(
                model="gpt-x", messages=HELLO, extra_query={"api-version": "2020-01-01"}
            )
