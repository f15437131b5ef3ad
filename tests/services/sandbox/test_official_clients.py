"""The vendors' own clients believe the sandbox."""

import asyncio
from typing import Any

import pytest

openai = pytest.importorskip("openai", reason="pip install openai")
anthropic = pytest.importorskip("anthropic", reason="pip install anthropic")

PROMPT = "hello there [[sandbox output_tokens=9 {}]]"


def open_ai(sandbox: Any, **options: Any) -> Any:
    return openai.AsyncOpenAI(
        base_url=sandbox.base + "/openai/v1",
        api_key="key",
        _strict_response_validation=True,
        **options,
    )


def anthropic_ai(sandbox: Any, **options: Any) -> Any:
    return anthropic.AsyncAnthropic(
        base_url=sandbox.base + "/anthropic",
        api_key="key",
        _strict_response_validation=True,
        **options,
    )


def ask(knobs: str = "") -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPT.format(knobs)}]


async def test_openai_unary_and_stream_say_the_same(sandbox: Any) -> None:
    async with open_ai(sandbox) as client:
        whole = await client.chat.completions.create(model="gpt-x", messages=ask())
        stream = await client.chat.completions.create(
            model="gpt-x", messages=ask(), stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text
    assert len(text) == 36
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage == chunks[-1].usage
    assert whole.usage.completion_tokens == 9


async def test_openai_without_usage_asked_gets_none(sandbox: Any) -> None:
    async with open_ai(sandbox) as client:
        stream = await client.chat.completions.create(model="m", messages=ask(), stream=True)
        chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_openai_errors_have_their_classes(sandbox: Any) -> None:
    async with open_ai(sandbox, max_retries=0) as client:
        for knobs, error in [
            ("fail=401", openai.AuthenticationError),
            ("fail=404", openai.NotFoundError),
            ("throttle", openai.RateLimitError),
            ("fail=500", openai.InternalServerError),
            ("zork=1", openai.BadRequestError),
        ]:
            with pytest.raises(error):
                await client.chat.completions.create(model="m", messages=ask(knobs))


async def test_openai_client_retries_until_it_succeeds(sandbox: Any) -> None:
    async with open_ai(sandbox, max_retries=3) as client:
        knobs = "fail_first=2:sdk throttle=0.01"
        whole = await client.chat.completions.create(model="m", messages=ask(knobs))
    assert whole.usage.completion_tokens == 9
    ends = [row for row in sandbox.rows() if row["row"] == "end"]
    assert [row["http_status"] for row in ends] == [429, 429, 200]


async def test_openai_client_that_closes_its_stream_stops_the_bill(sandbox: Any) -> None:
    async with open_ai(sandbox) as client:
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "[[sandbox output_tokens=900 token_ms=2]]"}],
            stream=True,
            extra_headers={"x-request-id": "a"},
        )
        async for _ in stream:
            break
        await stream.close()
    async with asyncio.timeout(5):
        bill = await sandbox.billed("a")
    assert bill["status"] == "client_gone"
    assert bill["output_tokens"] < 900


async def test_anthropic_unary_and_stream_say_the_same(sandbox: Any) -> None:
    async with anthropic_ai(sandbox) as client:
        request: dict[str, Any] = {
            "model": "claude-x",
            "max_tokens": 50,
            "system": "be kind",
            "messages": ask(),
        }
        whole = await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            text = await stream.get_final_text()
            final = await stream.get_final_message()
    assert whole.content[0].text == text == final.content[0].text
    assert len(text) == 36
    assert whole.stop_reason == final.stop_reason == "end_turn"
    assert whole.usage.output_tokens == final.usage.output_tokens == 9
    assert whole.usage.input_tokens == final.usage.input_tokens


async def test_anthropic_errors_have_their_classes(sandbox: Any) -> None:
    async with anthropic_ai(sandbox, max_retries=0) as client:
        for knobs, error in [
            ("fail=401", anthropic.AuthenticationError),
            ("throttle", anthropic.RateLimitError),
            ("fail=500", anthropic.InternalServerError),
            ("zork=1", anthropic.BadRequestError),
        ]:
            with pytest.raises(error):
                await client.messages.create(model="m", max_tokens=9, messages=ask(knobs))
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(model="m", max_tokens=9, messages=ask("fail=529"))
        assert caught.value.status_code == 529


TOOL_CALL = 'tool=weather json={"place":"Bern"}'


async def test_openai_client_reads_a_tool_call_streamed_and_whole(sandbox: Any) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    async with open_ai(sandbox) as client:
        whole = await client.chat.completions.create(
            model="m", messages=ask(TOOL_CALL), tools=tools
        )
        async with client.chat.completions.stream(
            model="m", messages=ask(TOOL_CALL), tools=tools
        ) as stream:
            streamed = await stream.get_final_completion()
    for answer in (whole, streamed):
        (call,) = answer.choices[0].message.tool_calls
        assert (call.function.name, call.function.arguments) == ("weather", '{"place":"Bern"}')
        assert answer.choices[0].finish_reason == "tool_calls"


async def test_anthropic_client_reads_a_tool_call_streamed_and_whole(sandbox: Any) -> None:
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    async with anthropic_ai(sandbox) as client:
        asked = {"model": "m", "max_tokens": 99, "messages": ask(TOOL_CALL), "tools": tools}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        (block,) = answer.content
        assert (block.type, block.name, block.input) == ("tool_use", "weather", {"place": "Bern"})
        assert answer.stop_reason == "tool_use"


async def test_a_tool_that_is_not_on_offer_is_refused(sandbox: Any) -> None:
    async with open_ai(sandbox) as client:
        with pytest.raises(openai.BadRequestError, match="no tool is called `weather`"):
            await client.chat.completions.create(model="m", messages=ask(TOOL_CALL))


async def test_openai_client_gets_the_same_vector_for_the_same_text(sandbox: Any) -> None:
    async with open_ai(sandbox) as client:
        two = await client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    async with openai.AsyncOpenAI(base_url=sandbox.base + "/openai/v1", api_key="key") as client:
        one = await client.embeddings.create(model="m", input="b", dimensions=256)  # in base64
    assert two.usage.prompt_tokens == 1
    assert one.data[0].embedding == pytest.approx(two.data[1].embedding, rel=1e-6)
    assert two.data[0].embedding != two.data[1].embedding
