"""OpenAI's own client believes the fake, in its strict mode."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from fakes.openai.fake import OpenAiFake
from fakes.serve import Answer, Call, serving

HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
CALLS = (Call("call_1", "weather", '{"place":"Bern"}'), Call("call_2", "weather", "{}"))
IMAGE = "data:image/png;base64,iVBORw0K"


class Place(BaseModel):
    place: str


@pytest.fixture
def fake() -> OpenAiFake:
    return OpenAiFake()


@pytest.fixture
async def client(
    fake: OpenAiFake, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[openai.AsyncOpenAI]:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    async with (
        serving(fake) as url,
        openai.AsyncOpenAI(
            base_url=url + "/v1", api_key=fake.key, _strict_response_validation=True
        ) as client,
    ):
        yield client


async def test_an_answer_is_the_same_whole_and_streamed(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(cached_tokens=64, cache_write_tokens=9, reasoning_tokens=5)
    whole = await client.chat.completions.create(model="gpt-x", messages=HELLO)
    async with client.chat.completions.stream(
        model="gpt-x", messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type async for event in stream}
        streamed = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert whole.choices[0].message.content == fake.answer.text
    assert streamed.choices[0].message.content == fake.answer.text
    assert whole.choices[0].finish_reason == streamed.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage == streamed.usage
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 64
    assert whole.usage.completion_tokens_details.reasoning_tokens == 5
    assert whole._request_id == "req_7f3c"


async def test_usage_is_streamed_only_where_it_is_asked_for(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert all([chunk.usage is None and chunk.choices async for chunk in stream])


async def test_tools_are_called_whole_and_streamed(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(text="", calls=CALLS, finish="tool_calls")
    asked: Any = {"model": "m", "messages": HELLO, "tools": [WEATHER]}
    whole = await client.chat.completions.create(**asked)
    async with client.chat.completions.stream(**asked) as stream:
        streamed = await stream.get_final_completion()
    for completion in (whole, streamed):
        message: Any = completion.choices[0].message
        calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls]
        assert calls == list(CALLS)
        assert message.content is None
    answered: Any = [
        *HELLO,
        whole.choices[0].message,
        *({"role": "tool", "tool_call_id": call.call_id, "content": "rain"} for call in CALLS),
    ]
    await client.chat.completions.create(model="m", messages=answered)
    with pytest.raises(openai.BadRequestError, match="call_2"):
        await client.chat.completions.create(model="m", messages=answered[:-1])
    with pytest.raises(openai.BadRequestError, match="preceeding message"):
        await client.chat.completions.create(model="m", messages=[HELLO[0], answered[-1]])


async def test_a_picture_and_a_schema_are_taken(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(text='{"place":"Bern"}')
    picture: Any = {"type": "image_url", "image_url": {"url": IMAGE}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "?"}, picture]}]
    told = await client.chat.completions.parse(
        model="m", messages=messages, response_format=Place, reasoning_effort="high"
    )
    assert told.choices[0].message.parsed == Place(place="Bern")
    picture["image_url"]["url"] = "data:image/tiff;base64,iVBORw0K"
    with pytest.raises(openai.BadRequestError, match="unsupported image"):
        await client.chat.completions.create(model="m", messages=messages)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"zork": 1}, "Unknown parameter: 'zork'"),
        ({"temperature": 3}, "Invalid value for 'temperature'"),
        ({"seed": "x"}, "Invalid type for 'seed': expected an integer, but got a string"),
        ({"messages": []}, "Invalid value for 'messages'"),
        ({"tool_choice": "auto"}, "only allowed when 'tools' are specified"),
    ],
)
async def test_what_the_vendor_refuses_is_refused(
    client: openai.AsyncOpenAI, body: Any, message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        await client.chat.completions.create(model="m", messages=HELLO, extra_body=body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "error", "calls", "code"),
    [
        ("bad_request", openai.BadRequestError, 1, "unsupported_value"),
        ("unauthorized", openai.AuthenticationError, 1, "invalid_api_key"),
        ("not_found", openai.NotFoundError, 1, "model_not_found"),
        ("throttled", openai.RateLimitError, 3, "rate_limit_exceeded"),
        ("quota", openai.RateLimitError, 3, "insufficient_quota"),
        ("server_error", openai.InternalServerError, 3, None),
        ("overloaded", openai.InternalServerError, 3, None),
        ("context_too_long", openai.BadRequestError, 1, "context_length_exceeded"),
    ],
)
async def test_a_fault_has_its_class_and_number_of_calls(
    fake: OpenAiFake,
    client: openai.AsyncOpenAI,
    fault: Any,
    error: type[openai.APIStatusError],
    calls: int,
    code: str | None,
    stream: bool,
) -> None:
    fake.fault = fault
    if fault == "throttled":
        fake.headers = {"retry-after-ms": "2"}  # the client waits as told
    with pytest.raises(error) as raised:
        await client.chat.completions.create(model="m", messages=HELLO, stream=stream)
    assert raised.value.code == code
    assert len(fake.seen) == calls


async def test_the_server_says_whether_to_come_again(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.fault, fake.headers = "throttled", {"x-should-retry": "false"}
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="m", messages=HELLO)
    assert len(fake.seen) == 1
    fake.fault, fake.headers = "bad_request", {"x-should-retry": "true"}
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="m", messages=HELLO)
    assert len(fake.seen) == 4


async def test_what_is_filtered_or_too_long_ends_so(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(finish="length")
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "length"
    fake.fault = "filtered"
    whole = await client.chat.completions.create(model="m", messages=HELLO)
    assert whole.choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("fault", "error", "options"),
    [
        ("cut", openai.APIConnectionError, {}),
        ("stall", openai.APITimeoutError, {"timeout": 0.2}),
    ],
)
async def test_a_stream_that_breaks_is_told(
    fake: OpenAiFake, client: openai.AsyncOpenAI, fault: Any, error: type[Exception], options: Any
) -> None:
    fake.fault = fault
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True, **options)
    text = ""
    with pytest.raises(error):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text
    assert fake.answer.text.startswith(text)


async def test_a_wrong_key_or_address_is_refused(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        await client.with_options(api_key="sk-wrong").chat.completions.create(
            model="m", messages=HELLO
        )
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        await client.completions.create(model="m", prompt="hello")
