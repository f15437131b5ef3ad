"""Ships a journal's records and outcomes to Telemetry, at least once, in order, from the files.

Nothing is queued in memory: what Telemetry does not take stays in the journal. How far it came is a
row of the journal, so a restart ships nothing that was acknowledged, but for the last batch.
"""

import asyncio
import logging
import os
import random
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from harmost.core.audit.rows import (
    MissionClosed,
    MissionRecorded,
    Outcome,
    OutcomeReported,
    Shipped,
)
from harmost.core.errors import ServiceUnavailable
from harmost.core.messages.form import Field, Form
from harmost.services.convert.forms import form_of
from harmost.services.convert.record import OUTCOME, RECORD
from harmost.services.journal.journal import Journal
from harmost.services.journal.reader import Reader
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Shipper"]

log = logging.getLogger(__name__)

BATCH_ROWS_MAX = 200  # the contract allows 1,000; less holds the loop for less
# Some 0.5 ms of the loop; with the row that passes it far less than a message may be.
BATCH_BYTES = 1024 * 1024
# Some 0.2 ms of the loop. A read opens the file: with few rows in each that costs more than they do.
READ_BYTES = 256 * 1024
INTERVAL_S = 0.25
ACK_TIMEOUT_S = 30.0
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
REFUSED_BYTES_MAX = 64 * 1024 * 1024

Metadata = Sequence[tuple[str, str]]

_REPORT = "/harmost.telemetry.v1.TelemetryService/Report"
_RECORD = telemetry_pb2.Record.DESCRIPTOR
_SHIPPED_TAGS = frozenset(
    kind.__struct_config__.tag for kind in (MissionClosed, MissionRecorded, OutcomeReported)
)


class _Item(NamedTuple):
    """A row that is to be shipped."""

    sequence: int
    row: MissionRecorded | OutcomeReported


class _Batch(NamedTuple):
    """Rows as they are shipped together; a record is a message already."""

    batch: int
    records: list[bytes]
    outcomes: dict[str, Outcome]


_BATCH = form_of(telemetry_pb2.ReportRequest, _Batch, how={"records": bytes, "outcomes": OUTCOME})
# Of a record, where it stands in the journal: behind what the journal holds of it.
_PLACE = Form([Field(_RECORD.fields_by_name["journal_sequence"].number, "sequence", "int")])


