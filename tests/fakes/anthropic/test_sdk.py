"""Anthropic's own client believes the fake: strict in types, no field that it does not know."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic, BaseModel
from anthropic.types import Message

from fakes.anthropic.answer import SIGNATURE
from fakes.anthropic.fake import KEY, AnthropicFake
from fakes.anthropic.request import LATER, OLDER
from fakes.serve import Answer, Call, Fault, serving

NO_ROOTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the machine's takes 60 ms a client
PNG = "iVBORw0KGgo="
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOL = {
    "name": "weather",
    "description": "of a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}
CALLS = (Call("toolu_1", "weather", '{"place":"Bern \\"See\\""}'), Call("toolu_2", "weather", "{}"))
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


class Client(AsyncAnthropic):
    """The vendor's; it would wait as long as `waits` say, and goes on at once."""

    waits: list[float]

    def _calculate_retry_timeout(self, *args: Any, **kwargs: Any) -> float:
        self.waits.append(super()._calculate_retry_timeout(*args, **kwargs))
        return 0


class Sdk:
    """The client, and the fake that it calls."""

    def __init__(self, fake: AnthropicFake, client: Client) -> None:
        self.fake, self.client = fake, client

    async def ask(self, *, streamed: bool, **asked: Any) -> Message:
        """The answer, whole; put together by the client where it is streamed."""
        asked = {"model": "m", "max_tokens": 99, "messages": HELLO, **asked}
        if not streamed:
            message = await self.client.messages.create(**asked)
        else:
            async with self.client.messages.stream(**asked) as stream:
                async for event in stream:
                    if event.type.startswith(("message_", "content_")):
                        assert not list(unknown(event))
                message = await stream.get_final_message()
        assert not list(unknown(message))
        return message


