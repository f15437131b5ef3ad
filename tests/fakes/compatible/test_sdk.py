"""OpenAI's client, with which all of these servers are meant to be called, believes each flavour."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from fakes.compatible import FLAVOURS, KEY, CompatibleFake
from fakes.serve import Answer, Call, serving

ASKED: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALLS = (Call("abcdefgh1", "weather", '{"place":"Bern"}'),)
FAULTS: dict[str, tuple[type[openai.APIStatusError], int]] = {
    "bad_request": (openai.BadRequestError, 1),
    "unauthorized": (openai.AuthenticationError, 1),
    "not_found": (openai.NotFoundError, 1),
    "throttled": (openai.RateLimitError, 3),
    "quota": (openai.APIStatusError, 1),
    "server_error": (openai.InternalServerError, 3),
    "overloaded": (openai.InternalServerError, 3),
    "timeout": (openai.InternalServerError, 3),
}

pytestmark = pytest.mark.parametrize("name", FLAVOURS)


@asynccontextmanager
async def _client(fake: CompatibleFake) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serving(fake) as url,
        openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", timeout=10) as client,
    ):
        yield client


async def test_answers_are_read_whole_and_streamed(name: str) -> None:
    fake = CompatibleFake(Answer(reasoning="hm", cached_tokens=30, reasoning_tokens=5), name=name)
    async with _client(fake) as client:
        whole = await client.chat.completions.create(model="m", messages=ASKED)
        stream = await client.chat.completions.create(model="m", messages=ASKED, stream=True)
        chunks = [chunk async for chunk in stream]
    content = whole.choices[0].message.content
    words = content if isinstance(content, str) else content[-1]["text"]  # type: ignore[index]
    assert words == fake.answer.text
    assert whole.usage is not None
    said = [c.choices[0].delta.content for c in chunks if c.choices]
    assert "".join(piece for piece in said if isinstance(piece, str)) == fake.answer.text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


async def test_tools_are_called(name: str) -> None:
    fake = CompatibleFake(Answer(text="", calls=CALLS, finish="tool_calls"), name=name)
    async with _client(fake) as client:
        whole = await client.chat.completions.create(model="m", messages=ASKED, tools=[WEATHER])
    (call,) = whole.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.arguments == '{"place":"Bern"}'


async def test_faults_are_raised_after_so_many_calls(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.001)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    fake = CompatibleFake(name=name, retry_after_s=0)
    async with _client(fake) as client:
        for fault, (raised, calls) in FAULTS.items():
            fake.fault = fault  # type: ignore[assignment]
            fake.seen.clear()
            with pytest.raises(openai.APIStatusError) as told:
                await client.chat.completions.create(model="m", messages=ASKED)
            assert type(told.value) is raised
            assert len(fake.seen) == calls, fault
