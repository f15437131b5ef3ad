"""The buffer for grpc.aio: bounded, in order, whole before an error; and the listener of nobody."""

import asyncio
from typing import Any

import pytest

from harmost.core.errors import ProviderFailed
from harmost.router.v1 import router_pb2
from harmost.services.router.events import StepFinished
from harmost.services.router.listeners import BUFFER_BYTES_MAX, Nobody, listening


class Reader:
    """A context whose caller reads when `reads` is set."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.written: list[bytes] = []

    async def write(self, message: bytes) -> None:
        await self.reads.wait()
        self.written.append(message)

    @property
    def sequences(self) -> list[int]:
        parse = router_pb2.StreamChatResponse.FromString
        return [parse(message).sequence for message in self.written]


def delta(sequence: int, text: str) -> bytes:
    message = router_pb2.StreamChatResponse(sequence=sequence)
    message.delta.text = text
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


async def test_events_and_tokens_keep_their_order() -> None:
    context: Any = Reader()
    context.reads.set()
    async with listening(context) as listener:
        listener.tell(StepFinished(0, "a"))
        assert listener.relay(delta(1, "x") + delta(2, "y"))
        listener.sequence = 3
        listener.tell(StepFinished(1, "b"))
    assert context.sequences == [0, 1, 2, 3]


async def test_a_full_buffer_says_so_and_calls_back_when_there_is_room() -> None:
    context: Any = Reader()
    called = asyncio.Event()
    text = "x" * 1_000
    async with listening(context) as listener:
        listener.on_room(called.set)
        sent = 0
        while listener.relay(delta(sent, text)):
            sent += 1
        assert BUFFER_BYTES_MAX - 2_000 < sent * 1_000 <= BUFFER_BYTES_MAX
        await asyncio.sleep(0.01)
        assert not called.is_set()
        context.reads.set()
        await asyncio.wait_for(called.wait(), 5)
    assert context.sequences == list(range(sent + 1))


async def test_what_was_said_before_an_error_is_heard_before_it() -> None:
    context: Any = Reader()
    with pytest.raises(ProviderFailed):
        async with listening(context) as listener:
            listener.relay(delta(0, "x"))
            asyncio.get_running_loop().call_soon(context.reads.set)
            raise ProviderFailed("broke off")
    assert context.sequences == [0]


async def test_a_call_that_is_cancelled_does_not_wait_for_its_reader() -> None:
    context: Any = Reader()

    async def call() -> None:
        async with listening(context) as listener:
            listener.relay(delta(0, "x"))
            await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


def test_nobody_always_has_room() -> None:
    assert Nobody().relay(b"anything")
