"""The cursor of a destination: in order, bounded, and never past what must be audited."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from effort import effort

from harmost.services.telemetry.backlog import Backlog
from harmost.services.telemetry.store import TelemetryStore
from harmost.telemetry.v1 import telemetry_pb2

MakeRecord = Callable[..., telemetry_pb2.Record]


class Stage:
    """A store with a destination, and names for records."""

    def __init__(self, store: TelemetryStore, make_record: MakeRecord, records_max: int) -> None:
        self.store, self._make = store, make_record
        self.backlog: Backlog = store.backlog("otlp", records_max=records_max)
        self.backlog.begin()
        self.taken = 0

    def take(self, count: int, *, audited: bool = False, **more: Any) -> None:
        records = [
            self._make(str(self.taken + n), audit_required=audited, **more) for n in range(count)
        ]
        self.taken += count
        self.store.take(telemetry_pb2.ReportRequest(records=records))

    def export(self, items_max: int = 100) -> list[int]:
        """The names of all that waits, exported."""
        found: list[int] = []
        while (waiting := self.backlog.waiting(items_max)).records:
            found += names(waiting.records)
            self.backlog.done(waiting)
        return found


def names(records: list[bytes]) -> list[int]:
    return [int(telemetry_pb2.Record.FromString(each).record_id) for each in records]


@pytest.fixture
def stage(store: TelemetryStore, make_record: MakeRecord) -> Callable[[int], Stage]:
    return lambda records_max: Stage(store, make_record, records_max)


def test_records_come_in_order_each_once(stage: Callable[[int], Stage]) -> None:
    on = stage(1_000)
    on.take(5)
    assert on.export(2) == [0, 1, 2, 3, 4]
    on.take(2)
    assert on.export() == [5, 6]
    assert on.export() == []


def test_a_new_destination_begins_with_what_comes_from_then_on(
    store: TelemetryStore, make_record: MakeRecord
) -> None:
    store.take(telemetry_pb2.ReportRequest(records=[make_record("9")]))
    on = Stage(store, make_record, 10)
    on.take(1)
    assert on.export() == [0]


def test_a_destination_goes_on_where_it_was(stage: Callable[[int], Stage]) -> None:
    on = stage(1_000)
    on.take(3)
    on.backlog.done(on.backlog.waiting(1))
    again = on.store.backlog("otlp", records_max=1_000)
    again.begin()
    assert names(again.waiting(10).records) == [1, 2]


def test_what_is_not_done_is_found_again(stage: Callable[[int], Stage]) -> None:
    on = stage(1_000)
    on.take(2)
    assert on.backlog.waiting(10) == on.backlog.waiting(10)


def test_beyond_the_bound_the_oldest_are_given_up_and_counted(
    stage: Callable[[int], Stage],
) -> None:
    on = stage(3)
    on.take(10)
    waiting = on.backlog.waiting(100)
    assert names(waiting.records) == [7, 8, 9]
    assert waiting.dropped == 7
    on.backlog.done(waiting)
    on.take(1)
    assert on.backlog.waiting(100).dropped == 7


def test_what_must_be_audited_is_never_given_up(stage: Callable[[int], Stage]) -> None:
    on = stage(2)
    on.take(2)
    on.take(2, audited=True)
    on.take(5)
    assert on.backlog.waiting(1).dropped == 2  # up to the first that must not be
    assert on.export(1) == [2, 3, 7, 8]
    assert on.backlog.waiting(1).dropped == 5


def test_two_destinations_do_not_wait_for_each_other(stage: Callable[[int], Stage]) -> None:
    on = stage(1_000)
    other = on.store.backlog("azure", records_max=1_000)
    other.begin()
    on.take(2)
    assert on.export() == [0, 1]
    assert names(other.waiting(10).records) == [0, 1]


def test_a_record_that_is_pruned_unexported_counts_as_given_up(
    store: TelemetryStore, make_record: MakeRecord
) -> None:
    on = Stage(store, make_record, 1_000)
    on.take(2, at_s=1)
    on.take(1)
    while store.prune(now_ns=1_800_000_000_000_000_000):
        pass
    waiting = on.backlog.waiting(10)
    assert (names(waiting.records), waiting.dropped) == ([2], 2)


def test_a_position_that_is_free_again_is_not_missed(stage: Callable[[int], Stage]) -> None:
    on = stage(1_000)
    on.take(1)
    on.take(1, at_s=1)  # the newest to come, and the oldest by its Router's clock
    assert on.export() == [0, 1]
    while on.store.prune(now_ns=1_800_000_000_000_000_000):
        pass
    on.take(1)
    assert on.export() == [2]


def test_whatever_comes_and_goes_all_is_exported_or_counted(
    store: TelemetryStore, make_record: MakeRecord
) -> None:
    for seed in range(effort(5, ci=30, nightly=300)):
        chance = random.Random(seed)
        bound, destination = chance.randrange(1, 8), f"seed-{seed}"
        on = Stage(store, make_record, bound)
        on.backlog = store.backlog(destination, records_max=bound)
        on.backlog.begin()
        on.taken = base = seed * 10_000
        audited: set[int] = set()
        exported: list[int] = []
        dropped = 0
        for _ in range(chance.randrange(1, 20)):
            if chance.random() < 0.6:
                must, count = chance.random() < 0.3, chance.randrange(1, 6)
                audited |= set(range(on.taken, on.taken + count)) if must else set()
                on.take(count, audited=must)
            else:
                waiting = on.backlog.waiting(chance.randrange(1, 5))
                exported += names(waiting.records)
                dropped = waiting.dropped
                on.backlog.done(waiting)
        while (waiting := on.backlog.waiting(3)).records:
            exported += names(waiting.records)
            dropped = waiting.dropped
            on.backlog.done(waiting)
        assert exported == sorted(set(exported))
        assert audited <= set(exported)
        assert len(exported) + dropped == on.taken - base
