"""The low-level face: a stream as bytes, and the same stream under a handler's context."""

import asyncio
from typing import Any, Self

import grpc
import ngh2
import pytest
from wire_harness import RawClient, TestServicer, eventually, frame, pb, rpc

from harmost.services import wire

METHOD = "/low.Level/Call"


class Relay:
    """A server whose one method is driven from outside, as a relay does it."""

    def __init__(self) -> None:
        self.streams: list[wire.Stream] = []
        self.messages: list[bytes] = []
        self.cancelled = 0
        self.drained = 0
        self.server = wire.Server()
        self.server.add_stream_handler(METHOD, self.take)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def take(self, stream: wire.Stream, message: bytes) -> None:
        """A new call."""
        stream.on_cancel = self.cancel
        stream.on_drain = self.drain
        self.streams.append(stream)
        self.messages.append(message)

    def cancel(self) -> None:
        """The caller has gone."""
        self.cancelled += 1

    def drain(self) -> None:
        """There is room again."""
        self.drained += 1

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(0)


async def test_messages_and_status_pass_without_a_task() -> None:
    async with Relay() as relay, grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}") as channel:
        call = channel.unary_stream(METHOD)(b"question")
        await eventually(lambda: relay.streams)
        tasks = len(asyncio.all_tasks())
        stream = relay.streams[0]
        assert stream.send(b"one")
        assert stream.send_framed(frame(b"two") + frame(b"three"))
        assert stream.send_compressed(b"four") is True
        stream.finish(0, "", (("x-end", "yes"),))
        assert not stream.send(b"late")
        assert len(asyncio.all_tasks()) <= tasks
        assert relay.messages == [b"question"]
        assert [bytes(await call.read()) for _ in range(3)] == [b"one", b"two", b"three"]
        call.cancel()
        assert relay.cancelled == 0


async def test_finish_carries_status_and_trailers() -> None:
    async with Relay() as relay, grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}") as channel:
        call = channel.unary_stream(METHOD)(b"")
        await eventually(lambda: relay.streams)
        relay.streams[0].finish(8, "none left", (("x-b-bin", b"\0"),))
        relay.streams[0].finish(0)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call.details() == "none left"
        assert dict(await call.trailing_metadata())["x-b-bin"] == b"\0"


async def test_cancel_is_told_once_within_the_turn() -> None:
    async with Relay() as relay:
        client = await RawClient.connect(relay.port)
        request = (b":path", METHOD.encode())
        headers = ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), request)
        stream_id = client.session.send_request((*headers, (b"content-type", b"application/grpc")))
        client.send(stream_id, frame(b""), end=True)
        await eventually(lambda: relay.streams)
        client.reset(stream_id)
        await eventually(lambda: relay.cancelled)
        client.close()
        await asyncio.sleep(0.02)
        assert relay.cancelled == 1
        relay.streams[0].finish(0)  # too late, and harmless


async def test_slow_reader_is_told_of_and_drained() -> None:
    async with Relay() as relay, grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}") as channel:
        call = channel.unary_stream(METHOD)(b"")
        await eventually(lambda: relay.streams)
        stream, sent = relay.streams[0], 0
        while stream.send(bytes(1000)):
            sent += 1
            assert sent < 1000
            if sent % 10 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: relay.drained == 1)
        stream.finish()
        assert len([message async for message in call]) == sent + 1


async def test_handler_gives_its_stream_away() -> None:
    class Giving(rpc.TestServiceServicer):
        async def StreamingOutputCall(self, request: Any, context: wire.Context) -> None:
            stream = context.stream
            loop = asyncio.get_running_loop()
            answer = pb.StreamingOutputCallResponse().SerializeToString()
            loop.call_later(0.01, stream.send, answer)
            loop.call_later(0.02, stream.finish, 0)
            await stream.wait_finished()

    server = wire.Server()
    rpc.add_TestServiceServicer_to_server(Giving(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = rpc.TestServiceStub(channel).StreamingOutputCall(pb.StreamingOutputCallRequest())
        assert len([answer async for answer in call]) == 1
        assert await call.code() is grpc.StatusCode.OK
    await server.stop(0)


async def test_two_request_messages_for_one_are_refused() -> None:
    async with Relay() as relay:
        rpc.add_TestServiceServicer_to_server(TestServicer(), relay.server)
        client = await RawClient.connect(relay.port)
        twice = client.call("EmptyCall", body=None)
        client.send(twice, frame(b"") * 2, end=True)
        never = client.call("EmptyCall", body=None)
        client.send(never, b"", end=True)
        short = client.call("EmptyCall", body=None)
        client.send(short, b"\0\0\0\0\5ab", end=True)
        await eventually(lambda: client.status(short) is not None)
        assert [client.status(s) for s in (twice, never, short)] == [12, 12, 13]
        client.close()


@pytest.mark.parametrize(
    ("extra", "flag", "status"),
    [
        (((b"grpc-encoding", b"snappy"),), 1, 12),
        (((b"grpc-encoding", b"gzip"),), 1, 13),
        ((), 1, 13),
        (((b"grpc-encoding", b"gzip"),), 0, 0),
        (((b"grpc-timeout", b"soon"),), 0, 13),
    ],
)
async def test_encodings_and_timeouts(
    extra: tuple[tuple[bytes, bytes], ...], flag: int, status: int
) -> None:
    async with Relay() as relay:
        rpc.add_TestServiceServicer_to_server(TestServicer(), relay.server)
        client = await RawClient.connect(relay.port)
        stream_id = client.call("EmptyCall", *extra, body=None)
        client.send(stream_id, frame(b"", flag=flag), end=True)
        await eventually(lambda: client.status(stream_id) is not None)
        assert client.status(stream_id) == status
        if status == 12:
            fields = dict(client.of(ngh2.ResponseReceived, stream_id)[0].headers)
            assert fields[b"grpc-accept-encoding"] == b"identity,gzip"
        client.close()


@pytest.mark.parametrize(
    ("fields", "http_status"),
    [
        (((b":method", b"POST"), (b"content-type", b"text/html")), b"415"),
        (((b":method", b"GET"), (b"content-type", b"application/grpc")), b"405"),
        (((b":method", b"POST"), (b"content-type", b"application/grpc+proto")), b"200"),
    ],
)
async def test_what_is_no_call_is_answered_in_http(
    fields: tuple[tuple[bytes, bytes], ...], http_status: bytes
) -> None:
    async with Relay() as relay:
        client = await RawClient.connect(relay.port)
        pseudo = ((b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/a/b"))
        stream_id = client.session.send_request(
            (*fields[:1], *pseudo, *fields[1:]), end_stream=True
        )
        client.flush()
        await eventually(lambda: client.of(ngh2.ResponseReceived, stream_id))
        assert dict(client.of(ngh2.ResponseReceived, stream_id)[0].headers)[b":status"] == (
            http_status
        )
        client.close()
