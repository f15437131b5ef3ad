"""Attacks end their own connection, ordinary load of the same kind does not, and others go on."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import ngh2
import pytest
from wire_harness import GRPC_HEADERS, RawClient, eventually, frame, pb, running

from harmost.services.wire import Limits, calls


async def test_rapid_reset_ends_the_connection_and_only_that() -> None:
    async with running("wire") as server, server.stub() as stub:
        attacker = await RawClient.connect(server.port)
        await stub.EmptyCall(pb.Empty())
        for _ in range(200):
            if attacker.closed.done():
                break
            with suppress(ngh2.NGH2Error):  # its own session has seen the GOAWAY
                for _ in range(100):
                    attacker.session.reset_stream(attacker.call("Sleep"), 8)
                attacker.flush()
            await asyncio.sleep(0)
        await asyncio.wait_for(attacker.closed, 20)
        await stub.EmptyCall(pb.Empty())
        await eventually(lambda: server.servicer.entered == server.servicer.cancelled)


async def test_three_thousand_streams_with_ten_percent_cancels_a_second_live() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        streams = [client.call("Sleep") for _ in range(3000)]
        await eventually(lambda: server.servicer.entered == 3000, within_s=20)
        begun_s, cancelled = time.monotonic(), 0
        while cancelled < 900:  # three seconds of it
            due = int((time.monotonic() - begun_s) * 300)
            while cancelled < due:
                client.session.reset_stream(streams.pop(0), 8)
                streams.append(client.call("Sleep"))
                cancelled += 1
            client.flush()
            await asyncio.sleep(0.01)
        await eventually(lambda: server.servicer.cancelled == cancelled)
        assert not client.closed.done()
        assert not client.of(ngh2.GoAwayReceived)
        client.close()
        await eventually(lambda: not server.server.connections)


async def test_a_client_may_cancel_everything_it_has_at_once() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        streams = [client.call("Sleep") for _ in range(3000)]
        await eventually(lambda: server.servicer.entered == 3000, within_s=20)
        for stream_id in streams:
            client.session.reset_stream(stream_id, 8)
        client.flush()
        await eventually(lambda: server.servicer.cancelled == 3000, within_s=10)
        stream_id = client.call("EmptyCall")
        await eventually(lambda: client.status(stream_id) == 0)
        client.close()


async def test_streams_above_the_limit_end_the_connection() -> None:
    async with running("wire", limits=Limits(streams_max=10)) as server:
        client = await RawClient.connect(server.port)
        for _ in range(10):
            client.call("Sleep")
        await eventually(lambda: server.servicer.entered == 10)
        client.transport.write(_headers(10_001))  # ngh2's client would wait for room
        await asyncio.wait_for(client.closed, 3)
        assert client.of(ngh2.GoAwayReceived)
        assert server.servicer.entered == 10


async def test_connections_above_the_limit_are_refused() -> None:
    async with running("wire", limits=Limits(connections_max=2)) as server:
        first, second = [await RawClient.connect(server.port) for _ in range(2)]
        await eventually(lambda: len(server.server.connections) == 2)
        third = await RawClient.connect(server.port)
        await asyncio.wait_for(third.closed, 3)
        first.close()
        await eventually(lambda: len(server.server.connections) == 1)
        fourth = await RawClient.connect(server.port)
        stream_id = fourth.call("EmptyCall")
        await eventually(lambda: fourth.status(stream_id) == 0)
        second.close()
        fourth.close()


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x-large", b"a" * 20_000)],
        [(b"x-many-%d" % i, b"a") for i in range(200)],
    ],
    ids=["size", "count"],
)
async def test_oversize_header_list_ends_the_connection_with_goaway(
    fields: list[tuple[bytes, bytes]],
) -> None:
    async with running("wire") as server, server.stub() as stub:
        client = await RawClient.connect(server.port)
        client.call("EmptyCall", *fields)
        await asyncio.wait_for(client.closed, 3)
        assert client.of(ngh2.GoAwayReceived)
        await stub.EmptyCall(pb.Empty())


async def test_garbage_ends_the_connection() -> None:
    async with running("wire") as server, server.stub() as stub:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\xff" * 1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(garbage)
            try:
                while await asyncio.wait_for(reader.read(1000), 3):
                    pass
            except ConnectionError:
                pass
            writer.close()
        await stub.EmptyCall(pb.Empty())
        await eventually(lambda: len(server.server.connections) == 1)


async def test_gzip_bomb_is_refused_within_its_limit() -> None:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(bytes(100 << 20)) + packer.flush()
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("UnaryCall", (b"grpc-encoding", b"gzip"), body=None)
        client.send(stream_id, frame(bomb, flag=1), end=True)
        await eventually(lambda: client.status(stream_id) == 8)
        client.close()


async def test_attacks_leave_an_ordinary_caller_its_answers() -> None:
    async with running("wire") as server, server.stub() as stub:
        client = await RawClient.connect(server.port, {ngh2.Setting.INITIAL_WINDOW_SIZE: 0})
        request = pb.SimpleRequest(response_size=1000).SerializeToString()
        for _ in range(2000):
            client.call("Pour", body=request)
        for _ in range(50):
            await stub.EmptyCall(pb.Empty(), timeout=5)
        client.close()
        await eventually(lambda: len(server.server.connections) == 1)


def _headers(stream_id: int) -> bytes:
    """A HEADERS frame of a call, without Huffman or table."""
    pseudo: list[Any] = [f for f in GRPC_HEADERS if f[0].startswith(b":")]
    ordinary: list[Any] = [f for f in GRPC_HEADERS if not f[0].startswith(b":")]
    block = b""
    for name, value in (*pseudo, (b":path", b"/grpc.testing.TestService/Sleep"), *ordinary):
        block += b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
    return len(block).to_bytes(3, "big") + b"\x01\x05" + stream_id.to_bytes(4, "big") + block


async def test_calls_that_begin_at_once_begin_over_many_turns() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        served = server.server._calls
        most = turns = 0
        for _ in range(500):
            client.session.send_data(
                client.session.send_request(
                    ((b":path", b"/grpc.testing.TestService/Sleep"), *GRPC_HEADERS)
                ),
                frame(b""),
                end_stream=True,
            )
        client.flush()
        before = 0
        async with asyncio.timeout(20):
            while server.servicer.entered < 500:
                await asyncio.sleep(0)
                begun = len(served.running)
                most, turns, before = max(most, begun - before), turns + (begun > before), begun
        assert most <= 2 * calls.TURN_CALLS_MAX  # a turn of ours may see two of the server's
        assert turns >= 500 / (2 * calls.TURN_CALLS_MAX)
        client.close()
        await eventually(lambda: server.servicer.cancelled == 500)


async def test_a_call_whose_caller_is_gone_before_its_turn_never_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running("wire") as server, server.stub() as stub:
        await stub.EmptyCall(pb.Empty())
        monkeypatch.setattr(calls, "TURN_CALLS_MAX", 0)
        client = await RawClient.connect(server.port)
        streams = [client.call("Sleep") for _ in range(30)]
        waiting = server.server._calls._waiting
        await eventually(lambda: len(waiting) == 30)
        for stream_id in streams[:-1]:
            client.session.reset_stream(stream_id, 8)
        client.flush()
        await eventually(lambda: sum(stream.finished for stream, _ in waiting) == 29)
        monkeypatch.setattr(calls, "TURN_CALLS_MAX", 16)
        await stub.EmptyCall(pb.Empty())  # a turn comes
        await eventually(lambda: server.servicer.entered == 1)
        assert not waiting
        client.close()


async def test_calls_that_are_cut_together_end_over_many_turns_of_the_loop() -> None:
    """A connection that breaks with 500 calls must not stop everybody for the sum of their ends."""
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        for _ in range(500):
            client.call("Sleep")
        client.flush()
        await eventually(lambda: server.servicer.entered == 500)
        told: list[int] = []
        for stream in next(iter(server.server.connections)).streams.values():
            stream.on_cancel = lambda: told.append(server.servicer.cancelled)
        del stream
        client.close()
        most = before = 0
        async with asyncio.timeout(20):
            while server.servicer.cancelled < 500:
                await asyncio.sleep(0)
                cut = server.servicer.cancelled
                most, before = max(most, cut - before), cut
        assert most <= 2 * calls.TURN_CALLS_MAX  # a turn of ours may see two of the server's
        assert told == [0] * 500  # what must stop at once is told before any handler ends
