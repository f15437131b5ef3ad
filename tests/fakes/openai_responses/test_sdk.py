"""OpenAI's own client believes the fake's Responses, in its strict mode."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from fakes.openai.fake import OpenAiFake
from fakes.serve import Answer, Call, serving

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
CALLS = (Call("call_1", "weather", '{"place":"Bern"}'), Call("call_2", "weather", "{}"))
SEALED: Any = {
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "high", "summary": "auto"},
}


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
    fake.answer = Answer(cached_tokens=64, cache_write_tokens=9)
    whole = await client.responses.create(model="gpt-x", input="hello")
    async with client.responses.stream(model="gpt-x", input="hello") as stream:
        events = [event async for event in stream]
        streamed = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert whole.output_text == streamed.output_text == fake.answer.text
    assert whole.status == streamed.status == "completed"
    assert whole.usage is not None
    assert whole.usage == streamed.usage
    assert whole.usage.input_tokens_details.cached_tokens == 64


async def test_every_event_is_one_that_the_client_knows(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(text="42", reasoning="Six by seven.", reasoning_tokens=9, calls=CALLS)
    stream = await client.responses.create(model="m", input="?", stream=True, **SEALED)
    names = [event.type async for event in stream]
    text = ["response.output_text.delta", "response.output_text.done", "response.content_part.done"]
    call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    shown = "response.reasoning_summary"
    assert list(dict.fromkeys(names)) == list(
        dict.fromkeys(
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                f"{shown}_part.added",
                f"{shown}_text.delta",
                f"{shown}_text.done",
                f"{shown}_part.done",
                "response.output_item.done",
                "response.content_part.added",
                *text,
                *call,
                "response.completed",
            ]
        )
    )


async def test_tools_and_reasoning_are_answered_under_their_seal(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(text="", calls=CALLS, finish="tool_calls", reasoning="Hm.")
    asked: Any = {"model": "m", "input": "?", "tools": [WEATHER], **SEALED}
    whole = await client.responses.create(**asked)
    async with client.responses.stream(**asked) as stream:
        streamed = await stream.get_final_response()
    for told in (whole, streamed):
        reasoning, *calls = told.output
        assert reasoning.type == "reasoning"
        assert [part.text for part in reasoning.summary] == ["Hm."]
        assert [
            (c.call_id, c.name, c.arguments) for c in calls if c.type == "function_call"
        ] == list(CALLS)
    items: Any = [item.model_dump(exclude_none=True) for item in whole.output]
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        for call in CALLS
    ]
    again: Any = {"model": "m", "store": False}
    await client.responses.create(input=[*items, *results], **again)
    with pytest.raises(openai.BadRequestError, match="No tool output found for function call"):
        await client.responses.create(input=[*items, results[0]], **again)
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        await client.responses.create(input=results, **again)
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        await client.responses.create(input=[{**items[0], "id": "rs_other"}], **again)
    del items[0]["encrypted_content"]
    with pytest.raises(openai.BadRequestError, match="Items are not persisted"):
        await client.responses.create(input=[items[0]], **again)


async def test_a_picture_and_a_schema_are_taken(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.answer = Answer(text='{"place":"Bern"}')
    picture = {
        "type": "input_image",
        "image_url": "data:image/png;base64,iVBORw0K",
        "detail": "auto",
    }
    asked: Any = [{"role": "user", "content": [{"type": "input_text", "text": "?"}, picture]}]
    told = await client.responses.parse(model="m", input=asked, text_format=Place)
    assert told.output_parsed == Place(place="Bern")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"stop": ["END"]}, "Unknown parameter: 'stop'"),
        ({"seed": 1}, "Unknown parameter: 'seed'"),
        ({"max_output_tokens": 15}, "Expected a value >= 16, but got 15 instead"),
        ({"tools": [{**WEATHER, "strict": None}]}, "'additionalProperties' is required"),
        ({"input": [{"role": "user", "content": [{"type": "text"}]}]}, "Invalid value for 'input"),
    ],
)
async def test_what_the_vendor_refuses_is_refused(
    client: openai.AsyncOpenAI, body: Any, message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        await client.responses.create(model="m", input="hello", extra_body=body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "error", "calls"),
    [
        ("unauthorized", openai.AuthenticationError, 1),
        ("throttled", openai.RateLimitError, 3),
        ("overloaded", openai.InternalServerError, 3),
    ],
)
async def test_a_fault_has_its_class_and_number_of_calls(
    fake: OpenAiFake,
    client: openai.AsyncOpenAI,
    fault: Any,
    error: type[openai.APIStatusError],
    calls: int,
    stream: bool,
) -> None:
    fake.fault = fault
    if fault == "throttled":
        fake.headers = {"retry-after-ms": "2"}
    with pytest.raises(error):
        await client.responses.create(model="m", input="hello", stream=stream)
    assert len(fake.seen) == calls


async def test_a_failure_inside_a_stream_is_raised_and_not_asked_again(
    fake: OpenAiFake, client: openai.AsyncOpenAI
) -> None:
    fake.fault = "context_too_long"
    stream = await client.responses.create(model="m", input="hello", stream=True)
    with pytest.raises(openai.APIError, match="maximum context length") as raised:
        [event async for event in stream]
    assert raised.value.code == "context_length_exceeded"
    assert len(fake.seen) == 1


@pytest.mark.parametrize(
    ("fault", "finish", "reason"),
    [("filtered", "stop", "content_filter"), ("", "length", "max_output_tokens")],
)
async def test_what_is_filtered_or_too_long_ends_so(
    fake: OpenAiFake, client: openai.AsyncOpenAI, fault: Any, finish: Any, reason: str
) -> None:
    fake.fault, fake.answer = fault, Answer(finish=finish)
    told = await client.responses.create(model="m", input="hello")
    stream = await client.responses.create(model="m", input="hello", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    for each in (told, last.response):
        assert each.incomplete_details is not None
        assert each.incomplete_details.reason == reason
