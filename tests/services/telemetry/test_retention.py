"""Facts about forgetting: each class for its own time, in small steps, usage last."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.retention import PRUNED_AT_ONCE, Retention, retention_of
from harmost.services.telemetry.store import RecordFilter, TelemetryStore
from harmost.services.telemetry.usage import UsageQuestion
from harmost.telemetry.v1 import telemetry_pb2

NS = 10**9
DAY_S = 86_400
T0 = 1_800_000_000
ALL = UsageQuestion(tenant="", start_ns=0, end_ns=2**63 - 1, group_by=())
TEN_DAYS = Retention(usage_days=10, records_days=10, vectors_days=10)


def batch(*records: Any) -> telemetry_pb2.ReportRequest:
    return telemetry_pb2.ReportRequest(batch=1, records=records)


def prune_all(store: TelemetryStore, now_s: int) -> int:
    forgotten = 0
    for _ in range(100):
        if not (step := store.prune(now_s * NS)):
            return forgotten
        forgotten += step
    raise AssertionError("pruning has no end")


def names(store: TelemetryStore, tenant: str = "") -> list[str]:
    found = store.page(RecordFilter(tenant), after=None, items_max=99)
    return [each.record.record_id for each in found]


def test_each_class_is_kept_as_long_as_is_said() -> None:
    assert retention_of(()) == Retention()
    words = ("records=30d", " vectors=7d", "vectors=1000", "usage=1000000")
    with pytest.raises(InvalidInput, match="no less than records"):
        retention_of(words)
    kept = retention_of((*words, "records=1000000"))
    assert (kept.records_days, kept.vectors_days, kept.vectors_max) == (30, 7, 1000)
    assert (kept.usage_days, kept.usage_max) == (Retention().usage_days, 1_000_000)


@pytest.mark.parametrize(
    "word", ["", "records", "record=3d", "records=", "records=3w", "records=-1d", "records=1.5d"]
)
def test_what_says_no_retention_is_told_how_to_say_it(word: str) -> None:
    with pytest.raises(InvalidInput, match="usage, records, vectors"):
        retention_of((word,))


@pytest.mark.parametrize("word", ["records=0d", "vectors=0", "usage=99999d", "usage=9999999999"])
def test_a_retention_out_of_bounds_is_refused(word: str) -> None:
    with pytest.raises(InvalidInput, match="is allowed"):
        retention_of((word,))


def test_what_is_too_old_is_forgotten_in_steps(tmp_path: Path, make_record: Any) -> None:
    with contextlib.closing(TelemetryStore(tmp_path / "t.db", retention=TEN_DAYS)) as store:
        old = PRUNED_AT_ONCE + 3
        for start in range(0, old, 100):
            numbers = range(start, min(old, start + 100))
            store.take(batch(*(make_record(f"o{n}", ("m", 1, 1), at_s=T0) for n in numbers)))
        store.take(batch(make_record("new", ("m", 1, 7), at_s=T0 + 5 * DAY_S)))
        now_ns = (T0 + 11 * DAY_S) * NS
        steps = [store.prune(now_ns) for _ in range(3)]
        assert steps == [2 * PRUNED_AT_ONCE, 2 * 3, 0]  # the record and its usage
        assert store.usage(ALL)[0][0].cost_usd_nanos == 7
        by_model = store.usage(ALL._replace(group_by=(telemetry_pb2.GROUP_BY_MODEL,)))[0]
        assert [row.cost_usd_nanos for row in by_model] == [7]


def test_what_is_too_many_loses_its_oldest(tmp_path: Path, make_record: Any) -> None:
    kept = Retention(usage_max=3, records_max=2)
    with contextlib.closing(TelemetryStore(tmp_path / "t.db", retention=kept)) as store:
        store.take(batch(*(make_record(f"r{n}", ("m", 1, 1), at_s=T0 + n) for n in range(5))))
        assert store.prune(T0 * NS) == 3 + 2
        assert store.prune(T0 * NS) == 0
        assert names(store) == ["r4", "r3"]
        assert store.usage(ALL)[0][0].missions == 3


def test_usage_outlives_its_record_but_not_the_end_users_name(
    tmp_path: Path, make_record: Any
) -> None:
    kept = Retention(usage_days=20, records_days=10)
    by_user = ALL._replace(group_by=(telemetry_pb2.GROUP_BY_END_USER,))
    by_label = ALL._replace(group_by=(telemetry_pb2.GROUP_BY_LABEL,), label_names=("team",))
    with contextlib.closing(TelemetryStore(tmp_path / "t.db", retention=kept)) as store:
        store.take(
            batch(
                make_record(
                    "old", ("m", 1, 5), at_s=T0, end_user_id="jane", labels={"team": "blue"}
                ),
                make_record("new", ("m", 1, 7), at_s=T0 + 5 * DAY_S, end_user_id="joe"),
            )
        )
        assert prune_all(store, T0 + 12 * DAY_S) == 1
        assert store.get("old") is None
        assert names(store) == ["new"]
        assert [(*row.keys, row.cost_usd_nanos) for row in store.usage(by_user)[0]] == [
            ("", 5),
            ("joe", 7),
        ]
        assert [(*row.keys, row.cost_usd_nanos) for row in store.usage(by_label)[0]] == [
            ("", 7),
            ("blue", 5),
        ]
        assert store.take(batch(make_record("old", ("m", 1, 5), at_s=T0))) == []  # known still
        assert prune_all(store, T0 + 22 * DAY_S) == 1 + 1  # usage of one, record of the other
        assert [row.cost_usd_nanos for row in store.usage(ALL)[0]] == [7]
        assert prune_all(store, T0 + 26 * DAY_S) == 1
        assert store.usage(ALL)[0][0].missions == 0
        assert not store._connection.execute("SELECT * FROM labels").fetchall()
        assert not store._connection.execute("SELECT * FROM attempts").fetchall()


def test_a_page_of_records_does_not_search_what_is_forgotten(
    tmp_path: Path, make_record: Any
) -> None:
    kept = Retention(records_max=1)
    with contextlib.closing(TelemetryStore(tmp_path / "t.db", retention=kept)) as store:
        store.take(batch(*(make_record(f"r{n}", at_s=T0 + n) for n in range(900))))
        prune_all(store, T0)
        steps = 0

        def step() -> bool:
            nonlocal steps
            steps += 1
            return False

        store._connection.set_progress_handler(step, 10)
        assert names(store, "acme") == ["r899"]
        assert steps < 100  # a search through all usage is some 900 * 10


def test_outcomes_of_no_record_are_forgotten_too(tmp_path: Path) -> None:
    kept = Retention(records_days=1)
    with contextlib.closing(TelemetryStore(tmp_path / "t.db", retention=kept)) as store:
        report = telemetry_pb2.OutcomeReport(name="thumbs", score_permille=1)
        report.reported_at.seconds = T0
        store.take(telemetry_pb2.ReportRequest(outcomes={"nowhere": report}))
        assert store.prune((T0 + DAY_S - 1) * NS) == 0
        assert store.prune((T0 + DAY_S + 1) * NS) == 1


def test_what_is_there_is_counted_at_the_start(tmp_path: Path, make_record: Any) -> None:
    path = tmp_path / "t.db"
    with contextlib.closing(TelemetryStore(path)) as store:
        store.take(batch(*(make_record(f"r{n}", at_s=T0 + n) for n in range(4))))
    with contextlib.closing(TelemetryStore(path, retention=Retention(records_max=1))) as store:
        assert prune_all(store, T0) == 3
        assert names(store) == ["r3"]


@pytest.mark.parametrize("kept", [TEN_DAYS, Retention(usage_max=1, records_max=1)])
def test_legal_hold_keeps_a_tenants_records_and_what_came_after(
    kept: Retention, tmp_path: Path, make_record: Any
) -> None:
    held: list[str] | None = ["acme/legal"]
    path = tmp_path / "t.db"
    with contextlib.closing(TelemetryStore(path, retention=kept, held=lambda: held)) as store:
        tenants = ("acme", "acme/legalistic", "acme/legal/x", "other")
        records = (
            make_record(f"r{n}", ("m", 1, 1), at_s=T0 + n, tenant=tenant)
            for n, tenant in enumerate(tenants)
        )
        store.take(batch(*records))
        prune_all(store, T0 + 99 * DAY_S)
        assert names(store) == ["r3", "r2"]
        held = None  # no documents are known
        assert prune_all(store, T0 + 99 * DAY_S) == 0
        held = []
        assert prune_all(store, T0 + 99 * DAY_S) > 0
        assert len(names(store)) <= 1
