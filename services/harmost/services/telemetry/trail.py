"""The audit log's side of Telemetry's store: which record is which entry, and what waits to be added.

A record and its place in the log are kept by one transaction, so that a record that comes twice makes
one entry, and one that was acknowledged makes one for certain. What is in the log's files is the
sequencer's (services/audit); this says in which order entries come. Blocks.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import apsw

from harmost.core.audit.leaf import NONCE_BYTES, Retention, record_entry
from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.core.audit.rows import RecordSummary
from harmost.core.audit.tiles import Tile, bundle_entries, bundle_of
from harmost.core.errors import ServiceUnavailable
from harmost.services.telemetry.nonces import NonceStore

__all__ = ["AuditTrail", "Head", "RetentionOf"]

# Entries that no head has yet: an hour at 250 calls a second with the log's store away, some 600 MB.
# Then records are not taken and wait in the Routers' journals.
WAITING_MAX = 1_000_000
AT_ONCE_MAX = 4_096  # added to the log between two heads: some 20 ms

RetentionOf = Callable[[str, str], Retention]  # of a tenant and a profile


class Head(NamedTuple):
    """How far the log is: entries in order, those of them published, and below which none is kept."""

    next_index: int = 0
    size: int = 0
    root: bytes = EMPTY_ROOT
    minimum_index: int = 0


class AuditTrail:
    """Works on the store's `connection`; whoever calls a method that writes has a transaction open."""

    def __init__(
        self,
        nonces: NonceStore,
        retention_of: RetentionOf,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.nonces = nonces
        self._retention_of = retention_of
        self._now_ns = now_ns
        self._waiting_max = waiting_max

    def stored(self, connection: apsw.Connection, records: Sequence[RecordSummary]) -> None:
        """These records were stored, now and never before: each becomes the next entry.

        Raises ServiceUnavailable where too many entries wait already.
        """
        if not records:
            return
        head = head_of(connection)
        if head.next_index - head.size + len(records) > self._waiting_max:
            raise ServiceUnavailable(
                f"{head.next_index - head.size} entries wait for the audit log: see what Telemetry "
                "says of its store; records wait in the Routers' journals"
            )
        nonces = os.urandom(NONCE_BYTES * len(records))
        logged_ns = self._now_ns()
        entries = [
            record_entry(
                record,
                nonce=nonces[place * NONCE_BYTES : (place + 1) * NONCE_BYTES],
                retention=self._retention_of(record.tenant, record.profile),
                logged_ns=logged_ns,
            )
            for place, record in enumerate(records)
        ]
        # INVARIANT: nonces are on the disk before any entry that commits under them is.
        self.nonces.put(head.next_index, nonces)
        connection.executemany(
            "INSERT INTO audit_leaves VALUES (?, ?)",
            ((record.record_id, head.next_index + i) for i, record in enumerate(records)),
        )
        _append(connection, head, entries)

    def append(self, connection: apsw.Connection, entry: bytes) -> int:
        """Put an entry that is of no record behind all others; its index."""
        head = head_of(connection)
        _append(connection, head, [entry])
        return head.next_index

    def waiting(self, connection: apsw.Connection, size: int, *, entries_max: int) -> list[bytes]:
        """Entries from number `size` on that are not published, oldest first."""
        rows = connection.execute(
            "SELECT first_index, count, entries FROM audit_waiting WHERE first_index + count > ? "
            "ORDER BY first_index",
            (size,),
        )
        found: list[bytes] = []
        for first_index, count, bundle in cast("Sequence[tuple[int, int, bytes]]", rows):
            entries = bundle_entries(bundle, Tile(-1, 0, count))
            found += entries[max(size - first_index, 0) :]
            if len(found) >= entries_max:
                break
        return found[:entries_max]

    def published(self, connection: apsw.Connection, *, size: int, root: bytes) -> None:
        """A head of `size` entries is published: they wait no longer."""
        connection.execute("UPDATE audit_head SET size = ?, root = ?", (size, root))
        connection.execute("DELETE FROM audit_waiting WHERE first_index + count <= ?", (size,))

    def index_of(self, connection: apsw.Connection, record_id: str) -> int | None:
        """Which entry tells of a record; None: none does, or it is not kept any more."""
        found = connection.execute(
            "SELECT leaf_index FROM audit_leaves WHERE record_id = ?", (record_id,)
        ).get
        return cast("int | None", found)

    def pruned(
        self, connection: apsw.Connection, *, minimum_index: int, record_ids: Sequence[str]
    ) -> None:
        """Entries below `minimum_index`, which told of `record_ids`, are kept no longer."""
        connection.execute("UPDATE audit_head SET minimum_index = ?", (minimum_index,))
        connection.executemany(
            "DELETE FROM audit_leaves WHERE record_id = ?", ((each,) for each in record_ids)
        )


def head_of(connection: apsw.Connection) -> Head:
    """How far the log is."""
    row = connection.execute(
        "SELECT next_index, size, root, minimum_index FROM audit_head"
    ).fetchone()
    return Head() if row is None else Head(*cast("tuple[int, int, bytes, int]", row))


def _append(connection: apsw.Connection, head: Head, entries: Sequence[bytes]) -> None:
    connection.execute(
        "INSERT INTO audit_waiting VALUES (?, ?, ?)",
        (head.next_index, len(entries), bundle_of(entries)),
    )
    connection.execute(
        "INSERT INTO audit_head VALUES (0, ?1, 0, ?2, 0) "
        "ON CONFLICT (id) DO UPDATE SET next_index = ?1",
        (head.next_index + len(entries), EMPTY_ROOT),
    )
