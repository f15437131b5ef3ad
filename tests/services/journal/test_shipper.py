"""Facts about shipping: nothing is lost or doubled, whatever Telemetry does."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from harmost.core.audit.rows import (
    MissionClosed,
    MissionRecorded,
    Outcome,
    OutcomeReported,
    RecordSummary,
)
from harmost.core.policy.decision import Decision, RuleHit
from harmost.services.convert.record import RECORD, record_from_proto
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.journal import shipper as shipper_module
from harmost.services.journal.journal import Journal
from harmost.services.journal.shipper import Shipper
from harmost.services.telemetry.service import TelemetryServicer
from harmost.services.telemetry.store import RecordFilter, TelemetryStore
from harmost.services.transport import GrpcServer, bearer, channel
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

SERVICE = Principal("mesh", "", frozenset({"service"}))


class Telemetry:
    """A real Telemetry service that can be stopped and started at one address."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = 0
        self.taken: list[telemetry_pb2.ReportRequest] = []

    @asynccontextmanager
    async def up(self, *, acknowledging: bool = True) -> AsyncIterator[None]:
        with contextlib.closing(TelemetryStore(self.path)) as store:
            servicer = _Recording(store, self.taken, acknowledging)

            def register(server: grpc.aio.Server) -> str:
                telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, server)
                return "harmost.telemetry.v1.TelemetryService"

            async with servicer.running():
                server = GrpcServer(
                    "grpcio",
                    interceptor=Gate({"key": SERVICE}.get),
                    register=register,
                    listen=f"127.0.0.1:{self.port}",
                    tls=None,
                )
                self.port = server.port
                await server.start()
                yield
                await server.stop(0)

    def records(self) -> list[telemetry_pb2.Record]:
        with contextlib.closing(TelemetryStore(self.path)) as store:
            found = store.page(RecordFilter(""), after=None, items_max=10_000)
            return [item.record for item in found]


