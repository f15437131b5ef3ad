"""Spans to Azure Monitor, through Microsoft's exporter: the extra `azure` installs it.

That exporter takes the SDK's spans and says of a failure only that it was one, so all are tried again; its
own disk queue and its reports to its makers are off.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.otel.exporter import SendSpans
from harmost.services.telemetry.otel.otlp import TryAgain

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import SpanContext, Status

__all__ = ["azure"]

ENVELOPES_PER_S_MAX = 1_000_000  # the backlog paces: a limit of the exporter's own would drop
TIMEOUT_S = 10.0
# What else the exporter would tell its makers, or be told by them.
_QUIET = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)


@asynccontextmanager
async def azure(connection_string: str, resource: Resource) -> AsyncGenerator[SendSpans]:
    """What sends spans to where `connection_string` says, until the block ends."""
    for name in _QUIET:  # read when the package is loaded
        os.environ.setdefault(name, "true")
    try:
        from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
        from opentelemetry.sdk.resources import Resource as SdkResource
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as error:
        raise InvalidInput(
            "Azure Monitor needs a package that is not installed: pip install 'harmost[azure]'"
        ) from error
    try:
        exporter: Any = AzureMonitorTraceExporter(
            connection_string=connection_string,
            disable_offline_storage=True,
            max_envelopes_per_second=ENVELOPES_PER_S_MAX,
            timeout=TIMEOUT_S,
        )
    except ValueError as error:  # its words hold no key
        raise InvalidInput(
            f"`APPLICATIONINSIGHTS_CONNECTION_STRING` is malformed: {error}"
        ) from None
    described = SdkResource(_values(resource.attributes))
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="telemetry.azure")

    async def send(spans: Sequence[trace_pb2.Span]) -> None:
        readable = [_readable(span, described) for span in spans]
        if (
            await loop.run_in_executor(thread, exporter.export, readable)
            != SpanExportResult.SUCCESS
        ):
            raise TryAgain("it did not take them: its own log lines say why")

    try:
        yield send
    finally:
        await asyncio.to_thread(thread.shutdown)
        exporter.shutdown()


def _readable(span: trace_pb2.Span, resource: Any) -> "ReadableSpan":
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanKind

    remote = bool(span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, remote=False),
        parent=_context(span.trace_id, span.parent_span_id, remote=remote)
        if span.parent_span_id
        else None,
        resource=resource,
        attributes=_values(span.attributes),
        events=[_event(event) for event in span.events],
        kind=SpanKind(span.kind - 1),  # OTLP counts from UNSPECIFIED
        status=_status(span.status),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
    )


def _context(trace_id: bytes, span_id: bytes, *, remote: bool) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        int.from_bytes(trace_id),
        int.from_bytes(span_id),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _event(event: trace_pb2.Span.Event) -> "Event":
    from opentelemetry.sdk.trace import Event

    return Event(event.name, _values(event.attributes), event.time_unix_nano)


def _status(status: trace_pb2.Status) -> "Status":
    from opentelemetry.trace import Status, StatusCode

    failed = status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Status(StatusCode.ERROR if failed else StatusCode.UNSET)


def _values(attributes: Sequence[KeyValue]) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else ""
