"""One OTLP destination: sends one request, says whether it may be tried again, and when.

Source: https://opentelemetry.io/docs/specs/otlp/#failures and #partial-success. Bytes that a collector
answers are bounded and never trusted: what is no answer counts as none.
"""

import gzip
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.otel.settings import Endpoint

__all__ = ["Refused", "Request", "Response", "Sender", "TryAgain", "Unfit", "otlp"]

Request: TypeAlias = (
    trace_service_pb2.ExportTraceServiceRequest | metrics_service_pb2.ExportMetricsServiceRequest
)
Response: TypeAlias = (
    trace_service_pb2.ExportTraceServiceResponse | metrics_service_pb2.ExportMetricsServiceResponse
)

ANSWER_BYTES_MAX = 65_536
RETRY_AFTER_S_MAX = 300.0  # a collector that asks for more is asked again then
TOLD_CHARS_MAX = 200
_OVERLOADED = frozenset((grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE))
# A collector that was down for hours and is back is found within seconds: gRPC's own is two minutes.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_TOO_LARGE_FOR_ALL = "larger than max"  # gRPC's own words, of every implementation
_HTTP_UNFIT = frozenset((400, 413, 422))
_OK = 200


class TryAgain(Exception):
    """It was not taken, now. `after_s` is when the destination asked to be tried again; None: it did
    not say. `smaller`: less at once may be taken."""

    def __init__(self, why: str, *, after_s: float | None = None, smaller: bool = False) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.smaller = smaller


class Unfit(Exception):
    """It is not taken as it is: less of it may be, the same never."""


class Refused(Exception):
    """Parts of what was sent were not taken, and never will be: `count` of them."""

    def __init__(self, count: int, why: str) -> None:
        super().__init__(why)
        self.count = count


class Sender(Protocol):
    """What sends one request. Raises `TryAgain`, `Unfit` or `Refused`."""

    async def __call__(self, request: Request) -> None: ...


@asynccontextmanager
async def otlp(endpoint: Endpoint, signal: str) -> AsyncGenerator[Sender]:
    """A sender of `signal` ("traces" or "metrics") to `endpoint`, until the block ends."""
    make = _grpc if endpoint.protocol == "grpc" else _http
    async with make(endpoint, signal) as sender:
        yield sender


@asynccontextmanager
async def _grpc(endpoint: Endpoint, signal: str) -> AsyncGenerator[Sender]:
    compression = grpc.Compression.Gzip if endpoint.gzip else grpc.Compression.NoCompression
    target = urlsplit(endpoint.url).netloc
    if endpoint.secure:
        _tls(endpoint)  # gRPC itself would say nothing of a file that is none
        channel = grpc.aio.secure_channel(target, _credentials(endpoint), _OPTIONS, compression)
    else:
        channel = grpc.aio.insecure_channel(target, _OPTIONS, compression)
    async with channel:
        make: Any = (
            trace_service_pb2_grpc.TraceServiceStub
            if signal == "traces"
            else metrics_service_pb2_grpc.MetricsServiceStub
        )
        stub = make(channel)

        async def send(request: Request) -> None:
            try:
                response = await stub.Export(
                    request, timeout=endpoint.timeout_s, metadata=endpoint.headers
                )
            except grpc.aio.AioRpcError as error:
                raise _of_status(error) from error
            _check(response)

        yield send


def _of_status(error: grpc.aio.AioRpcError) -> Exception:
    code = error.code()
    told = f"{code.name.lower()}: {(error.details() or '')[:TOLD_CHARS_MAX]}"
    if code == grpc.StatusCode.INVALID_ARGUMENT or _TOO_LARGE_FOR_ALL in told.lower():
        return Unfit(told)
    after_s = None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            after_s = _retry_info(value)
    # Also what the specification calls not retryable, such as a key that is not known: records wait
    # on the disk anyway, and a key can be mended.
    return TryAgain(told, after_s=after_s, smaller=code in _OVERLOADED)


def _retry_info(details: bytes) -> float | None:
    try:
        status = status_pb2.Status.FromString(details)
        for detail in status.details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                return _bounded(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    except DecodeError:
        pass  # garbage: as if it were not there
    return None


@asynccontextmanager
async def _http(endpoint: Endpoint, signal: str) -> AsyncGenerator[Sender]:
    answer: Callable[[], Response] = (
        trace_service_pb2.ExportTraceServiceResponse
        if signal == "traces"
        else metrics_service_pb2.ExportMetricsServiceResponse
    )
    headers = {**dict(endpoint.headers), "content-type": "application/x-protobuf"}
    if endpoint.gzip:
        headers["content-encoding"] = "gzip"
    connector = aiohttp.TCPConnector(ssl=_tls(endpoint) if endpoint.secure else True, limit=2)
    timeout = aiohttp.ClientTimeout(total=endpoint.timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def send(request: Request) -> None:
            body = request.SerializeToString()
            try:
                async with session.post(
                    endpoint.url,
                    data=gzip.compress(body, 1) if endpoint.gzip else body,
                    headers=headers,
                    allow_redirects=False,  # headers are secrets of this address
                ) as response:
                    content = await _bounded_body(response.content)
                    status, retry_after = response.status, response.headers.get("retry-after", "")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                told = str(error)[:TOLD_CHARS_MAX] or "it does not answer in time"
                raise TryAgain(f"{type(error).__name__}: {told}") from error
            _check_http(status, retry_after, content, answer())

        yield send


async def _bounded_body(stream: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in stream.iter_any():
        body += piece[: ANSWER_BYTES_MAX - len(body)]
        if len(body) >= ANSWER_BYTES_MAX:
            break
    return bytes(body)


def _check_http(status: int, retry_after: str, content: bytes, answer: Response) -> None:
    if status in _HTTP_UNFIT:
        raise Unfit(f"HTTP {status}")
    if status != _OK:
        after_s = _bounded(float(retry_after)) if retry_after.isdecimal() else None
        raise TryAgain(f"HTTP {status}", after_s=after_s)
    try:
        answer.ParseFromString(content)
    except DecodeError as error:
        raise TryAgain("HTTP 200, but what it answers is not OTLP: is it a collector?") from error
    _check(answer)


def _check(response: Response) -> None:
    part = response.partial_success
    if isinstance(response, trace_service_pb2.ExportTraceServiceResponse):
        rejected = response.partial_success.rejected_spans
    else:
        rejected = response.partial_success.rejected_data_points
    if rejected > 0:
        raise Refused(rejected, part.error_message[:TOLD_CHARS_MAX])


def _bounded(after_s: float) -> float:
    return min(max(after_s, 0.0), RETRY_AFTER_S_MAX)


def _credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    def content(path: Any) -> bytes | None:
        return path.read_bytes() if path is not None else None

    return grpc.ssl_channel_credentials(
        content(endpoint.ca), content(endpoint.key), content(endpoint.certificate)
    )


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    """Raises InvalidInput where a file is not what it should be."""
    try:
        context = ssl.create_default_context(cafile=endpoint.ca)
        if endpoint.certificate is not None:
            context.load_cert_chain(endpoint.certificate, endpoint.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"OTLP's certificates or key cannot be read: {error}: give PEM files that belong together"
        ) from error
    return context