class _Recording(TelemetryServicer):
    """Notes each batch; where it is not `acknowledging`, it dies after the commit."""

    def __init__(self, store: TelemetryStore, taken: list[Any], acknowledging: bool) -> None:
        super().__init__(store)
        self._taken = taken
        self._acknowledging = acknowledging

    async def Report(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for response in super().Report(self._noted(request_iterator), context):
            if not self._acknowledging:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            yield response

    async def _noted(self, requests: Any) -> AsyncIterator[Any]:
        async for request in requests:
            self._taken.append(request)
            yield request


@pytest.fixture
def telemetry(tmp_path: Path) -> Telemetry:
    return Telemetry(tmp_path / "telemetry.db")


@asynccontextmanager
async def shipping(journal: Journal, telemetry: Telemetry) -> AsyncIterator[Shipper]:
    async with channel(f"127.0.0.1:{telemetry.port or 1}") as to:
        shipper = Shipper(journal, to, metadata=bearer("key"), interval_s=0.01, backoff_max_s=0.1)
        async with shipper.running():
            yield shipper


async def shipped(journal: Journal) -> None:
    async with asyncio.timeout(20):
        while journal.shipped_sequence < journal._owed.shippable_sequence:
            await asyncio.sleep(0.01)


def end(journal: Journal, rows: Any, *names: str) -> None:
    for name in names:
        for row in rows(name):
            journal.append(row)


def summary_of(row: MissionRecorded) -> RecordSummary:
    return record_from_proto(telemetry_pb2.Record.FromString(row.record))


def altered(row: MissionRecorded, **changes: Any) -> MissionRecorded:
    record = msgspec.structs.replace(summary_of(row), **changes)
    return msgspec.structs.replace(row, record=RECORD.write(record))


async def test_records_arrive_with_their_place_in_the_journal(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with (
        telemetry.up(),
        (journal := Journal(tmp_path / "j", "r1")).running(),
        shipping(journal, telemetry),
    ):
        end(journal, rows, "a", "b")
        await shipped(journal)
    assert {record.record_id: record.journal_sequence for record in telemetry.records()} == {
        "a": 5,
        "b": 10,
    }


async def test_telemetry_down_then_up_neither_loses_nor_doubles(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    names = [f"m{n}" for n in range(900)]
    async with telemetry.up():
        pass  # only to have an address
    async with (
        (journal := Journal(tmp_path / "j", "r1", segment_bytes=50_000)).running(),
        shipping(journal, telemetry),
    ):
        end(journal, rows, *names[:300])
        await journal.flush()
        await asyncio.sleep(0.15)
        assert journal.shipped_sequence == 0
        async with telemetry.up():
            await shipped(journal)
        end(journal, rows, *names[300:600])
        await asyncio.sleep(0.05)
        async with telemetry.up(acknowledging=False):  # takes, and dies before it says so
            await asyncio.sleep(0.3)
        async with telemetry.up():
            end(journal, rows, *names[600:])
            await shipped(journal)
    assert sorted(record.record_id for record in telemetry.records()) == sorted(names)
    sent = [record.record_id for request in telemetry.taken for record in request.records]
    assert len(sent) > len(names)  # what was not acknowledged came twice, and was stored once


async def test_a_restart_ships_nothing_again(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with telemetry.up():
        async with (
            (journal := Journal(tmp_path / "j", "r1")).running(),
            shipping(journal, telemetry),
        ):
            end(journal, rows, *(f"m{n}" for n in range(20)))
            await shipped(journal)
        async with (journal := Journal(tmp_path / "j", "r1")).running():
            assert journal.recovered.shipped_sequence == journal.recovered.shippable_sequence
            async with shipping(journal, telemetry):
                end(journal, rows, "late")
                await shipped(journal)
    sent = [record.record_id for request in telemetry.taken for record in request.records]
    assert sorted(sent) == sorted({*sent})
    assert len(sent) == 21


async def test_a_restart_ships_what_was_left(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with (journal := Journal(tmp_path / "j", "r1", segment_bytes=3_000)).running():
        for n in range(50):
            end(journal, rows, f"m{n}")
            await journal.sync()
    async with (
        telemetry.up(),
        (journal := Journal(tmp_path / "j", "r1")).running(),
        shipping(journal, telemetry),
    ):
        await shipped(journal)
    assert len(telemetry.records()) == 50


async def test_two_outcomes_of_one_record_both_arrive(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with telemetry.up(), (journal := Journal(tmp_path / "j", "r1")).running():
        end(journal, rows, "a")
        for number in (1, 2):
            outcome = Outcome(name="thumbs", score_permille=number, reported_at_ns=1_000 + number)
            journal.append(OutcomeReported(record_id="a", outcome=outcome))
        async with shipping(journal, telemetry):
            await shipped(journal)
    (record,) = telemetry.records()
    assert [outcome.score_permille for outcome in record.outcomes] == [1, 2]


async def test_a_record_that_is_refused_is_set_aside_and_the_rest_arrives(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with telemetry.up(), (journal := Journal(tmp_path / "j", "r1")).running():
        for n in range(40):
            *before, closed = rows(f"m{n}")
            if n == 17:
                closed = altered(closed, cost_usd_nanos=-1)
            for row in (*before, closed):
                journal.append(row)
        async with shipping(journal, telemetry) as shipper:
            await shipped(journal)
        assert shipper.refused == 1
    assert len(telemetry.records()) == 39
    kept = (tmp_path / "j" / "refused.jsonl").read_text().splitlines()
    (line,) = [msgspec.json.decode(line) for line in kept]
    assert "cost_usd_nanos" in line["error"]
    assert line["row"]["recordId"] == "m17"


async def test_a_record_that_is_no_message_is_set_aside_and_the_rest_arrives(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with telemetry.up(), (journal := Journal(tmp_path / "j", "r1")).running():
        for n in range(5):
            *before, closed = rows(f"m{n}")
            if n == 2:
                closed = msgspec.structs.replace(closed, record=b"\xff\xff\xff")
            for row in (*before, closed):
                journal.append(row)
        async with shipping(journal, telemetry) as shipper:
            await shipped(journal)
        assert shipper.refused == 1
    assert len(telemetry.records()) == 4
    (line,) = (tmp_path / "j" / "refused.jsonl").read_text().splitlines()
    assert "m2" in msgspec.json.decode(line)["row"]


async def test_records_of_a_journal_of_before_arrive(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with telemetry.up(), (journal := Journal(tmp_path / "j", "r1")).running():
        for name in ("a", "b"):
            *before, closed = rows(name)
            for row in (*before, MissionClosed(record=summary_of(closed))):
                journal.append(row)
        async with shipping(journal, telemetry):
            await shipped(journal)
    assert {record.record_id: record.cost_usd_nanos for record in telemetry.records()} == {
        "a": 40,
        "b": 40,
    }


async def test_records_that_are_too_large_together_arrive_in_smaller_batches(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    hit = RuleHit(policy="p", rule="r", effect="deny", mode="warn", message="x" * 3_500_000)
    decision = Decision(effect="allow", hits=(hit,))
    async with telemetry.up(), (journal := Journal(tmp_path / "j", "r1")).running():
        for n in range(12):  # 42 MB: more than a message may be
            *before, closed = rows(f"m{n}")
            for row in (*before, altered(closed, decision=decision)):
                journal.append(row)
            await journal.flush()
        async with shipping(journal, telemetry) as shipper:
            await shipped(journal)
        assert shipper.refused == 0
    assert len(telemetry.records()) == 12


async def test_a_disk_that_does_not_keep_what_is_refused_holds_records_up_only(
    tmp_path: Path, rows: Any, telemetry: Telemetry
) -> None:
    async with telemetry.up(), (journal := Journal(tmp_path / "j", "r1")).running():
        (tmp_path / "j" / "refused.jsonl").mkdir()  # as a full disk, it cannot be written
        *before, closed = rows("bad")
        for row in (*before, altered(closed, cost_usd_nanos=-1)):
            journal.append(row)
        async with shipping(journal, telemetry) as shipper:
            await asyncio.sleep(0.5)
            assert shipper.refused == 0
            (tmp_path / "j" / "refused.jsonl").rmdir()
            await shipped(journal)
        assert shipper.refused == 1


async def test_telemetry_that_never_answers_is_left_for_another_try(
    tmp_path: Path, rows: Any, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "ACK_TIMEOUT_S", 0.1)
    async with (journal := Journal(tmp_path / "j", "r1")).running():
        end(journal, rows, "a")
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
            telemetry.port = silent.getsockname()[1]
            async with shipping(journal, telemetry):
                await asyncio.sleep(0.4)
                assert journal.shipped_sequence == 0
                journal.append(rows("b")[0])
                await asyncio.wait_for(journal.flush(), 1)
