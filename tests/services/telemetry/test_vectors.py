"""Fact vectors are kept apart from records, for less time, and read newest first."""

import contextlib
from pathlib import Path
from typing import Any

from harmost.services.telemetry.retention import Retention
from harmost.services.telemetry.store import TelemetryStore, VectorFilter
from harmost.telemetry.v1 import telemetry_pb2

T0 = 1_800_000_000
DAY_S = 86_400
NS = 10**9
ALL = VectorFilter("", 0, 2**63 - 1)


def batch(*records: Any) -> telemetry_pb2.ReportRequest:
    return telemetry_pb2.ReportRequest(batch=1, records=records)


def read(store: TelemetryStore, wanted: VectorFilter = ALL, items_max: int = 100) -> list[bytes]:
    return [found.vector for found in store.vectors(wanted, after=None, items_max=items_max)]


def test_every_decision_of_a_record_is_kept_once(store: TelemetryStore, make_record: Any) -> None:
    record = make_record("r1", fact_vectors=(b"one", b"two"))
    store.take(batch(record))
    store.take(batch(make_record("r1", fact_vectors=(b"one", b"two"))))
    assert read(store) == [b"two", b"one"]
    kept = store.get("r1")
    assert kept is not None
    assert not kept.fact_vectors


def test_they_are_found_by_tenant_and_time(store: TelemetryStore, make_record: Any) -> None:
    for number, tenant in enumerate(("acme", "acme/retail", "acmes", "globex")):
        vector = tenant.encode()
        store.take(
            batch(make_record(tenant, tenant=tenant, at_s=T0 + number, fact_vectors=(vector,)))
        )
    assert read(store, VectorFilter("acme", 0, 2**63 - 1)) == [b"acme/retail", b"acme"]
    assert read(store, VectorFilter("", (T0 + 1) * NS, (T0 + 3) * NS)) == [b"acmes", b"acme/retail"]


def test_pages_cover_all_even_of_one_instant(store: TelemetryStore, make_record: Any) -> None:
    for number in range(7):
        store.take(batch(make_record(f"r{number}", fact_vectors=(b"%d" % number,))))
    seen: list[bytes] = []
    after = None
    while page := store.vectors(ALL, after=after, items_max=3):
        seen += [found.vector for found in page]
        after = page[-1].position
    assert seen == [b"%d" % number for number in reversed(range(7))]


def test_they_are_forgotten_before_their_records(tmp_path: Path, make_record: Any) -> None:
    path = tmp_path / "t.db"
    with contextlib.closing(TelemetryStore(path)) as store:
        store.take(batch(make_record("old", fact_vectors=(b"old",))))
        store.take(batch(make_record("new", at_s=T0 + 80 * DAY_S, fact_vectors=(b"new",))))
        assert store.prune((T0 + 100 * DAY_S) * NS) == 1
        assert read(store) == [b"new"]
        assert store.get("old") is not None


def test_too_many_lose_the_oldest(tmp_path: Path, make_record: Any) -> None:
    path = tmp_path / "t.db"
    with contextlib.closing(TelemetryStore(path, retention=Retention(vectors_max=2))) as store:
        for number in range(5):
            store.take(
                batch(make_record(f"r{number}", at_s=T0 + number, fact_vectors=(b"%d" % number,)))
            )
        while store.prune(T0 * NS):
            pass
        assert read(store) == [b"4", b"3"]
    with contextlib.closing(
        TelemetryStore(path, retention=Retention(vectors_max=1))
    ) as store:  # counted at the start
        while store.prune(T0 * NS):
            pass
        assert read(store) == [b"4"]


def test_a_database_of_before_gets_the_table(tmp_path: Path, make_record: Any) -> None:
    from harmost.services.sqlite import open_database
    from harmost.services.telemetry.schema import APPLICATION_ID, MIGRATIONS

    path = tmp_path / "t.db"
    open_database(
        path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:1], synchronous="FULL"
    ).close()
    with contextlib.closing(TelemetryStore(path)) as store:
        store.take(batch(make_record("r1", fact_vectors=(b"one",))))
        assert read(store) == [b"one"]
    assert path.with_name("t.db.v1.bak").exists()
