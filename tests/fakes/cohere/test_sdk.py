"""The vendor's own client believes the fake: plain, streamed, tools, pictures, schema, thinking, faults."""

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import cohere
import pytest
from cohere.core.api_error import ApiError
from cohere.core.http_sse import SSEError
from official_body import PNG
from pydantic import BaseModel

from fakes.cohere import MODEL
from fakes.cohere.fake import KEY, CohereFake
from fakes.serve import Answer, Call, Reply, Seen, serving

ASKED = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "of a place", "parameters": {"type": "object"}},
}
CALLS = (Call("c1", "weather", '{"place":"Bern"}'), Call("c2", "weather", '{"place":"Basel"}'))


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits between its calls; how many it makes stays the same."""
    monkeypatch.setattr("cohere.core.http_client.MAX_RETRY_DELAY_SECONDS", 0.001)


@asynccontextmanager
async def _client(fake: CohereFake, key: str = KEY) -> AsyncIterator[cohere.AsyncClientV2]:
    async with (
        serving(fake) as url,
        cohere.AsyncClientV2(api_key=key, base_url=url, timeout=10) as client,
    ):
        yield client


async def _streamed(client: cohere.AsyncClientV2, **asked: Any) -> list[Any]:
    asked = {"model": MODEL, "messages": ASKED, **asked}
    return [event async for event in client.chat_stream(**asked)]


def _strict(value: Any) -> None:
    """The client builds its models unchecked: read them again with every check, and no field more."""
    type(value).model_validate(value.model_dump())
    _no_more(value)


def _no_more(value: Any) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, value
        for name in type(value).model_fields:
            _no_more(getattr(value, name))
    for item in value if isinstance(value, list) else ():
        _no_more(item)


def _said(events: list[Any], kind: str) -> Iterator[Any]:
    return (event.delta.message for event in events if event.type == kind)


async def test_a_plain_answer_is_read_whole_and_streamed() -> None:
    fake = CohereFake(Answer(input_tokens=55, cached_tokens=12, output_tokens=9))
    async with _client(fake) as client:
        whole = await client.chat(model=MODEL, messages=ASKED)  # type: ignore[arg-type]
        events = await _streamed(client)
    _strict(whole)
    for event in events[1:]:  # the first holds empty lists that its type does not know
        _strict(event)
    assert whole.message.content is not None
    assert whole.message.content[0].text == fake.answer.text  # type: ignore[union-attr]
    assert "".join(m.content.text for m in _said(events, "content-delta")) == fake.answer.text
    assert whole.finish_reason == events[-1].delta.finish_reason == "COMPLETE"
    assert whole.usage == events[-1].delta.usage
    assert whole.usage is not None
    assert whole.usage.billed_units is not None
    assert whole.usage.billed_units.input_tokens == 55.0
    assert whole.usage.cached_tokens == 12.0


async def test_tools_are_planned_and_called() -> None:
    fake = CohereFake(Answer(text="", calls=CALLS, reasoning="ask both", finish="tool_calls"))
    async with _client(fake) as client:
        whole = await client.chat(model=MODEL, messages=ASKED, tools=[WEATHER])  # type: ignore[arg-type, list-item]
        events = await _streamed(client, tools=[WEATHER], tool_choice="REQUIRED")
    _strict(whole)
    assert whole.message.tool_plan == "ask both"
    assert [call.function.arguments for call in whole.message.tool_calls or ()] == [  # type: ignore[union-attr]
        call.arguments_json for call in CALLS
    ]
    assert "".join(m.tool_plan for m in _said(events, "tool-plan-delta")) == "ask both"
    starts = [m.tool_calls for m in _said(events, "tool-call-start")]
    assert [(call.id, call.function.name) for call in starts] == [
        ("c1", "weather"),
        ("c2", "weather"),
    ]
    arguments = "".join(m.tool_calls.function.arguments for m in _said(events, "tool-call-delta"))
    assert arguments == "".join(call.arguments_json for call in CALLS)
    assert events[-1].delta.finish_reason == "TOOL_CALL"


async def test_thinking_is_shown_unless_it_is_disabled() -> None:
    fake = CohereFake(Answer(reasoning="let me see"))
    async with _client(fake) as client:
        budget = {"type": "enabled", "token_budget": 5}
        whole = await client.chat(model=MODEL, messages=ASKED, thinking=budget)  # type: ignore[arg-type]
        events = await _streamed(client)
        quiet = await client.chat(model=MODEL, messages=ASKED, thinking={"type": "disabled"})  # type: ignore[arg-type]
    _strict(whole)
    assert [part.type for part in whole.message.content or ()] == ["thinking", "text"]
    assert [part.type for part in quiet.message.content or ()] == ["text"]
    thought = [m.content.thinking or "" for m in _said(events, "content-delta")]
    assert "".join(thought) == "let me see"


async def test_pictures_and_schemas_are_taken() -> None:
    fake = CohereFake()
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    seen = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": url}},
            ],
        }
    ]
    asked = {"type": "json_object", "json_schema": {"type": "object"}}
    async with _client(fake) as client:
        await client.chat(model=MODEL, messages=seen, response_format=asked)  # type: ignore[arg-type]
        with pytest.raises(cohere.BadRequestError):
            await _streamed(client, response_format=asked, tools=[WEATHER])


@pytest.mark.parametrize(
    ("fault", "raised", "calls"),
    [
        ("bad_request", cohere.BadRequestError, 1),
        ("unauthorized", cohere.UnauthorizedError, 1),
        ("not_found", cohere.NotFoundError, 1),
        ("throttled", cohere.TooManyRequestsError, 3),
        ("quota", ApiError, 1),
        ("server_error", cohere.InternalServerError, 3),
        ("overloaded", cohere.ServiceUnavailableError, 3),
        ("timeout", cohere.GatewayTimeoutError, 3),
        ("context_too_long", cohere.BadRequestError, 1),
        ("filtered", cohere.InvalidTokenError, 1),
    ],
)
async def test_faults_are_raised_after_so_many_calls(
    fault: str, raised: type[ApiError], calls: int
) -> None:
    fake = CohereFake(fault=fault)  # type: ignore[arg-type]
    async with _client(fake) as client:
        with pytest.raises(ApiError) as told:
            await client.chat(model=MODEL, messages=ASKED)  # type: ignore[arg-type]
        assert type(told.value) is raised
        assert told.value.body["message"]
        assert len(fake.seen) == calls
        with pytest.raises(raised):
            await _streamed(client)


async def test_a_stranger_is_refused() -> None:
    async with _client(CohereFake(), key="other") as client:
        with pytest.raises(cohere.UnauthorizedError):
            await _streamed(client)


async def test_a_stream_must_say_that_it_is_one() -> None:
    class Silent(CohereFake):
        def reply(self, seen: Seen) -> Reply:
            return super().reply(seen)._replace(headers={"content-type": "application/json"})

    async with _client(Silent()) as client:
        with pytest.raises(SSEError):
            await _streamed(client)
