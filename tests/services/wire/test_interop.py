"""gRPC's published interop cases, each on both transports with the same expectations.

Source: the interop test descriptions of the gRPC project (doc/interop-test-descriptions.md).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from wire_harness import INITIAL_KEY, TRAILING_KEY, eventually, payload, pb, rpc

REQUEST_SIZES = (27182, 8, 1828, 45904)
RESPONSE_SIZES = (31415, 9, 2653, 58979)


def asking(*sizes: int, body: int = 0) -> Any:
    parameters = [pb.ResponseParameters(size=size) for size in sizes]
    return pb.StreamingOutputCallRequest(response_parameters=parameters, payload=payload(body))


async def inputs(*sizes: int) -> AsyncIterator[Any]:
    for size in sizes:
        yield pb.StreamingInputCallRequest(payload=payload(size))


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_empty_unary(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        assert await stub.EmptyCall(pb.Empty()) == pb.Empty()


async def test_large_unary(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        request = pb.SimpleRequest(response_size=314159, payload=payload(271828))
        assert (await stub.UnaryCall(request)).payload == payload(314159)


async def test_client_streaming(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        answer = await stub.StreamingInputCall(inputs(*REQUEST_SIZES))
        assert answer.aggregated_payload_size == sum(REQUEST_SIZES)


async def test_server_streaming(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.StreamingOutputCall(asking(*RESPONSE_SIZES))
        assert [len(answer.payload.body) async for answer in call] == list(RESPONSE_SIZES)
        assert await call.code() is grpc.StatusCode.OK


async def test_ping_pong(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.FullDuplexCall()
        for request_size, response_size in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
            await call.write(asking(response_size, body=request_size))
            assert len((await call.read()).payload.body) == response_size
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_empty_stream(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.FullDuplexCall()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_half_duplex_by_the_reader_and_writer_api(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.HalfDuplexCall()
        for size in RESPONSE_SIZES:
            await call.write(asking(size))
        await call.done_writing()
        assert [len(answer.payload.body) async for answer in call] == list(RESPONSE_SIZES)


async def test_cancel_after_begin(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.StreamingInputCall()
        await call.write(pb.StreamingInputCallRequest())
        await eventually(lambda: server.servicer.entered)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await call.code() is grpc.StatusCode.CANCELLED
        # grpc.aio ends the request iterator here, wire raises CancelledError into it: only what
        # both do is asked for.
        await eventually(lambda: server.servicer.left == 1)


async def test_cancel_after_first_response(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        call = stub.FullDuplexCall()
        await call.write(asking(31415, body=27182))
        assert len((await call.read()).payload.body) == 31415
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        # grpc.aio ends the request iterator here, wire raises CancelledError into it: only what
        # both do is asked for.
        await eventually(lambda: server.servicer.left == 1)


async def test_timeout_on_sleeping_server(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        error = await failure(stub.Sleep(pb.Empty(), timeout=0.05))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: server.servicer.cancelled == 1)


async def test_custom_metadata_unary(serve: Any) -> None:
    sent = ((INITIAL_KEY, "test_initial_metadata_value"), (TRAILING_KEY, b"\xab\xab\xab\0\xff"))
    async with serve() as server, server.stub() as stub:
        call = stub.UnaryCall(pb.SimpleRequest(response_size=314159), metadata=sent)
        await call
        assert dict(await call.initial_metadata())[INITIAL_KEY] == sent[0][1]
        assert dict(await call.trailing_metadata())[TRAILING_KEY] == sent[1][1]


async def test_custom_metadata_full_duplex(serve: Any) -> None:
    sent = ((INITIAL_KEY, "test_initial_metadata_value"), (TRAILING_KEY, b"\xab\xab\xab"))
    async with serve() as server, server.stub() as stub:
        call = stub.FullDuplexCall(metadata=sent)
        await call.write(asking(314159))
        await call.read()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert dict(await call.initial_metadata())[INITIAL_KEY] == sent[0][1]
        assert dict(await call.trailing_metadata())[TRAILING_KEY] == sent[1][1]


async def test_status_code_and_message(serve: Any) -> None:
    status = pb.EchoStatus(code=2, message="test status message")
    async with serve() as server, server.stub() as stub:
        error = await failure(stub.UnaryCall(pb.SimpleRequest(response_status=status)))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, status.message)
        call = stub.FullDuplexCall()
        await call.write(pb.StreamingOutputCallRequest(response_status=status))
        assert (await call.code(), await call.details()) == (
            grpc.StatusCode.UNKNOWN,
            status.message,
        )


async def test_special_status_message(serve: Any) -> None:
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈 100%\t\n"
    status = pb.EchoStatus(code=2, message=message)
    async with serve() as server, server.stub() as stub:
        error = await failure(stub.UnaryCall(pb.SimpleRequest(response_status=status)))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, message)


async def test_unimplemented_method(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        error = await failure(stub.UnimplementedCall(pb.Empty()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_unknown_method(serve: Any) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.target) as channel:
        error = await failure(channel.unary_unary("/grpc.testing.TestService/Nothing")(b""))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert error.details() == "Method not found!"


async def test_unimplemented_service(serve: Any) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.target) as channel:
        stub = rpc.UnimplementedServiceStub(channel)
        error = await failure(stub.UnimplementedCall(pb.Empty()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("algorithm", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_client_compressed_unary(serve: Any, algorithm: grpc.Compression) -> None:
    async with serve() as server, server.stub(compression=algorithm) as stub:
        request = pb.SimpleRequest(response_size=314159, payload=payload(271828))
        assert (await stub.UnaryCall(request)).payload == payload(314159)


async def test_server_compressed_unary(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        request = pb.SimpleRequest(
            response_size=314159, response_compressed=pb.BoolValue(value=True)
        )
        assert (await stub.UnaryCall(request)).payload == payload(314159)


async def test_client_compressed_streaming(serve: Any) -> None:
    async with serve() as server, server.stub(compression=grpc.Compression.Gzip) as stub:
        answer = await stub.StreamingInputCall(inputs(*REQUEST_SIZES))
        assert answer.aggregated_payload_size == sum(REQUEST_SIZES)


async def test_server_compressed_streaming(serve: Any) -> None:
    parameters = [
        pb.ResponseParameters(size=31415, compressed=pb.BoolValue(value=True)),
        pb.ResponseParameters(size=92653, compressed=pb.BoolValue(value=False)),
        pb.ResponseParameters(size=9, compressed=pb.BoolValue(value=True)),
    ]
    async with serve() as server, server.stub() as stub:
        call = stub.StreamingOutputCall(
            pb.StreamingOutputCallRequest(response_parameters=parameters)
        )
        assert [len(a.payload.body) async for a in call] == [31415, 92653, 9]


async def test_server_wide_compression(serve: Any) -> None:
    async with serve(compression=grpc.Compression.Gzip) as server, server.stub() as stub:
        assert (
            len((await stub.UnaryCall(pb.SimpleRequest(response_size=9999))).payload.body) == 9999
        )


async def test_many_calls_at_once(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        sizes = range(1, 200)
        calls = [stub.UnaryCall(pb.SimpleRequest(response_size=size)) for size in sizes]
        answers = await asyncio.gather(*calls)
        assert [len(answer.payload.body) for answer in answers] == list(sizes)
