"""Takes records from the backlog to a destination, as spans, at least once and in order.

Nothing is queued in memory and nobody waits for it: what a destination does not take stays in the records'
table, and how far it came is a row beside them.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harmost.core.otel.context import parent_of
from harmost.core.otel.sampling import Sampler
from harmost.services.telemetry.backlog import Backlog, Waiting
from harmost.services.telemetry.otel.otlp import Refused, TryAgain, Unfit
from harmost.services.telemetry.otel.outcomes import is_remarkable
from harmost.services.telemetry.otel.spans import SpanMaker, trace_id_of
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Exporter", "ExporterStats"]

log = logging.getLogger(__name__)

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
RECORDS_AT_ONCE = 16  # made into spans between two turns of the loop: some 2 ms

# Runs a job in the store's thread.
InStore = Callable[[Callable[[], Any]], Awaitable[Any]]


class SendSpans(Protocol):
    """Sends spans. Raises as otlp.py's senders do."""

    async def __call__(self, spans: Sequence[Span]) -> None: ...


class ExporterStats:
    """What became of the records that were to be exported."""

    def __init__(self) -> None:
        self.backlog = 0
        self.exported = 0
        self.sampled_out = 0
        self.dropped = 0  # since ever: it outlives restarts
        self.refused_spans = 0
        self.failures = 0


class _Made(NamedTuple):
    """What a batch is as spans. `sampled_out` and `untellable` are records without any."""

    spans: list[Span]
    sampled_out: int
    untellable: int


class Exporter:
    """Exports while it runs."""

    def __init__(
        self,
        destination: str,
        backlog: Backlog,
        send: SendSpans,
        *,
        maker: SpanMaker,
        sampler: Sampler,
        batch_records: int,
        delay_s: float,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self.destination = destination
        self.stats = ExporterStats()
        self._backlog = backlog
        self._send = send
        self._maker = maker
        self._sampler = sampler
        self._batch_records_max = self._batch_records = batch_records
        self._delay_s = delay_s
        self._backoff_max_s = backoff_max_s
        self._troubled = False

    @asynccontextmanager
    async def running(self, in_store: InStore) -> AsyncGenerator[None]:
        """Export until the block ends; what was not taken then is exported after the next start.

        `in_store` runs a job in the store's thread.
        """
        self.stats.dropped = await in_store(self._backlog.begin)
        async with asyncio.TaskGroup() as tasks:
            exporting = tasks.create_task(
                self._export_forever(in_store), name=f"telemetry.export.{self.destination}"
            )
            try:
                yield
            finally:
                exporting.cancel()

    async def _export_forever(self, in_store: InStore) -> None:
        backoff_s = least_s = min(BACKOFF_MIN_S, self._backoff_max_s)
        while True:
            try:
                more = await self._export(in_store)
            except TryAgain as error:
                await self._wait(error, backoff_s)
                backoff_s = min(backoff_s * 2, self._backoff_max_s)
            except Exception as error:  # the task root: records are kept, whatever becomes of spans
                log.exception("spans cannot be told")
                await self._wait(TryAgain(type(error).__name__), self._backoff_max_s)
            else:
                backoff_s = least_s
                # Without delay where more waits: what is behind is to be caught up.
                await asyncio.sleep(0 if more else self._delay_s)

    async def _wait(self, error: TryAgain, backoff_s: float) -> None:
        if not self._troubled:  # once, not at each try: a collector may be down for hours
            log.warning("spans wait on the disk: %s: %s", self.destination, error)
        self._troubled = True
        if error.smaller:
            self._batch_records = max(1, self._batch_records // 2)
        # Whatever it asks for, it is not asked without pause.
        await asyncio.sleep(max(error.after_s or 0, backoff_s * random.uniform(0.5, 1.0)))

    async def _export(self, in_store: InStore) -> bool:
        """Export one batch; whether more waits. Raises `TryAgain`."""
        waiting: Waiting = await in_store(partial(self._backlog.waiting, self._batch_records))
        self._tell_dropped(waiting.dropped)
        self.stats.backlog = waiting.behind + len(waiting.records)
        if not waiting.records:
            return False
        made = await self._spans(waiting.records)
        if made.spans and not await self._sent(made.spans, len(waiting.records)):
            return True  # again, with fewer
        await in_store(partial(self._backlog.done, waiting))
        self.stats.backlog = waiting.behind
        # Only now: a batch may be sent many times, and counts once.
        self.stats.exported += len(waiting.records)
        self.stats.sampled_out += made.sampled_out
        self.stats.refused_spans += made.untellable
        return waiting.behind > 0

    async def _sent(self, spans: Sequence[Span], records: int) -> bool:
        """Whether `spans` are done with: taken, or never to be."""
        try:
            await self._send(spans)
        except TryAgain:
            self.stats.failures += 1
            raise
        except Refused as error:
            self.stats.refused_spans += error.count
            log.warning("%s refuses %d spans for good: %s", self.destination, error.count, error)
        except Unfit as error:
            self.stats.failures += 1
            if records > 1:
                self._batch_records = max(1, records // 2)
                return False
            self.stats.refused_spans += len(spans)
            log.warning("%s refuses the spans of a record for good: %s", self.destination, error)
        if self._troubled:
            log.info("%s takes spans again", self.destination)
            self._troubled = False
        self._batch_records = min(self._batch_records * 2, self._batch_records_max)
        return True

    async def _spans(self, stored: Sequence[bytes]) -> _Made:
        spans: list[Span] = []
        sampled_out = untellable = 0
        for count, data in enumerate(stored, 1):
            if count % RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                told = self._spans_of(telemetry_pb2.Record.FromString(data))
            except (DecodeError, LookupError, ValueError):
                # Of a Router that is newer, or lies: it may not hold up the others.
                log.exception("a record cannot be told as spans: it is left out")
                untellable += 1
            else:
                spans += told or ()
                sampled_out += told is None
        return _Made(spans, sampled_out, untellable)

    def _spans_of(self, record: telemetry_pb2.Record) -> list[Span] | None:
        """None: it is sampled out."""
        parent = parent_of(record.traceparent)
        if self._sampler.keeps(
            remarkable=is_remarkable(record),
            total_ns=record.total_ns,
            trace_id=trace_id_of(record.record_id, parent),
            parent=parent,
        ):
            return self._maker.spans(record, parent)
        return None

    def _tell_dropped(self, dropped: int) -> None:
        if dropped > self.stats.dropped:
            log.warning(
                "%d records are given up, unexported: %s is too far behind",
                dropped - self.stats.dropped,
                self.destination,
            )
        self.stats.dropped = dropped
