"""HTTP/1.1 to providers: keep-alive, closing, and what it does when a server misbehaves."""

import asyncio
from typing import Any

import pytest

from harmost.services.upstream import h1
from harmost.services.upstream.upstream import Billed, Unavailable

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
ONE = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one request whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return head


async def test_half_a_chunk_and_then_silence_is_stalled(raw: Any) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + chunk(ONE) + b"ff\r\nhalf")
        await reader.read()

    calls = await raw(half)
    _, recorder = calls.open(idle_timeout_ms=60)
    await recorder.ended()
    assert recorder.body == ONE + b"half"
    assert recorder.error.kind == "stalled"
    assert calls.upstream.connections == 0


async def test_silence_before_the_head_is_stalled(raw: Any) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nx: y")
        await reader.read()

    _, recorder = (await raw(mute)).open(first_byte_timeout_ms=60)
    await recorder.ended()
    assert recorder.error.kind == "stalled"


async def test_a_hundred_megabytes_are_passed_on_and_not_held(raw: Any) -> None:
    piece = b"x" * 1_000_000

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED)
        for _ in range(100):
            writer.write(chunk(piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    calls = await raw(floods)
    _call, recorder = calls.open()
    sizes: list[int] = []
    recorder.on_data = lambda data: sizes.append(len(data))
    await recorder.ended(60)
    assert recorder.error is None
    assert sum(sizes) == 100_000_000
    assert max(sizes) <= 1_000_000


async def test_pausing_stops_reading_and_the_server_feels_it(raw: Any) -> None:
    sent = 0

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request(reader)
        writer.write(CHUNKED)
        for _ in range(300):
            writer.write(chunk(b"x" * 100_000))
            await writer.drain()
            sent += 100_000
        writer.write(b"0\r\n\r\n")

    calls = await raw(floods)
    call, recorder = calls.open(idle_timeout_ms=60)
    recorder.on_first = call.pause
    await recorder.began.wait()
    await asyncio.sleep(0.3)
    stopped = sent
    assert len(recorder.data) == 1
    assert stopped < 25_000_000
    await asyncio.sleep(0.1)
    assert sent == stopped
    call.resume()
    await recorder.ended()
    assert (recorder.error, len(recorder.body)) == (None, 30_000_000)


async def test_a_paused_call_can_be_cancelled_and_the_connection_closes(raw: Any) -> None:
    closed = asyncio.Event()

    async def begins(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + chunk(ONE))
        await reader.read()
        closed.set()

    call, recorder = (await raw(begins)).open()
    await recorder.began.wait()
    call.pause()
    call.cancel()
    await asyncio.wait_for(closed.wait(), 1)


async def test_cancel_closes_the_socket_within_a_turn(raw: Any) -> None:
    closed_at = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    async def begins(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + chunk(ONE))
        await reader.read()
        closed_at.set_result(loop.time())

    call, recorder = (await raw(begins)).open()
    await recorder.began.wait()
    cancelled_s = loop.time()
    call.cancel()
    assert await closed_at - cancelled_s < 0.05


async def test_a_body_that_goes_on_after_its_end_costs_the_connection(raw: Any) -> None:
    served = 0

    async def surplus(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while True:
            await request(reader)
            served += 1
            writer.write(CHUNKED + chunk(ONE) + b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil")

    calls = await raw(surplus)
    for _ in range(2):
        _, recorder = calls.open()
        await recorder.ended()
        assert (recorder.error, recorder.body) == (None, ONE)
    assert served == 2


async def test_bytes_on_an_idle_connection_close_it(raw: Any) -> None:
    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + chunk(ONE) + b"0\r\n\r\n")
        await asyncio.sleep(0.03)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await reader.read()

    calls = await raw(speaks)
    _, recorder = calls.open()
    await recorder.ended()
    assert calls.upstream.connections == 1
    await asyncio.sleep(0.1)
    assert calls.upstream.connections == 0


async def test_an_idle_connection_is_closed_after_a_while(
    calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h1, "IDLE_S", 0.05)
    await calls.events("output_tokens=1")
    assert calls.upstream.connections == 1
    await asyncio.sleep(0.15)
    assert calls.upstream.connections == 0


async def test_a_post_on_a_connection_that_just_closed_is_not_sent_twice(raw: Any) -> None:
    seen: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(CHUNKED + chunk(ONE) + b"0\r\n\r\n")
        seen.append(await request(reader))

    calls = await raw(once)
    _, first = calls.open()
    await first.ended()
    _, second = calls.open()
    await second.ended()
    assert second.error.kind == "connect_failed"
    assert len(seen) == 2


async def test_a_lookup_on_a_connection_that_just_closed_is_sent_again(raw: Any) -> None:
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await request(reader)
        body = b'{"attempt_id":"a","status":"complete","input_tokens":1,"output_tokens":2}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        served += 1
        await request(reader)

    calls = await raw(once)
    for _ in range(2):
        assert isinstance(await calls.upstream.usage_lookup(calls.endpoint(), "a"), Billed)
    assert served == 2


async def test_books_longer_than_their_bound_are_cut_and_unreadable(raw: Any) -> None:
    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()

    calls = await raw(floods)
    assert isinstance(await calls.upstream.usage_lookup(calls.endpoint(), "a"), Unavailable)


async def test_an_answer_before_the_prompt_is_read_ends_the_call(raw: Any) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)

    calls = await raw(hasty)
    _, recorder = calls.open(text="x" * 8_000_000)
    await recorder.ended()
    assert recorder.error.kind == "context_too_long"
    assert calls.upstream.connections == 0


async def test_a_thousand_calls_on_few_connections(calls: Any) -> None:
    spec = {"connections_max": 20, "connect_timeout_ms": 20_000}
    answers = await asyncio.gather(
        *(calls.events("output_tokens=1", attempt_id=f"a{n}", **spec) for n in range(500))
    )
    assert all(type(events[-1]).__name__ == "Ended" for events in answers)
    assert calls.upstream.connections <= 20


async def test_a_server_that_takes_connections_and_says_nothing(raw: Any) -> None:
    async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    _, recorder = (await raw(mute)).open(first_byte_timeout_ms=50)
    await recorder.ended()
    assert recorder.error.kind == "stalled"


async def test_a_call_that_is_paused_before_its_first_byte_is_not_the_providers_silence(
    raw: Any,
) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED + chunk(ONE) + b"0\r\n\r\n")
        await reader.read()

    call, recorder = (await raw(answers)).open(first_byte_timeout_ms=60)
    call.pause()
    await asyncio.sleep(0.2)
    assert (recorder.over.is_set(), recorder.data) == (False, [])
    call.resume()
    await recorder.ended()
    assert (recorder.error, recorder.body) == (None, ONE)
