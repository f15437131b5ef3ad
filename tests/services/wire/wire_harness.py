"""What the wire tests share: stubs, the test servicer, servers of both transports, a raw client.

Stubs are generated into a scratch directory, once a process: they belong to the tests alone.
"""

import asyncio
import atexit
import importlib
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import ngh2
from grpc_tools import protoc

from harmost.services import wire

HERE = Path(__file__).parent
TRANSPORTS = ("wire", "grpc.aio")

_scratch = Path(tempfile.mkdtemp(prefix="harmost-wiretest-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
_made = protoc.main(
    ["", f"-I{HERE}", f"--python_out={_scratch}", f"--grpc_python_out={_scratch}", "wiretest.proto"]
)
if _made != 0:
    raise RuntimeError("protoc failed on wiretest.proto")
sys.path.insert(0, str(_scratch))
pb: Any = importlib.import_module("wiretest_pb2")
rpc: Any = importlib.import_module("wiretest_pb2_grpc")
sys.path.remove(str(_scratch))

INITIAL_KEY = "x-grpc-test-echo-initial"
TRAILING_KEY = "x-grpc-test-echo-trailing-bin"


def payload(size: int) -> Any:
    """A payload of `size` zero bytes."""
    return pb.Payload(body=bytes(size))


def of_code(number: int) -> grpc.StatusCode:
    """The status code of that number."""
    return next(code for code in grpc.StatusCode if code.value[0] == number)


class TestServicer(rpc.TestServiceServicer):
    """Does what the interop descriptions ask of a server; counts what the tests want to know."""

    __test__ = False

    def __init__(self) -> None:
        self.poured = 0
        self.cancelled = 0  # calls whose handler saw CancelledError
        self.left = 0  # streaming handlers that have returned, however
        self.entered = 0
        self.read_bytes = 0
        self.released = asyncio.Event()
        self.contexts: deque[Any] = deque(maxlen=10)  # a soak must not be what keeps them
        self.on_call: Callable[[Any], Awaitable[None]] | None = None

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        """Empty for empty."""
        if self.on_call is not None:
            await self.on_call(context)
        return pb.Empty()

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        """A payload of the size asked for, or the status asked for."""
        await self._echo_metadata(context)
        if request.HasField("response_status"):
            context.set_code(of_code(request.response_status.code))
            context.set_details(request.response_status.message)
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        return pb.SimpleResponse(payload=payload(request.response_size))

    async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """A payload for each parameter, after its interval."""
        await self._echo_metadata(context)
        if any(parameters.compressed.value for parameters in request.response_parameters):
            context.set_compression(grpc.Compression.Gzip)
        for parameters in request.response_parameters:
            await asyncio.sleep(parameters.interval_us / 1e6)
            if not parameters.compressed.value:
                context.disable_next_message_compression()
            yield pb.StreamingOutputCallResponse(payload=payload(parameters.size))

    async def StreamingInputCall(self, requests: Any, context: Any) -> Any:
        """The sum of the sizes."""
        size = 0
        self.entered += 1
        try:
            async for request in requests:
                size += len(request.payload.body)
        finally:
            self.left += 1
        return pb.StreamingInputCallResponse(aggregated_payload_size=size)

    async def FullDuplexCall(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """The payloads that each request asks for, at once."""
        await self._echo_metadata(context)
        self.entered += 1
        try:
            async for request in requests:
                if request.HasField("response_status"):
                    status = request.response_status
                    context.set_code(of_code(status.code))
                    context.set_details(status.message)
                    return
                for parameters in request.response_parameters:
                    yield pb.StreamingOutputCallResponse(payload=payload(parameters.size))
        finally:
            self.left += 1

    async def HalfDuplexCall(self, _: Any, context: Any) -> None:
        """By the reader and writer API: all answers after all requests."""
        sizes: list[int] = []
        while (request := await context.read()) is not grpc.aio.EOF:
            sizes.extend(parameters.size for parameters in request.response_parameters)
        for size in sizes:
            await context.write(pb.StreamingOutputCallResponse(payload=payload(size)))

    async def Inspect(self, request: Any, context: Any) -> Any:
        """Keep the context for the test to ask."""
        self.contexts.append(context)
        if self.on_call is not None:
            await self.on_call(context)
        return pb.SimpleResponse()

    async def Sleep(self, request: Any, context: Any) -> Any:
        """Never answers."""
        self.contexts.append(context)
        self.entered += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def Pour(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """As much as the caller takes."""
        response = pb.StreamingOutputCallResponse(payload=payload(request.response_size))
        try:
            while True:
                self.poured += 1
                yield response
        finally:
            self.left += 1

    async def Hold(self, requests: Any, context: Any) -> Any:
        """Reads nothing before `released` is set."""
        self.entered += 1
        await self.released.wait()
        async for request in requests:
            self.read_bytes += len(request.payload.body)
        return pb.StreamingInputCallResponse(aggregated_payload_size=self.read_bytes)

    async def Break(self, request: Any, context: Any) -> Any:
        """Raises."""
        raise ValueError("no luck")

    async def _echo_metadata(self, context: Any) -> None:
        for key, value in context.invocation_metadata() or ():
            if key == INITIAL_KEY:
                await context.send_initial_metadata(((key, value),))
            elif key == TRAILING_KEY:
                context.set_trailing_metadata(((key, value),))


class Running:
    """A server of either transport with its servicer and port."""

    def __init__(self, server: Any, servicer: TestServicer, port: int) -> None:
        self.server = server
        self.servicer = servicer
        self.port = port

    @property
    def target(self) -> str:
        """What a channel connects to."""
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def stub(self, **channel: Any) -> AsyncIterator[Any]:
        """A client over a connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1), *channel.pop("options", ()))
        async with grpc.aio.insecure_channel(self.target, options=options, **channel) as opened:
            yield rpc.TestServiceStub(opened)


def make_server(transport: str, **arguments: Any) -> Any:
    """A server that has no port yet."""
    if transport == "wire":
        return wire.Server(**arguments)
    return grpc.aio.server(**arguments)


@asynccontextmanager
async def running(transport: str, **arguments: Any) -> AsyncIterator[Running]:
    """A server on a free port of the loopback."""
    server = make_server(transport, **arguments)
    servicer = TestServicer()
    rpc.add_TestServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Running(server, servicer, port)
    finally:
        servicer.released.set()
        await server.stop(0)


async def eventually(fact: Callable[[], object], *, within_s: float = 5.0) -> None:
    """Return once `fact()` holds; AssertionError when it does not in time."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not fact():
        if loop.time() > end_s:
            raise AssertionError("it did not come true in time")
        await asyncio.sleep(0.005)


GRPC_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"test"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)


class RawClient(asyncio.Protocol):
    """An HTTP/2 client that does what it is told, right or wrong; keeps every event."""

    def __init__(self, settings: dict[int, int] | None = None) -> None:
        self.session = ngh2.Connection(
            ngh2.Role.CLIENT, ngh2.Configuration(peer_max_concurrent_streams=100_000)
        )
        self.settings = settings or {}
        self.events: list[Any] = []
        self.received = bytearray()
        self.closed = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self.quiet = False  # neither reads nor answers

    @classmethod
    async def connect(cls, port: int, settings: dict[int, int] | None = None) -> "RawClient":
        """Connect and send the preface."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(settings), "127.0.0.1", port)
        return client

    def connection_made(self, transport: Any) -> None:
        """Send the preface."""
        self.transport = transport
        self.session.initiate_connection(self.settings)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Keep and answer."""
        self.received += data
        if self.quiet:
            return
        try:
            self.session.receive_data(data)
        except ngh2.NGH2Error:
            return
        self.events.extend(self.session.events())
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember it."""
        if not self.closed.done():
            self.closed.set_result(exc)

    def flush(self) -> None:
        """Write what is due."""
        output = self.session.data_to_send()
        if output and not self.transport.is_closing():
            self.transport.write(output)

    def call(self, method: str, *extra: tuple[bytes, bytes], body: bytes | None = b"") -> int:
        """Begin a call of TestService; `body` None leaves the request open."""
        path = (b":path", f"/grpc.testing.TestService/{method}".encode())
        stream_id = self.session.send_request((path, *GRPC_HEADERS, *extra))
        if body is not None:
            self.session.send_data(stream_id, frame(body), end_stream=True)
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes as they are."""
        self.session.send_data(stream_id, data, end_stream=end)
        self.flush()

    def reset(self, stream_id: int) -> None:
        """Cancel a call."""
        self.session.reset_stream(stream_id, 8)
        self.flush()

    def of(self, kind: type[Any], stream_id: int | None = None) -> list[Any]:
        """The events of one kind, of one stream."""
        found = [event for event in self.events if isinstance(event, kind)]
        return [e for e in found if stream_id is None or e.stream_id == stream_id]

    def status(self, stream_id: int) -> int | None:
        """The grpc-status of a call that has ended."""
        for kind in (ngh2.TrailersReceived, ngh2.ResponseReceived):
            for event in self.of(kind, stream_id):
                fields = dict(event.headers)
                if b"grpc-status" in fields:
                    return int(fields[b"grpc-status"])
        return None

    def close(self) -> None:
        """Break the connection."""
        self.transport.abort()


def frame(message: bytes, *, flag: int = 0) -> bytes:
    """A message with its prefix."""
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message
