"""Telemetry's records in SQLite: taken once each, kept for a time, found again.

Every method blocks; worker.py calls them in its one thread.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import apsw

from harmost.core.audit.rows import Outcome
from harmost.core.errors import ServiceUnavailable, Unsupported
from harmost.core.tenants import visible
from harmost.services.convert.record import outcome_report_to_proto
from harmost.services.sqlite import open_database
from harmost.services.telemetry.backlog import Backlog, keep_behind_newest
from harmost.services.telemetry.convert import Entry, Position, entry_of, outcome_of
from harmost.services.telemetry.erasure import Erased, Erasure, erase_page
from harmost.services.telemetry.retention import Pruner, Retention
from harmost.services.telemetry.schema import APPLICATION_ID, FUNCTIONS, MIGRATIONS
from harmost.services.telemetry.trail import AuditTrail
from harmost.services.telemetry.usage import UsageQuestion, subtree, usage_rows
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Found", "FoundVector", "RecordFilter", "TelemetryStore", "VectorFilter"]

_Answer = TypeVar("_Answer")

KEPT = Retention()
OUTCOMES_MAX = 32  # of one record; stated in the contract
_VM_STEPS_PER_CHECK = 20_000  # some 0.2 ms between two looks at whether a read is still wanted

# Older ones were forgotten: a page must not look for them in all that is left of their usage.
_STILL_WHOLE = "r.started_ns >= (SELECT min(started_ns) FROM whole_records)"
_INSERT = f"INSERT INTO records VALUES (NULL{', ?' * 16}) ON CONFLICT DO NOTHING RETURNING position"
_INSERT_WHOLE = "INSERT INTO whole_records VALUES (?, ?, ?)"
_INSERT_LABEL = "INSERT INTO labels VALUES (?, ?, ?)"
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
    """The records in the file `path`, kept as `retention` says.

    `trail` hears of each record that is stored, in the transaction that stores it. `held` names the
    tenants under legal hold: see `Pruner`.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention: Retention = KEPT,
        trail: AuditTrail | None = None,
        held: Callable[[], Sequence[str] | None] = tuple,
    ) -> None:
        self._trail = trail
        self._connection = open_database(
            path,
            application_id=APPLICATION_ID,
            migrations=MIGRATIONS,
            synchronous="FULL",
            functions=FUNCTIONS,
        )
        self._unwanted: threading.Event | None = None
        self._connection.set_progress_handler(self._is_unwanted, _VM_STEPS_PER_CHECK)
        self._pruner = Pruner(self._connection, retention, held)

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
        self._pruner.added(records=len(fresh), outcomes=added, vectors=vectors)
        return fresh

    def get(self, record_id: str) -> telemetry_pb2.Record | None:
        """The record, with its outcomes."""
        blob = self._connection.execute(
            "SELECT record FROM records JOIN whole_records USING (position) WHERE record_id = ?",
            (record_id,),
        ).get
        return None if blob is None else self._whole(blob)

    def page(self, wanted: RecordFilter, *, after: Position | None, items_max: int) -> list[Found]:
        """Records newest first, from behind `after` on."""
        where, values = subtree(wanted.tenant)
        conditions, bindings = [where, _STILL_WHOLE], list[str | int](values)
        for column in ("profile", "status"):
            if value := getattr(wanted, column):
                conditions.append(f"r.{column} = ?")
                bindings.append(value)
        if after is not None:
            conditions.append("(r.started_ns, r.position) < (?, ?)")
            bindings += after
        rows = self._connection.execute(
            "SELECT r.started_ns, r.position, w.record FROM records AS r "
            # CROSS keeps this order of the loops: what is filtered is read before what is wide.
            "CROSS JOIN whole_records AS w USING (position) "
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

    def audited(self, job: Callable[[apsw.Connection], _Answer]) -> _Answer:
        """The answer of `job`, whose changes are kept together or not at all."""
        with self._transaction():
            return job(self._connection)

    def erase_page(self, erasure: Erasure, *, after: int, now_ns: int) -> Erased:
        """See `erase_page`; nothing of it is left in the file. Unsupported without an audit log."""
        trail = self._trail
        if trail is None:
            raise Unsupported("this service keeps no audit log: give `--audit-signing-key`")
        self._connection.pragma("secure_delete", True)
        try:
            page = self.audited(
                lambda connection: erase_page(
                    connection, trail, erasure, after=after, now_ns=now_ns
                )
            )
            if page.records:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._connection.pragma("secure_delete", False)
        self._pruner.added(records=0, outcomes=0, vectors=-page.vectors)
        return page

    def prune(self, now_ns: int) -> int:
        """See `Pruner.prune`."""
        pruned = self._pruner.prune(now_ns)
        keep_behind_newest(self._connection)
        return pruned

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
            if self._trail is not None:
                self._trail.stored(self._connection, [entry.summary for entry in fresh])
            return [entry.record for entry in fresh], added, vectors

    def _insert(self, entry: Entry) -> bool:
        position = self._connection.execute(_INSERT, entry.columns).get
        if position is None:
            return False  # it came before
        self._connection.execute(_INSERT_WHOLE, (position, entry.started_ns, entry.whole))
        self._connection.executemany(
            _INSERT_ATTEMPT, ((position, *attempt) for attempt in entry.attempts)
        )
        if entry.labels:
            self._connection.executemany(
                _INSERT_LABEL, ((position, *label) for label in entry.labels)
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
