"""What a handler may ask and say about its call: the same on both transports."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from wire_harness import eventually, make_server, payload, pb, rpc

Facts = dict[str, Any]


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def facts_of(serve: Any, **call: Any) -> Facts:
    """What a handler sees of one call."""
    facts: Facts = {}

    async def look(context: Any) -> None:
        facts.update(
            metadata=[
                (entry.key, entry.value)
                for entry in context.invocation_metadata()
                if entry.key != "user-agent"
            ],
            remaining_s=context.time_remaining(),
            peer=context.peer().rpartition(":")[0],
            auth_context=dict(context.auth_context()),
            identities=context.peer_identities(),
            identity_key=context.peer_identity_key(),
            code=context.code(),
            details=context.details(),
            trailing=context.trailing_metadata(),
            cancelled=context.cancelled(),
            done=context.done(),
        )

    async with serve() as server, server.stub() as stub:
        server.servicer.on_call = look
        await stub.Inspect(pb.Empty(), **call)
    return facts


async def test_facts_of_a_plain_call(serve: Any) -> None:
    assert await facts_of(serve) == {
        "metadata": [],
        "remaining_s": None,
        "peer": "ipv4:127.0.0.1",
        "auth_context": {
            "transport_security_type": [b"insecure"],
            "security_level": [b"TSI_SECURITY_NONE"],
        },
        "identities": None,
        "identity_key": None,
        "code": None,
        "details": "",
        "trailing": (),
        "cancelled": False,
        "done": False,
    }


async def test_metadata_repeats_keep_order_and_binary_values_stay_bytes(serve: Any) -> None:
    sent = (("x-a", "1"), ("x-b-bin", b"\0\xff"), ("x-a", "2"), ("x-c", "spaced ~ out"))
    found = (await facts_of(serve, metadata=sent))["metadata"]
    assert [pair for pair in found if pair[0] == "x-a"] == [("x-a", "1"), ("x-a", "2")]
    assert ("x-b-bin", b"\0\xff") in found
    assert ("x-c", "spaced ~ out") in found


async def test_time_remaining_is_the_callers_deadline(serve: Any) -> None:
    remaining_s = (await facts_of(serve, timeout=5))["remaining_s"]
    assert 4 < remaining_s < 5.1


async def ended_by(
    serve: Any, act: Callable[[Any], Awaitable[object]]
) -> tuple[grpc.StatusCode, str | None, dict[str, Any]]:
    """Code, message and trailing metadata of a call whose handler did `act`."""
    async with serve() as server, server.stub() as stub:
        server.servicer.on_call = act
        error = await failure(stub.EmptyCall(pb.Empty()))
    return error.code(), error.details(), dict(error.trailing_metadata() or ())


async def test_abort(serve: Any) -> None:
    async def act(context: Any) -> None:
        await context.abort(grpc.StatusCode.ABORTED, "no, thank you", (("x-why", "because"),))

    assert await ended_by(serve, act) == (
        grpc.StatusCode.ABORTED,
        "no, thank you",
        {"x-why": "because"},
    )


async def test_abort_keeps_trailing_metadata_and_details_set_before(serve: Any) -> None:
    async def act(context: Any) -> None:
        context.set_trailing_metadata((("x-why", "before"),))
        context.set_details("set before")
        await context.abort(grpc.StatusCode.NOT_FOUND)

    assert await ended_by(serve, act) == (
        grpc.StatusCode.NOT_FOUND,
        "set before",
        {"x-why": "before"},
    )


async def test_abort_that_is_swallowed_still_ends_the_call(serve: Any) -> None:
    async def act(context: Any) -> None:
        with pytest.raises(grpc.aio.AbortError):
            await context.abort(grpc.StatusCode.DATA_LOSS, "gone")
        with pytest.raises(grpc.aio.UsageError):
            await context.abort(grpc.StatusCode.OK)

    assert (await ended_by(serve, act))[:2] == (grpc.StatusCode.DATA_LOSS, "gone")


async def test_abort_with_status_carries_rich_details(serve: Any) -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="BUDGET_EXHAUSTED", domain="harmost"))
    status = status_pb2.Status(
        code=code_pb2.RESOURCE_EXHAUSTED, message="no budget", details=[detail]
    )

    async def act(context: Any) -> None:
        await context.abort_with_status(rpc_status.to_status(status))

    code, details, trailing = await ended_by(serve, act)
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no budget")
    assert status_pb2.Status.FromString(trailing["grpc-status-details-bin"]) == status


async def test_abort_after_initial_metadata(serve: Any) -> None:
    async def act(context: Any) -> None:
        await context.send_initial_metadata((("x-first", "1"),))
        with pytest.raises(grpc.aio.UsageError):
            await context.send_initial_metadata(())
        await context.abort(grpc.StatusCode.INTERNAL, "after")

    assert (await ended_by(serve, act))[:2] == (grpc.StatusCode.INTERNAL, "after")


async def test_code_set_before_an_exception_is_kept(serve: Any) -> None:
    async def act(context: Any) -> None:
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        raise RuntimeError("later")

    code, details, _ = await ended_by(serve, act)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details == "Unexpected <class 'RuntimeError'>: later"


async def test_exception_is_unknown(serve: Any) -> None:
    async with serve() as server, server.stub() as stub:
        error = await failure(stub.Break(pb.Empty()))
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert error.details() == "Unexpected <class 'ValueError'>: no luck"


async def test_request_that_does_not_parse_is_unknown(serve: Any) -> None:
    async with serve() as server, grpc.aio.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/grpc.testing.TestService/UnaryCall")
        assert (await failure(call(b"\xff\xff\xff"))).code() is grpc.StatusCode.UNKNOWN


async def test_trailing_metadata_must_be_pairs(serve: Any) -> None:
    async def act(context: Any) -> None:
        with pytest.raises(TypeError):
            context.set_trailing_metadata(7)
        await context.abort(grpc.StatusCode.ABORTED, "done")

    assert (await ended_by(serve, act))[:2] == (grpc.StatusCode.ABORTED, "done")


async def test_done_callback_runs_once_with_the_context(serve: Any) -> None:
    seen: list[Any] = []

    async def act(context: Any) -> None:
        context.add_done_callback(seen.append)

    async with serve() as server, server.stub() as stub:
        server.servicer.on_call = act
        await stub.EmptyCall(pb.Empty())
        await eventually(lambda: len(seen) == 1)
        assert seen[0].done()


async def test_done_callback_runs_after_a_cancel(serve: Any) -> None:
    seen: list[Any] = []
    async with serve() as server, server.stub() as stub:
        call = stub.Sleep(pb.Empty())
        waiting = asyncio.ensure_future(call)
        await eventually(lambda: server.servicer.contexts)
        server.servicer.contexts[0].add_done_callback(seen.append)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: len(seen) == 1)


async def test_writing_after_the_end_raises(serve: Any) -> None:
    caught: list[Exception] = []

    async def act(context: Any) -> None:
        try:
            await context.abort(grpc.StatusCode.ABORTED, "over")
        except grpc.aio.AbortError:
            try:
                await context.write(pb.Empty())
            except Exception as later:  # noqa: BLE001 - whatever it is
                caught.append(later)
            raise

    await ended_by(serve, act)
    assert isinstance(caught[0], grpc.aio.AbortError)


async def test_request_above_the_limit_is_refused(serve: Any) -> None:
    options = (("grpc.max_receive_message_length", 1000),)
    async with serve(options=options) as server, server.stub() as stub:
        await stub.UnaryCall(pb.SimpleRequest(payload=payload(900)))
        error = await failure(stub.UnaryCall(pb.SimpleRequest(payload=payload(1000))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max (1006 vs. 1000)" in (error.details() or "")


async def test_compressed_request_above_the_limit_is_refused(serve: Any) -> None:
    options = (("grpc.max_receive_message_length", 1000),)
    async with (
        serve(options=options) as server,
        server.stub(compression=grpc.Compression.Gzip) as stub,
    ):
        error = await failure(stub.UnaryCall(pb.SimpleRequest(payload=payload(1_000_000))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_answer_above_the_limit_is_refused(serve: Any) -> None:
    options = (("grpc.max_send_message_length", 1000),)
    async with serve(options=options) as server, server.stub() as stub:
        await stub.UnaryCall(pb.SimpleRequest(response_size=900))
        error = await failure(stub.UnaryCall(pb.SimpleRequest(response_size=1000)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_above_the_limit_are_refused(serve: Any) -> None:
    async with serve(maximum_concurrent_rpcs=2) as server, server.stub() as stub:
        asleep = [asyncio.ensure_future(stub.Sleep(pb.Empty())) for _ in range(2)]
        await eventually(lambda: server.servicer.entered == 2)
        error = await failure(stub.EmptyCall(pb.Empty()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "Concurrent RPC limit exceeded!"
        for call in asleep:
            call.cancel()
        await asyncio.gather(*asleep, return_exceptions=True)
        await eventually(lambda: server.servicer.cancelled == 2)
        await asyncio.sleep(0.01)
        await stub.EmptyCall(pb.Empty())


class Recording(grpc.aio.ServerInterceptor):
    """Notes that it ran; refuses methods that end in `refuse`."""

    def __init__(self, name: str, log: list[Any], *, refuse: str = "-") -> None:
        self.name = name
        self.log = log
        self.refuse = refuse

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Note, then go on or refuse."""
        self.log.append((self.name, details.method, dict(details.invocation_metadata).get("x-a")))
        if not details.method.endswith(self.refuse):
            return await continuation(details)

        async def refuse(_: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")

        return grpc.unary_unary_rpc_method_handler(refuse)


async def test_interceptors_run_in_order_and_see_metadata(serve: Any) -> None:
    log: list[Any] = []
    chain = [Recording("outer", log), Recording("inner", log)]
    async with serve(interceptors=chain) as server, server.stub() as stub:
        await stub.EmptyCall(pb.Empty(), metadata=(("x-a", "b"),))
        call = stub.FullDuplexCall()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    empty, duplex = (
        "/grpc.testing.TestService/EmptyCall",
        "/grpc.testing.TestService/FullDuplexCall",
    )
    assert log == [
        ("outer", empty, "b"),
        ("inner", empty, "b"),
        ("outer", duplex, None),
        ("inner", duplex, None),
    ]


async def test_interceptor_refuses_in_the_handlers_place(serve: Any) -> None:
    chain = [Recording("only", [], refuse="EmptyCall")]
    async with serve(interceptors=chain) as server, server.stub() as stub:
        error = await failure(stub.EmptyCall(pb.Empty()))
        assert (error.code(), error.details()) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "who are you",
        )
        await stub.UnaryCall(pb.SimpleRequest())


