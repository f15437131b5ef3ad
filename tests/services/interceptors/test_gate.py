"""The gate on a real server: keys, roles, malformed input, deadlines, surprises."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from harmost.core.errors import PolicyDenied
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal, current_principal
from harmost.services.transport import GrpcServer, Transport

KEYS = {
    "caller": Principal("app", "acme", frozenset({"caller"})),
    "finance": Principal("fin", "acme", frozenset({"finance"})),
}


class Servicer(router_pb2_grpc.RouterServiceServicer):
    async def Chat(self, request: router_pb2.ChatRequest, context: Any) -> router_pb2.ChatResponse:
        if request.profile == "denied":
            raise PolicyDenied("rule `x` says no", details={"rule": "x"})
        if request.profile == "surprise":
            raise RuntimeError("secret inside")
        return router_pb2.ChatResponse(parts=[router_pb2.Part(text=current_principal().name)])

    async def StreamChat(
        self, request: router_pb2.StreamChatRequest, context: Any
    ) -> AsyncIterator[router_pb2.StreamChatResponse]:
        yield router_pb2.StreamChatResponse(sequence=0)
        raise PolicyDenied("rule `x` says no")


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[Gate(KEYS.get)])
    router_pb2_grpc.add_RouterServiceServicer_to_server(Servicer(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


def asked(profile: str = "hello") -> dict[str, Any]:
    part = router_pb2.Part(text="hi")
    message = router_pb2.Message(role=router_pb2.MESSAGE_ROLE_USER, parts=[part])
    return {"profile": profile, "messages": [message]}


async def refusal(channel: grpc.aio.Channel, key: str | None, profile: str = "hello") -> Any:
    stub = router_pb2_grpc.RouterServiceStub(channel)
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Chat(router_pb2.ChatRequest(**asked(profile)), metadata=metadata)
    return caught.value


async def test_a_known_key_with_the_role_is_served(channel: grpc.aio.Channel) -> None:
    answer = await router_pb2_grpc.RouterServiceStub(channel).Chat(
        router_pb2.ChatRequest(**asked()), metadata=(("authorization", "Bearer caller"),)
    )
    assert answer.parts[0].text == "app"


@pytest.mark.parametrize(
    ("key", "code", "says"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED, "authorization: Bearer"),
        ("wrong", grpc.StatusCode.UNAUTHENTICATED, "harmost key create"),
        ("finance", grpc.StatusCode.PERMISSION_DENIED, "caller"),
    ],
)
async def test_others_are_refused_and_told_why(
    channel: grpc.aio.Channel, key: str | None, code: grpc.StatusCode, says: str
) -> None:
    error = await refusal(channel, key)
    assert error.code() == code
    assert says in error.details()


async def test_an_error_of_the_tree_reaches_the_client_rich(channel: grpc.aio.Channel) -> None:
    status = rpc_status.from_call(await refusal(channel, "caller", "denied"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.metadata["rule"]) == ("POLICY_DENIED", "x")


async def test_a_surprise_is_told_without_detail(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    error = await refusal(channel, "caller", "surprise")
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert "secret inside" in caplog.text


async def test_bytes_that_are_no_message_are_invalid_not_internal(
    channel: grpc.aio.Channel,
) -> None:
    call = channel.unary_unary("/harmost.router.v1.RouterService/Chat")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff", metadata=(("authorization", "Bearer caller"),))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_fails_after_what_it_gave(channel: grpc.aio.Channel) -> None:
    stream = router_pb2_grpc.RouterServiceStub(channel).StreamChat(
        router_pb2.StreamChatRequest(**asked()), metadata=(("authorization", "Bearer caller"),)
    )
    assert (await stream.read()).sequence == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


class Writer(Servicer):
    """Writes to its call by itself, a message and the bytes of one."""

    async def StreamChat(  # type: ignore[override]
        self, request: router_pb2.StreamChatRequest, context: Any
    ) -> None:
        await context.write(router_pb2.StreamChatResponse(sequence=1))
        await context.write(router_pb2.StreamChatResponse(sequence=2).SerializeToString())
        if request.profile == "denied":
            raise PolicyDenied("rule `x` says no")


@pytest.mark.parametrize("transport", ["wire", "grpcio"])
async def test_a_servicer_may_write_to_its_call_by_itself(transport: Transport) -> None:
    def register(server: grpc.aio.Server) -> str:
        router_pb2_grpc.add_RouterServiceServicer_to_server(Writer(), server)
        return "harmost.router.v1.RouterService"

    server = GrpcServer(
        transport,
        interceptor=Gate(KEYS.get),
        register=register,
        listen="127.0.0.1:0",
        tls=None,
    )
    await server.start()
    metadata = (("authorization", "Bearer caller"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        whole = stub.StreamChat(router_pb2.StreamChatRequest(**asked()), metadata=metadata)
        assert [message.sequence async for message in whole] == [1, 2]
        denied = stub.StreamChat(router_pb2.StreamChatRequest(**asked("denied")), metadata=metadata)
        assert [(await denied.read()).sequence for _ in range(2)] == [1, 2]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await denied.read()
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    await server.stop(None)


async def test_health_needs_no_key(channel: grpc.aio.Channel) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_method_that_does_not_exist_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/harmost.router.v1.RouterService/Nope")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