class Shipper:
    """Ships while it runs. `metadata` carries the service key.

    A record that Telemetry refuses as malformed is kept in `refused.jsonl` beside the journal's
    files, so that one bad record does not hold up all that follow.
    """

    def __init__(
        self,
        journal: Journal,
        channel: grpc.aio.Channel,
        *,
        metadata: Metadata = (),
        interval_s: float = INTERVAL_S,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self._journal = journal
        self._report: Any = channel.stream_stream(  # of bytes: what the stub takes is a message
            _REPORT, response_deserializer=telemetry_pb2.ReportResponse.FromString
        )
        self._metadata = tuple(metadata)
        self._interval_s = interval_s
        self._backoff_max_s = backoff_max_s
        self._reader: Reader | None = None
        self._pending: deque[_Item] = deque()
        self._batch_rows_max = BATCH_ROWS_MAX
        self.refused = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Ship until the block ends; what is not acknowledged then is shipped after the next start."""
        async with asyncio.TaskGroup() as tasks:
            shipping = tasks.create_task(self._ship_forever(), name="journal.ship")
            try:
                yield
            finally:
                shipping.cancel()

    async def _ship_forever(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            try:
                await self._ship_waiting()
                backoff_s = BACKOFF_MIN_S
                await asyncio.sleep(self._interval_s)
            except (grpc.aio.AioRpcError, ServiceUnavailable, OSError) as error:  # or time is over
                self._reader = None  # ship again from what was acknowledged
                self._pending.clear()
                log.warning("records wait in the journal: telemetry: %s", _told(error))
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, self._backoff_max_s)

    async def _ship_waiting(self) -> None:
        # One stream for what waits now; none stays open while nothing does.
        await self._fill()
        if not self._pending:
            return
        async with asyncio.timeout(None) as limit:
            call = self._report(metadata=self._metadata)
            batch = 0
            try:
                while self._pending:
                    batch += 1
                    limit.reschedule(asyncio.get_running_loop().time() + ACK_TIMEOUT_S)
                    await self._ship(call, batch)
                    await self._fill()
                await call.done_writing()
                await call.read()
            finally:
                call.cancel()

    async def _ship(self, call: Any, batch: int) -> None:
        items = self._take()
        try:
            await call.write(_message(batch, items))
            acknowledged = await call.read()
        except grpc.aio.AioRpcError as error:
            self._refuse(items, error)
            raise
        except asyncio.InvalidStateError as error:  # the stream ended between two batches
            raise ServiceUnavailable("it ended the stream") from error
        if acknowledged is grpc.aio.EOF or acknowledged.batch != batch:
            raise ServiceUnavailable("it ended the stream without acknowledging the batch")
        self._journal.append(Shipped(sequence=items[-1].sequence))
        self._batch_rows_max = min(self._batch_rows_max * 2, BATCH_ROWS_MAX)

    def _take(self) -> list[_Item]:
        # Up to a second outcome of one record: a batch has one place for each.
        items: list[_Item] = []
        told: set[str] = set()
        bytes_left = BATCH_BYTES
        while self._pending and len(items) < self._batch_rows_max and bytes_left > 0:
            row = self._pending[0].row
            if isinstance(row, OutcomeReported):
                if row.record_id in told:
                    break
                told.add(row.record_id)
            else:
                bytes_left -= len(row.record)
            items.append(self._pending.popleft())
        return items

    async def _fill(self) -> None:
        if self._reader is None:
            self._reader = self._journal.reader(after=self._journal.shipped_sequence)
        while len(self._pending) < BATCH_ROWS_MAX and self._reader.behind:
            for frame in self._reader.read(READ_BYTES):
                if frame.tag not in _SHIPPED_TAGS:
                    continue
                row = frame.row
                if isinstance(row, MissionClosed):  # of a version before
                    record = RECORD.write(row.record)
                    row = MissionRecorded(record_id=row.record.record_id, record=record)
                if isinstance(row, MissionRecorded | OutcomeReported):
                    self._pending.append(_Item(frame.sequence, row))
            await asyncio.sleep(0)

    def _refuse(self, items: Sequence[_Item], error: grpc.aio.AioRpcError) -> None:
        # Which row it is, the answer says only for people: ask with half as many until it is one.
        if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
            return
        self._batch_rows_max = max(1, len(items) // 2)
        if len(items) > 1:
            return
        _keep(self._journal.directory / "refused.jsonl", items[0], error)
        self.refused += 1
        self._journal.append(Shipped(sequence=items[0].sequence))


def _message(batch: int, items: Sequence[_Item]) -> bytes:
    records = [
        item.row.record + _PLACE.write(item)
        for item in items
        if not isinstance(item.row, OutcomeReported)
    ]
    outcomes = {
        item.row.record_id: item.row.outcome
        for item in items
        if isinstance(item.row, OutcomeReported)
    }
    return _BATCH.write(_Batch(batch, records, outcomes))


def _for_people(row: MissionRecorded | OutcomeReported) -> object:
    if isinstance(row, MissionRecorded):
        with suppress(DecodeError):  # that may be why it was refused: then as it stands
            return MessageToDict(telemetry_pb2.Record.FromString(row.record))
    return msgspec.to_builtins(row)


def _keep(path: Path, item: _Item, error: grpc.aio.AioRpcError) -> None:
    line = msgspec.json.encode({"error": error.details(), "row": _for_people(item.row)})
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size + len(line) > REFUSED_BYTES_MAX:
            raise ServiceUnavailable(
                f"`{path}` is full of records that telemetry refuses: mend what it names"
            ) from error
        os.write(fd, line + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    log.error("telemetry refuses row %d: %s: kept in %s", item.sequence, error.details(), path)


def _told(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name.lower()}: {error.details()}"
    return str(error) or "it does not answer"
