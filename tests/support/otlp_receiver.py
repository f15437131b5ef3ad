"""An OTLP receiver on loopback, over gRPC and HTTP, that can be told to misbehave."""

import asyncio
import gzip
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["OtlpReceiver", "attributes_of", "receiver", "receiving", "value_of"]

# Answers one gRPC call in the receiver's place, or raises; None: go on.
Behaviour = Callable[[Any, Any], Awaitable[Any]]
HttpBehaviour = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


def value_of(value: Any) -> Any:
    """The Python value of an AnyValue."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind)


def attributes_of(part: Any) -> dict[str, Any]:
    """The attributes of a span, event, point or resource."""
    return {each.key: value_of(each.value) for each in part.attributes}


class OtlpReceiver:
    """What came, and how the next call is answered."""

    def __init__(self) -> None:
        self.grpc_url = self.http_url = ""
        self.traces: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.metrics: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.behave: Behaviour | None = None
        self.behave_http: HttpBehaviour | None = None
        self.calls = 0

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def newest(self) -> dict[str, Metric]:
        """The metrics of the last request, by name."""
        return {
            metric.name: metric
            for resource in self.metrics[-1].resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    async def _grpc(self, request: Any, context: Any, kept: list[Any], answer: Any) -> Any:
        self.calls += 1
        self.metadata.append(dict(context.invocation_metadata()))
        if self.behave is not None:
            answered = await self.behave(request, context)
            if answered is not None:
                return answered
        kept.append(request)
        return answer

    async def _http(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        self.metadata.append({key.lower(): value for key, value in request.headers.items()})
        if self.behave_http is not None:
            answered = await self.behave_http(request)
            if answered is not None:
                return answered
        body = await request.read()  # aiohttp has inflated it
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        if request.path.endswith("traces"):
            self.traces.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        else:
            self.metrics.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
        return web.Response(content_type="application/x-protobuf")


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    async def Export(self, request: Any, context: Any) -> Any:
        answer = trace_service_pb2.ExportTraceServiceResponse()
        return await self._receiver._grpc(request, context, self._receiver.traces, answer)


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    async def Export(self, request: Any, context: Any) -> Any:
        answer = metrics_service_pb2.ExportMetricsServiceResponse()
        return await self._receiver._grpc(request, context, self._receiver.metrics, answer)


@asynccontextmanager
async def receiver(*, tls: Path | None = None) -> AsyncIterator[OtlpReceiver]:
    """A receiver until the block ends; `tls` has its key and certificate."""
    made = OtlpReceiver()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 * 1024 * 1024)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(made), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(made), server)
    context: ssl.SSLContext | None = None
    if tls is None:
        bound = server.add_insecure_port("127.0.0.1:0")
    else:
        pem = tls.read_bytes()
        bound = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", made._http)
    app.router.add_post("/v1/metrics", made._http)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    await server.start()
    scheme = "http" if tls is None else "https"
    made.grpc_url = f"{scheme}://127.0.0.1:{bound}"
    made.http_url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await server.stop(0)
        await runner.cleanup()
        await asyncio.sleep(0)


@contextmanager
def receiving() -> Iterator[OtlpReceiver]:
    """A receiver in a thread of its own, for tests that wait for processes."""
    began, ends = threading.Event(), threading.Event()
    found: list[OtlpReceiver] = []

    async def serve() -> None:
        async with receiver() as made:
            found.append(made)
            began.set()
            while not ends.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert began.wait(10)
        yield found[0]
    finally:
        ends.set()
        thread.join()
