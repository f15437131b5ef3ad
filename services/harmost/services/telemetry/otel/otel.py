"""Puts the parts together: records in, spans and metrics out. The Telemetry service runs one of these."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harmost.core.otel.conventions import SCHEMA_URLS, Conventions
from harmost.services.convert.times import time_from_proto
from harmost.services.telemetry.otel.exporter import Exporter, InStore, SendSpans
from harmost.services.telemetry.otel.levels import Levels
from harmost.services.telemetry.otel.meter import NS_PER_S, Meter
from harmost.services.telemetry.otel.otlp import Refused, Sender, TryAgain, Unfit, otlp
from harmost.services.telemetry.otel.scrape import scraped
from harmost.services.telemetry.otel.settings import Endpoint, OtelSettings
from harmost.services.telemetry.otel.shown import otlp_request, prometheus_text
from harmost.services.telemetry.otel.spans import SpanMaker
from harmost.services.telemetry.otel.vendors import Vendors
from harmost.services.telemetry.store import TelemetryStore
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Otel", "resource_of", "send_spans"]

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 32  # counted between two turns of the loop: some 2 ms
CLOCK_AHEAD_S = 5.0  # of a Router, from which on it is named
CLOCKS_MAX = 1_000


class Otel:
    """`take` records while it is `running`. Nothing is exported where `settings` name nowhere."""

    def __init__(
        self, settings: OtelSettings, store: TelemetryStore, vendors: Vendors, meter: Meter
    ) -> None:
        self._settings = settings
        self._store = store
        self._vendors = vendors
        self._meter = meter
        self._resource = resource_of(settings.resource)
        self._counts = bool(settings.prometheus or settings.metrics)
        self._began_ns = time.time_ns()
        self._exporters: list[Exporter] = []
        self._levels: Levels | None = None
        self._ahead: set[str] = set()  # Routers whose clock was named
        self._metrics_troubled = False
        self.metrics_port = 0

    def use(self, levels: Levels) -> None:
        """Have `levels` asked whenever metrics are looked at."""
        self._levels = levels

    async def take(self, records: Sequence[telemetry_pb2.Record]) -> None:
        """Count records that were not known before. Spans are made of what is stored."""
        now_ns = time.time_ns()
        for count, record in enumerate(records, 1):
            if count % RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            self._name_clock(record, now_ns)
            if self._counts:
                self._meter.take(record, now_ns=now_ns)

    @asynccontextmanager
    async def running(self, in_store: InStore) -> AsyncGenerator[None]:
        """Export until the block ends; `in_store` runs a job in the store's thread."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            if settings.traces is not None:
                sender = await stack.enter_async_context(otlp(settings.traces, "traces"))
                send = partial(send_spans, sender, self._resource, settings.conventions)
                await self._export(stack, "otlp", send, in_store)
            if settings.azure:
                from harmost.services.telemetry.otel.azure import azure

                send_azure = await stack.enter_async_context(azure(settings.azure, self._resource))
                await self._export(stack, "azure", send_azure, in_store)
            if settings.prometheus:
                page = scraped(settings.prometheus, self._page)
                self.metrics_port = await stack.enter_async_context(page)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            pushing: list[asyncio.Task[None]] = []
            if settings.metrics is not None:
                push = self._push_forever(settings.metrics)
                pushing.append(tasks.create_task(push, name="telemetry.metrics"))
            try:
                yield
            finally:
                for task in pushing:
                    task.cancel()

    async def _export(
        self, stack: AsyncExitStack, destination: str, send: SendSpans, in_store: InStore
    ) -> None:
        settings = self._settings
        exporter = Exporter(
            destination,
            self._store.backlog(destination, records_max=settings.queue_records),
            send,
            maker=SpanMaker(settings.conventions, self._vendors),
            sampler=settings.sampler,
            batch_records=settings.batch_records,
            delay_s=settings.spans_delay_s,
        )
        self._exporters.append(exporter)
        await stack.enter_async_context(exporter.running(in_store))

    def _name_clock(self, record: telemetry_pb2.Record, now_ns: int) -> None:
        ended_ns = time_from_proto(record.started_at) + record.total_ns
        ahead_s = (ended_ns - now_ns) / NS_PER_S
        router = record.router_id
        if ahead_s < CLOCK_AHEAD_S:
            self._ahead.discard(router)
        elif router not in self._ahead and len(self._ahead) < CLOCKS_MAX:
            self._ahead.add(router)
            log.warning(
                "the clock of router `%s` is %.0f s ahead of this machine's: set it right",
                router,
                ahead_s,
            )

    # --- Metrics ------------------------------------------------------------------------------------

    async def _page(self) -> bytes:
        await self._refresh()
        return prometheus_text(self._meter, self._settings.conventions)

    async def _refresh(self) -> None:
        if self._levels is not None:
            await self._levels.refresh()
        for exporter in self._exporters:
            self._tell_export(exporter)

    def _tell_export(self, exporter: Exporter) -> None:
        labels, stats = (exporter.destination,), exporter.stats
        self._meter.level("export_backlog", labels, stats.backlog)
        self._meter.total("export_records", labels, stats.exported)
        self._meter.total("export_sampled_out", labels, stats.sampled_out)
        self._meter.total("export_dropped", labels, stats.dropped)
        self._meter.total("export_refused", labels, stats.refused_spans)
        self._meter.total("export_failures", labels, stats.failures)

    async def _push_forever(self, endpoint: Endpoint) -> None:
        # Sums since the start: one that is not taken is made good by the next.
        async with otlp(endpoint, "metrics") as send:
            while True:
                await asyncio.sleep(self._settings.metrics_interval_s * random.uniform(0.9, 1.0))
                try:
                    await self._refresh()
                    await send(self._metrics_request())
                except (TryAgain, Unfit, Refused) as error:
                    self._tell_metrics_trouble(str(error))
                except Exception:  # the task root: records are kept, whatever metrics do
                    log.exception("metrics cannot be told")
                else:
                    self._metrics_troubled = False

    def _tell_metrics_trouble(self, why: str) -> None:
        if not self._metrics_troubled:
            log.warning("metrics are not taken: %s", why)
        self._metrics_troubled = True

    def _metrics_request(self) -> ExportMetricsServiceRequest:
        return otlp_request(
            self._meter,
            self._resource,
            conventions=self._settings.conventions,
            began_ns=self._began_ns,
            now_ns=time.time_ns(),
        )


def resource_of(attributes: Iterable[tuple[str, str]]) -> Resource:
    """Who tells all this: `attributes`, and harmost's version."""
    resource = Resource()
    for name, value in (*attributes, ("service.version", version("harmost"))):
        resource.attributes.add(key=name).value.string_value = value
    return resource


async def send_spans(
    send: Sender, resource: Resource, conventions: Conventions, spans: Sequence[Span]
) -> None:
    """Send `spans` of `resource` in one request. Raises as `send` does."""
    request = ExportTraceServiceRequest()
    told = request.resource_spans.add(resource=resource)
    scope = told.scope_spans.add(schema_url=SCHEMA_URLS[conventions], spans=spans)
    scope.scope.name = "harmost"
    await send(request)
