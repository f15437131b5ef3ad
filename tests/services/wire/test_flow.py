"""Flow control, deadlines and broken connections: who waits for whom, and what is let go."""

import asyncio
from typing import Any

import grpc
import ngh2
import pytest
from wire_harness import RawClient, Running, eventually, frame, payload, pb, running

KIB = 1024
NO_CREDIT = {ngh2.Setting.INITIAL_WINDOW_SIZE: 0}


async def test_writer_waits_for_a_caller_that_does_not_read(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.Pour(pb.SimpleRequest(response_size=10 * KIB))
        await call.read()
        await asyncio.sleep(0.3)
        poured = server.servicer.poured
        await asyncio.sleep(0.2)
        assert server.servicer.poured == poured
        assert poured < 10_000
        for _ in range(poured + 10):  # reading on makes it go on
            await call.read()
        call.cancel()
        await eventually(lambda: server.servicer.left == 1)


async def test_a_caller_that_does_not_read_holds_up_nobody_else(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        stuck = stub.Pour(pb.SimpleRequest(response_size=10 * KIB))
        await stuck.read()
        await asyncio.sleep(0.1)
        request = pb.SimpleRequest(response_size=100 * KIB)
        answers = await asyncio.gather(*[stub.UnaryCall(request, timeout=5) for _ in range(20)])
        assert len(answers) == 20
        stuck.cancel()


async def test_caller_waits_for_a_handler_that_does_not_read(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.Hold()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(400):
                await call.write(pb.StreamingInputCallRequest(payload=payload(100 * KIB)))
                written += 1

        writing = asyncio.ensure_future(write())
        await asyncio.sleep(0.3)
        stalled_at = written
        assert stalled_at < 200
        server.servicer.released.set()
        await writing
        await call.done_writing()
        assert (await call).aggregated_payload_size == 400 * 100 * KIB


async def test_message_of_the_largest_size_passes(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        request = pb.SimpleRequest(payload=payload(4 * KIB * KIB - 20), response_size=3_000_000)
        assert len((await stub.UnaryCall(request)).payload.body) == 3_000_000


async def test_deadline_ends_a_stream_in_the_middle(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        parameters = [pb.ResponseParameters(size=1, interval_us=20_000)] * 100
        request = pb.StreamingOutputCallRequest(response_parameters=parameters)
        call = stub.StreamingOutputCall(request, timeout=0.2)
        seen = 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                seen += 1
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 1 <= seen < 15


async def test_deadline_that_has_passed_ends_the_call(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sleep(pb.Empty(), timeout=0)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_server_keeps_deadlines_for_callers_that_do_not(serve: Any) -> None:
    async with serve() as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("Sleep", (b"grpc-timeout", b"50m"))
        await eventually(lambda: server.servicer.cancelled == 1)
        # grpc.aio resets, wire says why: either ends the call at the caller's.
        await eventually(lambda: client.of(ngh2.StreamClosed, stream_id))
        client.close()


async def test_abrupt_disconnect_stops_handlers(serve: Any) -> None:
    async with serve() as server:
        client = await RawClient.connect(server.port)
        for _ in range(10):
            client.call("Sleep")
        client.call("Pour", body=pb.SimpleRequest(response_size=100).SerializeToString())
        await eventually(lambda: server.servicer.entered == 10 and server.servicer.poured)
        client.close()
        await eventually(lambda: server.servicer.cancelled == 10 and server.servicer.left == 1)


async def test_reset_stops_the_handler(serve: Any) -> None:
    async with serve() as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("Sleep")
        await eventually(lambda: server.servicer.entered == 1)
        client.reset(stream_id)
        await eventually(lambda: server.servicer.cancelled == 1)
        client.close()


async def test_request_cut_at_every_byte_arrives(serve: Any) -> None:
    body = frame(pb.SimpleRequest(response_size=7, payload=payload(20)).SerializeToString())
    async with serve() as server:
        client = await RawClient.connect(server.port)
        streams = []
        for cut in range(len(body) + 1):
            stream_id = client.call("UnaryCall", body=None)
            client.send(stream_id, body[:cut])
            client.send(stream_id, body[cut:], end=True)
            streams.append(stream_id)
        await eventually(lambda: all(client.status(s) == 0 for s in streams))
        client.close()


async def test_many_messages_in_one_frame_arrive(serve: Any) -> None:
    body = frame(pb.StreamingInputCallRequest(payload=payload(5)).SerializeToString()) * 100
    async with serve() as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("StreamingInputCall", body=None)
        client.send(stream_id, body, end=True)
        await eventually(lambda: client.status(stream_id) == 0)
        answer = b"".join(event.data for event in client.of(ngh2.DataReceived, stream_id))
        assert pb.StreamingInputCallResponse.FromString(answer[5:]).aggregated_payload_size == 500
        client.close()


async def test_early_answer_stops_the_upload(serve: Any) -> None:
    async with serve() as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("FullDuplexCall", body=None)
        asked = pb.StreamingOutputCallRequest(
            response_status=pb.EchoStatus(code=9, message="enough")
        )
        client.send(stream_id, frame(asked.SerializeToString()))
        await eventually(lambda: client.of(ngh2.StreamClosed, stream_id))
        assert client.status(stream_id) == 9
        client.close()


# --- Bounds of memory, stated by `Limits`: wire alone ---------------------------------------------


def connection_of(server: Running) -> Any:
    (connection,) = server.server.connections
    return connection


async def test_unsent_bytes_of_a_stream_are_bounded() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port, NO_CREDIT)
        client.call("Pour", body=pb.SimpleRequest(response_size=KIB).SerializeToString())
        await eventually(lambda: server.servicer.poured > 10)
        await asyncio.sleep(0.1)
        limit = server.server.limits.stream_unsent_bytes_max
        assert connection_of(server).engine.queued() <= limit + 2 * KIB
        client.close()


async def test_unsent_bytes_of_a_connection_are_bounded() -> None:
    from harmost.services import wire

    limits = wire.Limits(connection_unsent_bytes_max=200 * KIB)
    async with running("wire", limits=limits) as server:
        client = await RawClient.connect(server.port, NO_CREDIT)
        request = pb.SimpleRequest(response_size=KIB).SerializeToString()
        for _ in range(200):
            client.call("Pour", body=request)
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        queued = connection_of(server).engine.queued()
        assert queued <= 2 * limits.connection_unsent_bytes_max
        assert len(connection_of(server).streams) == 200
        client.close()
        await eventually(lambda: not server.server.connections)


async def test_calls_that_begin_in_a_congestion_wait_and_are_served_after_it() -> None:
    from harmost.services import wire

    limits = wire.Limits(connection_unsent_bytes_max=10 * KIB)
    async with running("wire", limits=limits) as server:
        client = await RawClient.connect(server.port, NO_CREDIT)
        large = client.call(
            "UnaryCall", body=pb.SimpleRequest(response_size=100 * KIB).SerializeToString()
        )
        await eventually(lambda: connection_of(server).congested)
        waiting = client.call("EmptyCall")
        cancelled = client.call("EmptyCall")
        client.reset(cancelled)
        await asyncio.sleep(0.05)
        assert client.status(waiting) is None
        client.session.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 1 << 20})
        client.session.set_local_window_size(1 << 20)
        client.flush()
        await eventually(lambda: client.status(large) == 0 and client.status(waiting) == 0)
        client.close()


async def test_unread_bytes_of_a_stream_are_bounded() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("Hold", body=None)
        client.send(stream_id, frame(bytes(10 * KIB)) * 1000)
        await asyncio.sleep(0.3)
        window = server.server.limits.stream_window_bytes
        assert window <= connection_of(server).held_bytes <= 2 * window + 16 * KIB
        other = client.call("EmptyCall")
        await eventually(lambda: client.status(other) == 0)
        client.close()
        await eventually(lambda: not server.server.connections)


async def test_unread_bytes_of_a_connection_are_bounded() -> None:
    from harmost.services import wire

    limits = wire.Limits(connection_held_bytes_max=200 * KIB)
    async with running("wire", limits=limits) as server:
        client = await RawClient.connect(server.port)
        streams = [client.call("Hold", body=None) for _ in range(10)]
        await eventually(lambda: server.servicer.entered == 10)
        for stream_id in streams:
            client.send(stream_id, frame(bytes(60 * KIB)))
        await eventually(lambda: any(client.status(s) == 8 for s in streams))
        assert connection_of(server).held_bytes <= limits.connection_held_bytes_max
        for stream_id in streams:
            if client.status(stream_id) is None:
                client.reset(stream_id)
        await eventually(lambda: connection_of(server).held_bytes == 0)
        client.close()


async def test_a_loop_turn_takes_a_share_of_a_handler_that_never_waits() -> None:
    async with running("wire") as server, server.stub() as stub:
        call = stub.Pour(pb.SimpleRequest(response_size=10))
        read = asyncio.ensure_future(_drain(call))
        loop = asyncio.get_running_loop()
        worst_s = 0.0
        for _ in range(100):
            begun_s = loop.time()
            await asyncio.sleep(0.001)
            worst_s = max(worst_s, loop.time() - begun_s)
        read.cancel()
        call.cancel()
        assert worst_s < 0.1


async def _drain(call: Any) -> None:
    async for _ in call:
        pass