async def test_interceptor_that_raises_is_unknown(serve: Any) -> None:
    class Raising(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            raise ValueError("not today")

    async with serve(interceptors=[Raising()]) as server, server.stub() as stub:
        assert (await failure(stub.EmptyCall(pb.Empty()))).code() is grpc.StatusCode.UNKNOWN


async def test_what_is_no_interceptor_is_refused(transport: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        make_server(transport, interceptors=[object()])


class PlainServicer(rpc.TestServiceServicer):
    """Handlers that are plain functions, as of servicers written for threads."""

    def EmptyCall(self, request: Any, context: Any) -> Any:
        """Sends metadata from its thread."""
        context.send_initial_metadata((("x-thread", "1"),))
        return pb.Empty()

    def StreamingOutputCall(self, request: Any, context: Any) -> Any:
        """A plain generator."""
        for parameters in request.response_parameters:
            yield pb.StreamingOutputCallResponse(payload=payload(parameters.size))

    def StreamingInputCall(self, requests: Any, context: Any) -> Any:
        """A plain iterator of requests."""
        return pb.StreamingInputCallResponse(
            aggregated_payload_size=sum(len(r.payload.body) for r in requests)
        )

    def Break(self, request: Any, context: Any) -> Any:
        """Aborts from its thread."""
        context.abort(grpc.StatusCode.ABORTED, "from a thread")


async def test_plain_functions_serve_from_threads(transport: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        server = make_server(transport, migration_thread_pool=pool)
        rpc.add_TestServiceServicer_to_server(PlainServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = rpc.TestServiceStub(channel)
            call = stub.EmptyCall(pb.Empty())
            assert await call == pb.Empty()
            assert dict(await call.initial_metadata())["x-thread"] == "1"
            sizes = [pb.ResponseParameters(size=size) for size in (1, 2, 3)]
            answers = stub.StreamingOutputCall(
                pb.StreamingOutputCallRequest(response_parameters=sizes)
            )
            assert [len(a.payload.body) async for a in answers] == [1, 2, 3]
            requests = [pb.StreamingInputCallRequest(payload=payload(size)) for size in (4, 5)]
            assert (await stub.StreamingInputCall(iter(requests))).aggregated_payload_size == 9
            error = await failure(stub.Break(pb.Empty()))
            assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "from a thread")
        await server.stop(0)


async def test_health_and_reflection_bind_unchanged(transport: str) -> None:
    server = make_server(transport)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(("grpc.testing.TestService",), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        asking = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await stream.write(asking)
        answer = await stream.read()
        await stream.done_writing()
        assert [s.name for s in answer.list_services_response.service] == [
            "grpc.testing.TestService"
        ]
        assert await stream.read() is grpc.aio.EOF
    await server.stop(0)


async def test_generic_handlers_answer_unregistered_methods(transport: str) -> None:
    class Any_(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            async def echo(request: bytes, context: Any) -> bytes:
                return request + handler_call_details.method.encode()

            return grpc.unary_unary_rpc_method_handler(echo)

    server = make_server(transport, handlers=[Any_()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary("/any.Thing/Goes")(b"x") == b"x/any.Thing/Goes"
    await server.stop(0)


async def test_port_that_is_taken_is_refused(transport: str) -> None:
    options = (("grpc.so_reuseport", 0),)
    first, second = make_server(transport, options=options), make_server(transport, options=options)
    port = first.add_insecure_port("127.0.0.1:0")
    with pytest.raises(RuntimeError):
        second.add_insecure_port(f"127.0.0.1:{port}")
    await first.start()
    await first.stop(0)


async def test_wait_for_termination(serve: Any) -> None:
    async with serve() as server:
        assert await server.server.wait_for_termination(0.01)
        waiting = asyncio.ensure_future(server.server.wait_for_termination())
        await asyncio.sleep(0)
        await server.server.stop(0)
        assert not await waiting