def unknown(value: object) -> Any:
    """Names of fields that the client has no type for."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for each in value.__dict__.values():
            yield from unknown(each)
    elif isinstance(value, list):
        for each in value:
            yield from unknown(each)


@asynccontextmanager
async def sdk(fake: AnthropicFake, version: str = LATER) -> AsyncIterator[Sdk]:
    older = {"anthropic-version": OLDER, "x-api-key": KEY} if version == OLDER else None
    async with serving(fake) as url:
        client = Client(
            base_url=url,
            api_key=KEY,
            timeout=0.25,
            default_headers=older,
            http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_ROOTS),
            _strict_response_validation=True,
        )
        client.waits = []
        async with client:
            yield Sdk(fake, client)


ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@ways
@pytest.mark.parametrize("version", [OLDER, LATER])
async def test_words_and_usage_are_read(streamed: bool, version: str) -> None:
    answer = Answer(input_tokens=110, cached_tokens=64, cache_write_tokens=16, output_tokens=21)
    async with sdk(AnthropicFake(answer), version) as to:
        told = await to.ask(streamed=streamed, system="be brief", stop_sequences=["END"])
    (block,) = told.content
    assert block.type == "text"
    assert block.text == answer.text
    assert told.stop_reason == "end_turn"
    usage = told.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (30, 64)
    assert (usage.cache_creation_input_tokens, usage.output_tokens) == (16, 21)
    assert to.fake.seen[0].headers["anthropic-version"] == version


@ways
async def test_marks_are_taken_and_their_time_is_told(streamed: bool) -> None:
    system = [{"type": "text", "text": "law", **MARK}]
    async with sdk(AnthropicFake(Answer(cache_write_tokens=50))) as to:
        told = await to.ask(streamed=streamed, system=system, tools=[{**TOOL, **MARK}])
    assert told.usage.cache_creation is not None
    assert told.usage.cache_creation.ephemeral_1h_input_tokens == 50
    assert told.usage.cache_creation.ephemeral_5m_input_tokens == 0


@ways
async def test_tools_are_called_and_answered(streamed: bool) -> None:
    answer = Answer(text="let me see", calls=CALLS, finish="tool_calls")
    async with sdk(AnthropicFake(answer)) as to:
        told = await to.ask(streamed=streamed, tools=[TOOL], tool_choice={"type": "any"})
        assert told.stop_reason == "tool_use"
        uses = [block for block in told.content if block.type == "tool_use"]
        assert [use.input for use in uses] == [{"place": 'Bern "See"'}, {}]
        to.fake.answer = Answer("rain")
        results = [
            {"type": "tool_result", "tool_use_id": use.id, "content": "rain"} for use in uses
        ]
        said = [*HELLO, told.to_param(), {"role": "user", "content": results}]
        assert (await to.ask(streamed=streamed, messages=said, tools=[TOOL])).content


@ways
async def test_reasoning_comes_sealed_and_is_taken_back(streamed: bool) -> None:
    answer = Answer(reasoning="six by seven", reasoning_tokens=9)
    async with sdk(AnthropicFake(answer)) as to:
        told = await to.ask(streamed=streamed, thinking={"type": "adaptive"})
        thought = told.content[0]
        assert thought.type == "thinking"
        assert (thought.thinking, thought.signature) == ("six by seven", SIGNATURE)
        assert told.usage.output_tokens_details is not None
        assert told.usage.output_tokens_details.thinking_tokens == 9
        said = [*HELLO, told.to_param(), *HELLO]
        again = await to.ask(streamed=streamed, messages=said, thinking={"type": "disabled"})
    assert [block.type for block in again.content] == ["text"]


@ways
async def test_pictures_and_schemas_are_taken(streamed: bool) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = [{"type": "text", "text": "see"}, {"type": "image", "source": source}]
    asked = {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}
    async with sdk(AnthropicFake(Answer('{"a":"b"}'))) as to:
        told = await to.ask(
            streamed=streamed,
            messages=[{"role": "user", "content": content}],
            output_config=asked,
        )
    assert told.content[0].type == "text"


@ways
async def test_a_refusal_is_a_reason_to_stop(streamed: bool) -> None:
    async with sdk(AnthropicFake(Answer("", finish="content_filter"))) as to:
        told = await to.ask(streamed=streamed)
    assert (told.stop_reason, told.content) == ("refusal", [])


FAULTS: list[tuple[Fault, type[Exception], int]] = [
    ("bad_request", anthropic.BadRequestError, 1),
    ("unauthorized", anthropic.AuthenticationError, 1),
    ("not_found", anthropic.NotFoundError, 1),
    ("throttled", anthropic.RateLimitError, 3),
    ("quota", anthropic.PaymentRequiredError, 1),
    ("server_error", anthropic.InternalServerError, 3),
    ("overloaded", anthropic.OverloadedError, 3),
    ("timeout", anthropic.GatewayTimeoutError, 3),
    ("context_too_long", anthropic.BadRequestError, 1),
    ("filtered", anthropic.BadRequestError, 1),
]
BROKEN: list[tuple[Fault, bool, type[Exception], int]] = [
    ("stall", False, anthropic.APITimeoutError, 3),
    ("stall", True, httpx2.ReadTimeout, 1),
    ("cut", False, anthropic.APIConnectionError, 3),
    ("cut", True, httpx2.RemoteProtocolError, 1),
    ("garbage", False, UnicodeDecodeError, 1),
    ("garbage", True, UnicodeDecodeError, 1),
]


@pytest.mark.parametrize(
    ("fault", "streamed", "error", "calls"),
    [
        *((fault, way, error, calls) for fault, error, calls in FAULTS for way in (False, True)),
        *BROKEN,
    ],
)
async def test_faults_are_raised_after_as_many_calls(
    fault: Fault, streamed: bool, error: type[Exception], calls: int
) -> None:
    async with sdk(AnthropicFake(fault=fault)) as to:
        with pytest.raises(error) as raised:
            await to.ask(streamed=streamed)
    assert type(raised.value) is error
    assert len(to.fake.seen) == calls
    if fault == "throttled":
        assert to.client.waits == [7, 7]
    if isinstance(raised.value, anthropic.APIStatusError):
        assert raised.value.request_id


@ways
async def test_a_spend_limit_is_an_error_of_its_own_that_the_client_asks_again_for(
    streamed: bool,
) -> None:
    async with sdk(AnthropicFake(fault="quota", quota="spend_limit")) as to:
        with pytest.raises(anthropic.RateLimitError) as raised:
            await to.ask(streamed=streamed)
    assert raised.value.error_code == "enforced_spend_limit_reached"
    assert type(raised.value).__name__ == "EnforcedSpendLimitReachedError"
    assert len(to.fake.seen) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [("overloaded", "overloaded_error"), ("throttled", "rate_limit_error")],
)
async def test_a_stream_that_began_ends_with_an_error(fault: Fault, error: str) -> None:
    async with sdk(AnthropicFake(fault=fault, inside=True)) as to:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await to.ask(streamed=True)
    assert raised.value.type == error
    assert len(to.fake.seen) == 1


def called(name: str) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
    return {"role": "assistant", "content": [use]}


def of_user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def text(words: str = "a", **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def mark(ttl: str) -> dict[str, Any]:
    return {"cache_control": {"type": "ephemeral", "ttl": ttl}}


DOCUMENT = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"extra_body": {"temperature": 1}}, "temperature: Extra inputs are not permitted"),
        ({"extra_body": {"top_p": 0.99}}, "top_p: Extra inputs are not permitted"),
        ({"extra_body": {"seed": 1}}, "seed: Extra inputs are not permitted"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [*HELLO, called("no!")]}, "messages.1.content.0.name"),
        ({"messages": [*HELLO, called("f"), *HELLO]}, "ids were found without `tool_result`"),
        (
            of_user({"type": "tool_result", "tool_use_id": "x", "content": "a"}),
            "unexpected `tool_use_id`",
        ),
        ({"messages": [{"role": "assistant", "content": [DOCUMENT]}]}, "`document` blocks are not"),
        (of_user(text(" ")), "text content blocks must contain non-whitespace text"),
        (of_user(*[text(**mark("5m"))] * 5), "A maximum of 4 blocks with cache_control"),
        (
            of_user(text(**mark("5m")), text(**mark("1h"))),
            "messages.0.content.1.cache_control.ttl: a ttl='1h'",
        ),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "Tool 'f' not found"),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "any"},
                "thinking": {"type": "adaptive"},
            },
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "'additionalProperties' must be explicitly set to false",
        ),
    ],
)
async def test_what_the_vendor_refuses_is_refused(asked: dict[str, Any], said: str) -> None:
    async with sdk(AnthropicFake()) as to:
        with pytest.raises(anthropic.BadRequestError) as raised:
            await to.ask(streamed=False, **asked)
    assert said in str(raised.value.api_message)


async def test_the_older_version_takes_what_the_later_refuses() -> None:
    document = {"role": "assistant", "content": [DOCUMENT]}
    async with sdk(AnthropicFake(), OLDER) as to:
        sampled = {"temperature": 0.7, "top_p": 0.9, "top_k": 5}
        assert await to.ask(streamed=False, extra_body=sampled, messages=[*HELLO, document])


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"anthropic-version": "2020-01-01"}, "is not a valid version"),
        ({"authorization": "Bearer x"}, "invalid bearer token"),
        ({"anthropic-version": OLDER}, "invalid x-api-key"),
    ],
)
async def test_strangers_are_refused(headers: dict[str, str], said: str) -> None:
    async with sdk(AnthropicFake()) as to:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await to.ask(streamed=False, extra_headers=headers)
    assert said in str(raised.value.api_message)
