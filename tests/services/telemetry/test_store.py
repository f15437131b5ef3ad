"""Facts about the records' store: it survives a restart and a new schema, and gives up on time."""

import asyncio
import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from harmost.core.errors import DeadlineExceeded, InvalidInput, RateLimited
from harmost.services.telemetry import worker as worker_module
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.usage import UsageQuestion
from harmost.services.telemetry.worker import READS_MAX, Worker
from harmost.telemetry.v1 import telemetry_pb2

ALL = UsageQuestion(tenant="", start_ns=0, end_ns=2**63 - 1, group_by=())


def batch(*records: Any) -> telemetry_pb2.ReportRequest:
    return telemetry_pb2.ReportRequest(batch=1, records=records)


def test_records_survive_a_restart(tmp_path: Path, make_record: Any) -> None:
    for expected in (0, 1):
        with contextlib.closing(TelemetryStore(tmp_path / "t.db")) as store:
            assert len(store.take(batch(make_record("r1", ("m", 1, 5))))) == 1 - expected
            assert store.usage(ALL)[0][0].cost_usd_nanos == 5


def test_sums_beyond_64_bits_are_refused_not_wrong(tmp_path: Path, make_record: Any) -> None:
    with contextlib.closing(TelemetryStore(tmp_path / "t.db")) as store:
        store.take(batch(*(make_record(f"r{n}", ("m", 1, 10**18)) for n in range(10))))
        with pytest.raises(InvalidInput, match="shorter time"):
            store.usage(ALL)


def test_more_groups_than_an_answer_holds_are_cut_and_said_so(
    tmp_path: Path, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmost.services.telemetry.usage.ROWS_MAX", 3)
    with contextlib.closing(TelemetryStore(tmp_path / "t.db")) as store:
        store.take(batch(*(make_record(f"r{n}", end_user_id=f"u{n}") for n in range(4))))
        question = ALL._replace(group_by=(telemetry_pb2.GROUP_BY_END_USER,))
        rows, truncated = store.usage(question)
        assert ([row.keys[0] for row in rows], truncated) == (["u0", "u1", "u2"], True)


async def test_a_read_that_takes_too_long_is_interrupted(
    store: TelemetryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "READ_TIME_MAX_S", 0.1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    ended: list[type[BaseException]] = []

    def job() -> None:
        try:
            store._connection.execute(endless).fetchall()
        except apsw.Error as error:
            ended.append(type(error))
            raise

    worker = Worker(store)
    async with worker.running():
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await worker.read(job)
        assert (await worker.read(partial(store.usage, ALL)))[1] is False
        assert time.monotonic() - before < 5
    assert ended == [apsw.InterruptError]


async def test_reads_are_bounded(store: TelemetryStore) -> None:
    worker = Worker(store)
    async with worker.running():
        reads = [
            asyncio.create_task(worker.read(lambda: time.sleep(0.01))) for _ in range(READS_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            await worker.read(lambda: None)
        await asyncio.gather(*reads)
        await worker.read(lambda: None)


@pytest.mark.parametrize(("at_s", "total_ns"), [(9_300_000_000, 0), (9_000_000_000, 2**62)])
def test_a_time_that_no_clock_tells_is_malformed_and_named(
    store: TelemetryStore, make_record: Any, at_s: int, total_ns: int
) -> None:
    record = make_record("r", total_ns=total_ns)
    record.started_at.seconds = at_s
    with pytest.raises(InvalidInput, match=r"records\[0\].started_at"):
        store.take(telemetry_pb2.ReportRequest(records=[record]))
