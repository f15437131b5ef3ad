"""The life of a connection: keep-alive, age, idle, drain, stop. Short limits, real clocks."""

import asyncio
from typing import Any

import grpc
import ngh2
import pytest
from wire_harness import RawClient, eventually, pb, running

from harmost.services.wire import Limits


async def test_stop_lets_running_calls_end(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        parameters = [pb.ResponseParameters(size=5, interval_us=50_000)] * 6
        call = stub.StreamingOutputCall(
            pb.StreamingOutputCallRequest(response_parameters=parameters)
        )
        answers = call.__aiter__()
        assert await anext(answers)
        stopping = asyncio.ensure_future(server.server.stop(5))
        assert len([answer async for answer in answers]) == 5
        assert await call.code() is grpc.StatusCode.OK
        await stopping


async def test_stop_refuses_new_calls(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        asleep = asyncio.ensure_future(stub.Sleep(pb.Empty()))
        await eventually(lambda: server.servicer.entered)
        stopping = asyncio.ensure_future(server.server.stop(0.5))
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EmptyCall(pb.Empty())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await stopping
        with pytest.raises(grpc.aio.AioRpcError):
            await asleep


async def test_stop_cuts_off_what_outlives_its_grace(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        asleep = asyncio.ensure_future(stub.Sleep(pb.Empty()))
        await eventually(lambda: server.servicer.entered)
        begun_s = asyncio.get_running_loop().time()
        await server.server.stop(0.1)
        assert asyncio.get_running_loop().time() - begun_s < 2
        await eventually(lambda: server.servicer.cancelled == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asleep
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_stop_twice_is_harmless(serve: Any) -> None:
    async with serve() as server:
        await server.server.stop(None)
        await server.server.stop(None)


async def test_silent_peer_is_pinged_and_then_dropped() -> None:
    limits = Limits(keepalive_s=0.1, keepalive_timeout_s=0.2)
    async with running("wire", limits=limits) as server:
        client = await RawClient.connect(server.port)
        await eventually(lambda: client.of(ngh2.PingReceived))
        assert not client.closed.done()
        client.quiet = True
        await asyncio.wait_for(client.closed, 3)


async def test_peer_that_sends_no_settings_is_dropped() -> None:
    async with running("wire", limits=Limits(handshake_s=0.1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"PRI * HTTP/2.0\r\n")
        with pytest.raises(ConnectionError):
            while await asyncio.wait_for(reader.read(1000), 3):
                pass
            raise ConnectionResetError
        writer.close()


async def test_idle_connection_gets_goaway() -> None:
    async with running("wire", limits=Limits(idle_s=0.1)) as server:
        client = await RawClient.connect(server.port)
        stream_id = client.call("EmptyCall")
        await eventually(lambda: client.status(stream_id) == 0)
        await asyncio.wait_for(client.closed, 3)
        assert client.of(ngh2.GoAwayReceived)[0].error_code == 0


async def test_old_connection_drains_and_its_calls_end_in_peace() -> None:
    limits = Limits(age_max_s=0.2, age_grace_s=5)
    async with running("wire", limits=limits) as server:
        client = await RawClient.connect(server.port)
        parameters = [pb.ResponseParameters(size=5, interval_us=100_000)] * 8
        request = pb.StreamingOutputCallRequest(response_parameters=parameters)
        stream_id = client.call("StreamingOutputCall", body=request.SerializeToString())
        await eventually(lambda: len(client.of(ngh2.GoAwayReceived)) == 2)
        first, second = client.of(ngh2.GoAwayReceived)
        assert (first.last_stream_id, second.last_stream_id) == (2**31 - 1, stream_id)
        assert client.status(stream_id) is None
        await asyncio.wait_for(client.closed, 3)
        assert client.status(stream_id) == 0


async def test_old_connection_is_cut_off_after_its_grace() -> None:
    limits = Limits(age_max_s=0.1, age_grace_s=0.2)
    async with running("wire", limits=limits) as server:
        client = await RawClient.connect(server.port)
        client.call("Sleep")
        await asyncio.wait_for(client.closed, 3)
        await eventually(lambda: server.servicer.cancelled == 1)


async def test_ages_are_jittered() -> None:
    async with running("wire", limits=Limits(age_max_s=1000)) as server:
        clients = [await RawClient.connect(server.port) for _ in range(10)]
        await eventually(lambda: len(server.server.connections) == 10)
        due = [connection.lifetime._expires_s for connection in server.server.connections]
        assert 1 < max(due) - min(due) < 250
        for client in clients:
            client.close()


async def test_callers_survive_connections_that_age() -> None:
    limits = Limits(age_max_s=0.1, age_grace_s=1)
    async with running("wire", limits=limits) as server, server.stub() as stub:
        for _ in range(100):
            await stub.EmptyCall(pb.Empty())
            await asyncio.sleep(0.005)


async def test_pings_are_answered_and_a_flood_of_them_ends_the_connection() -> None:
    async with running("wire", limits=Limits(ping_rate=(5, 1))) as server:
        client = await RawClient.connect(server.port)
        client.session.ping(b"12345678")
        client.flush()
        await eventually(lambda: client.of(ngh2.PingAcknowledged))
        for _ in range(10):
            client.session.ping(b"12345678")
        client.flush()
        await asyncio.wait_for(client.closed, 3)
        assert client.of(ngh2.GoAwayReceived)[0].error_code == ngh2.ErrorCode.ENHANCE_YOUR_CALM


async def test_no_task_or_stream_is_left_behind() -> None:
    before = len(asyncio.all_tasks())
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        streams = [client.call("Sleep") for _ in range(50)]
        await eventually(lambda: server.servicer.entered == 50)
        for stream_id in streams[:25]:
            client.reset(stream_id)
        await eventually(lambda: server.servicer.cancelled == 25)
        (connection,) = server.server.connections
        assert len(connection.streams) == 25
        client.close()
        await eventually(lambda: server.servicer.cancelled == 50)
    assert len(asyncio.all_tasks()) <= before


async def test_peer_that_says_goodbye_is_let_go_when_its_calls_have_ended() -> None:
    async with running("wire") as server:
        client = await RawClient.connect(server.port)
        parameters = [pb.ResponseParameters(size=5, interval_us=50_000)] * 3
        request = pb.StreamingOutputCallRequest(response_parameters=parameters)
        stream_id = client.call("StreamingOutputCall", body=request.SerializeToString())
        await eventually(lambda: client.of(ngh2.ResponseReceived, stream_id))
        client.session.send_goaway(0)
        client.flush()
        await asyncio.wait_for(client.closed, 5)
        assert client.status(stream_id) == 0
