"""Telemetry's records in SQLite: taken once each, kept for a time, found again.

Every method blocks; worker.py calls them in its one thread.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import apsw

from harmost.core.audit.rows import Outcome
from harmost.core.errors import ServiceUnavailable
from harmost.core.tenants import visible
from harmost.services.convert.record import outcome_report_to_proto
from harmost.services.sqlite import open_database
from harmost.services.telemetry.backlog import Backlog, keep_behind_newest
from harmost.services.telemetry.convert import Entry, Position, entry_of, outcome_of
from harmost.services.telemetry.schema import APPLICATION_ID, MIGRATIONS
from harmost.services.telemetry.usage import UsageQuestion, subtree, usage_rows
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Found", "FoundVector", "RecordFilter", "TelemetryStore", "VectorFilter"]

RETENTION_DAYS = 400  # a year, and a month to report on it
RECORDS_MAX = 5_000_000  # some 5 GB
VECTORS_DAYS = 90  # a quarter of calls is what a change of policy is tried on
VECTORS_MAX = 2_000_000  # some 800 MB
OUTCOMES_MAX = 32  # of one record; stated in the contract
PRUNED_AT_ONCE = 500  # some 20 ms
_NS_PER_DAY = 86_400 * 1_000_000_000
_VM_STEPS_PER_CHECK = 20_000  # some 0.2 ms between two looks at whether a read is still wanted

_INSERT = f"INSERT INTO records VALUES (NULL{', ?' * 17}) ON CONFLICT DO NOTHING RETURNING position"
_INSERT_ATTEMPT = f"INSERT INTO attempts VALUES (?{', ?' * 11})"
_INSERT_VECTOR = "INSERT INTO fact_vectors VALUES (NULL, ?, ?, ?, ?, ?)"
_INSERT_OUTCOME = f"""
    INSERT INTO outcomes SELECT ?1, ?2, ?3, ?4, ?5
    WHERE (SELECT count(*) FROM outcomes WHERE record_id = ?1) < {OUTCOMES_MAX}
    ON CONFLICT DO NOTHING
