"""The sync client against a real server, from a thread of its own."""

import asyncio
from typing import Any

import pytest

from harmost.client import (
    ChatResult,
    Client,
    Delta,
    Event,
    Finished,
    PolicyDenied,
    ServiceUnavailable,
    Started,
    StepStarted,
)


async def test_chat_answers(address: str, key: str) -> None:
    def call() -> ChatResult:
        with Client(address, key) as client:
            return client.chat("hello", "hi")

    assert (await asyncio.to_thread(call)).text == "hello there"


async def test_events_are_typed(address: str, key: str) -> None:
    def call() -> list[Event]:
        with Client(address, key) as client:
            return list(client.stream("hello", "hi"))

    events = await asyncio.to_thread(call)
    assert [type(event) for event in events] == [Started, StepStarted, Delta, Finished]


async def test_breaking_out_cancels_the_call(address: str, key: str, router: Any) -> None:
    def call() -> Client:
        client = Client(address, key)
        for event in client.stream("endless", "hi"):
            if isinstance(event, Delta):
                break
        return client  # open still: it is not the closed channel that cancels

    client = await asyncio.to_thread(call)
    async with asyncio.timeout(5):
        assert await router.cancelled.wait()
    client.close()


async def test_a_denied_stream_raises(address: str, key: str, router: Any) -> None:
    def call() -> None:
        with Client(address, key) as client, client.stream("denied", "hi") as stream:
            next(stream)

    with pytest.raises(PolicyDenied, match="cards"):
        await asyncio.to_thread(call)
    assert router.calls == 1


async def test_only_keyed_chat_and_reads_are_made_again(
    address: str, key: str, router: Any
) -> None:
    def call(idempotency_key: str) -> ChatResult:
        router.calls, router.failures = 0, 2
        with Client(address, key) as client:
            return client.chat("hello", "hi", idempotency_key=idempotency_key)

    with pytest.raises(ServiceUnavailable):
        await asyncio.to_thread(call, "")
    assert router.calls == 1
    await asyncio.to_thread(call, "k")
    assert router.calls == 3


async def test_reads_and_outcomes(address: str, key: str) -> None:
    def call() -> tuple[list[str], list[str]]:
        with Client(address, key) as client:
            client.report_outcome("r-1", name="thumbs", score_permille=0)
            return [m.name for m in client.models()], [p.name for p in client.profiles()]

    assert await asyncio.to_thread(call) == (["a", "b"], ["hello"])