"""


class RecordFilter(NamedTuple):
    """Which records: at or below `tenant` ("" is all), of `profile` and `status` ("" is any)."""

    tenant: str
    profile: str = ""
    status: str = ""


class VectorFilter(NamedTuple):
    """Which fact vectors: of calls at or below `tenant`, from `start_ns` on, before `end_ns`."""

    tenant: str
    start_ns: int
    end_ns: int


class FoundVector(NamedTuple):
    """A fact vector, whose it is and where it stands."""

    position: Position
    record_id: str
    tenant: str
    profile: str
    vector: bytes


class Found(NamedTuple):
    """A record and where it stands."""

    position: Position
    record: telemetry_pb2.Record


class TelemetryStore:
    """The records in the file `path`. Older than `retention_days` or beyond `records_max`: pruned."""

    def __init__(
        self,
        path: Path,
        *,
        retention_days: int = RETENTION_DAYS,
        records_max: int = RECORDS_MAX,
        vectors_days: int = VECTORS_DAYS,
        vectors_max: int = VECTORS_MAX,
    ) -> None:
        self._retention_ns = retention_days * _NS_PER_DAY
        self._records_max = records_max
        self._vectors_retention_ns = vectors_days * _NS_PER_DAY
        self._vectors_max = vectors_max
        self._connection = open_database(
            path, application_id=APPLICATION_ID, migrations=MIGRATIONS, synchronous="FULL"
        )
        self._unwanted: threading.Event | None = None
        self._connection.set_progress_handler(self._is_unwanted, _VM_STEPS_PER_CHECK)
        self._records = self._count("records")
        self._outcomes = self._count("outcomes")
        self._vectors = self._count("fact_vectors")

    def take(self, request: telemetry_pb2.ReportRequest) -> list[telemetry_pb2.Record]:
        """Keep the batch, on the disk when this returns; the records that were not known before.

        Raises InvalidInput naming the field of the first malformed record, and then keeps nothing;
        ServiceUnavailable where the disk does not take it.
        """
        entries = [
            entry_of(record, field=f"records[{index}]")
            for index, record in enumerate(request.records)
        ]
        outcomes = [
            (record_id, outcome_of(report, field=f"outcomes[{record_id}]"))
            for record_id, report in request.outcomes.items()
        ]
        try:
            fresh, added, vectors = self._insert_all(entries, outcomes)
        except (apsw.FullError, apsw.IOError) as error:
            raise ServiceUnavailable(
                f"records cannot be written: {error}: free disk space"
            ) from error
        self._records += len(fresh)
        self._outcomes += added
        self._vectors += vectors
        return fresh

    def get(self, record_id: str) -> telemetry_pb2.Record | None:
        """The record, with its outcomes."""
        blob = self._connection.execute(
            "SELECT record FROM records WHERE record_id = ?", (record_id,)
        ).get
        return None if blob is None else self._whole(blob)

    def page(self, wanted: RecordFilter, *, after: Position | None, items_max: int) -> list[Found]:
        """Records newest first, from behind `after` on."""
        where, values = subtree(wanted.tenant)
        conditions, bindings = [where], list[str | int](values)
        for column in ("profile", "status"):
            if value := getattr(wanted, column):
                conditions.append(f"r.{column} = ?")
                bindings.append(value)
        if after is not None:
            conditions.append("(r.started_ns, r.position) < (?, ?)")
            bindings += after
        rows = self._connection.execute(
            f"SELECT r.started_ns, r.position, r.record FROM records AS r "
            f"WHERE {' AND '.join(conditions)} "
            f"ORDER BY r.started_ns DESC, r.position DESC LIMIT {items_max:d}",
            bindings,
        )
        found: Iterable[tuple[int, int, bytes]] = cast(Any, rows.fetchall())
        return [
            Found(Position(started_ns, position), self._whole(blob))
            for started_ns, position, blob in found
        ]

    def vectors(
        self, wanted: VectorFilter, *, after: Position | None, items_max: int
    ) -> list[FoundVector]:
        """Fact vectors newest first, from behind `after` on."""
        where, values = subtree(wanted.tenant)
        rows = self._connection.execute(
            "SELECT started_ns, position, record_id, tenant, profile, vector FROM fact_vectors AS r "
            f"WHERE started_ns >= ? AND (started_ns, position) < (?, ?) AND {where} "
            "ORDER BY started_ns DESC, position DESC LIMIT ?",
            (wanted.start_ns, *(after or (wanted.end_ns, -1)), *values, items_max),
        )
        found: Iterable[tuple[int, int, str, str, str, bytes]] = cast(Any, rows)
        return [
            FoundVector(Position(started_ns, position), record_id, tenant, profile, vector)
            for started_ns, position, record_id, tenant, profile, vector in found
        ]

    def usage(self, question: UsageQuestion) -> tuple[list[telemetry_pb2.UsageRow], bool]:
        """See `usage_rows`."""
        return usage_rows(self._connection, question)

    def prune(self, now_ns: int) -> int:
        """Forget at most PRUNED_AT_ONCE records, outcomes and vectors, of those too old or too many.

        The number of all; 0: nothing is left to forget.
        """
        oldest_ns = now_ns - self._retention_ns
        too_many = self._records - self._records_max
        records = self._prune("records", "started_ns", oldest_ns, too_many)
        self._records -= records
        too_many = self._outcomes - self._records_max
        outcomes = self._prune("outcomes", "reported_ns", oldest_ns, too_many)
        self._outcomes -= outcomes
        oldest_ns = now_ns - self._vectors_retention_ns
        too_many = self._vectors - self._vectors_max
        vectors = self._prune("fact_vectors", "started_ns", oldest_ns, too_many)
        self._vectors -= vectors
        keep_behind_newest(self._connection)
        return records + outcomes + vectors

    def backlog(self, destination: str, *, records_max: int) -> Backlog:
        """What `destination` has yet to get, at most `records_max` behind the newest record."""
        return Backlog(self._connection, destination, records_max=records_max)

    def wanted_until(self, unwanted: threading.Event | None) -> None:
        """Interrupt what runs from now on once `unwanted` is set."""
        self._unwanted = unwanted

    def close(self) -> None:
        """Free the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._connection:
            yield

    def _is_unwanted(self) -> bool:
        return self._unwanted is not None and self._unwanted.is_set()

    def _insert_all(
        self, entries: Iterable[Entry], outcomes: Iterable[tuple[str, Outcome]]
    ) -> tuple[list[telemetry_pb2.Record], int, int]:
        with self._transaction():
            fresh = [entry for entry in entries if self._insert(entry)]
            added = sum(self._insert_outcome(*outcome) for outcome in outcomes)
            vectors = sum(len(entry.vectors) for entry in fresh)
            return [entry.record for entry in fresh], added, vectors

    def _insert(self, entry: Entry) -> bool:
        position = self._connection.execute(_INSERT, entry.columns).get
        if position is None:
            return False  # it came before
        self._connection.executemany(
            _INSERT_ATTEMPT, ((position, *attempt) for attempt in entry.attempts)
        )
        self._connection.executemany(_INSERT_VECTOR, entry.vectors)
        if entry.record.audit_required:
            self._connection.execute("INSERT INTO audit_required VALUES (?)", (position,))
        return True

    def _insert_outcome(self, record_id: str, outcome: Outcome) -> int:
        self._connection.execute(
            _INSERT_OUTCOME,
            (
                record_id,
                outcome.name,
                outcome.reported_at_ns,
                outcome.score_permille,
                outcome.tenant,
            ),
        )
        return self._connection.changes()

    def _whole(self, blob: bytes) -> telemetry_pb2.Record:
        record = telemetry_pb2.Record.FromString(blob)
        rows = self._connection.execute(
            "SELECT name, score_permille, reported_ns, tenant FROM outcomes WHERE record_id = ? "
            "ORDER BY reported_ns, name",
            (record.record_id,),
        ).fetchall()
        for name, score, reported_ns, tenant in cast("list[tuple[str, int, int, str]]", rows):
            if visible(tenant, record.tenant):  # a stranger's word about it is not heard
                outcome = Outcome(
                    name=name, score_permille=score, reported_at_ns=reported_ns, tenant=tenant
                )
                record.outcomes.append(outcome_report_to_proto(outcome))
        return record

    def _prune(self, table: str, column: str, oldest_ns: int, too_many: int) -> int:
        # The oldest that are too many, and the oldest that are too old: both from one index.
        keys = "record_id, name, reported_ns" if table == "outcomes" else "position"
        excess = max(0, min(too_many, PRUNED_AT_ONCE))
        with self._transaction():
            self._connection.execute(
                f"DELETE FROM {table} WHERE ({keys}) IN "
                f"(SELECT {keys} FROM {table} ORDER BY {column} LIMIT ?1) OR ({keys}) IN "
                f"(SELECT {keys} FROM {table} WHERE {column} < ?2 ORDER BY {column} LIMIT ?3)",
                (excess, oldest_ns, PRUNED_AT_ONCE),
            )
            return self._connection.changes()

    def _count(self, table: str) -> int:
        count = self._connection.execute(f"SELECT count(*) FROM {table}").get
        assert isinstance(count, int)
        return count
