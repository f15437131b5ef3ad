"""Forgets an end user: in the records, in what decisions were made on, and in the audit log's nonces.

Goes through the records page by page; each page is one transaction with the entry that tells of it, so
that a crash leaves none half done, and who asks again ends what was begun. Blocks.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import NamedTuple, cast

import apsw

from harmost.core.audit.leaf import erasure_entry
from harmost.services.telemetry.trail import AuditTrail
from harmost.services.telemetry.usage import subtree
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["Erased", "Erasure", "erase_page"]

ROWS_AT_ONCE = 20_000  # some 20 ms of the store, in which it takes no records


class Erasure(NamedTuple):
    """Whom to forget, who asked for it, and why."""

    tenant: str
    end_user_id: str
    author: str
    reason: str


class Erased(NamedTuple):
    """What one page came to: the last position looked at (None: there are no more), records changed,
    fact vectors deleted, and the entry that tells of it (-1: there is none)."""

    position: int | None
    records: int = 0
    vectors: int = 0
    leaf_index: int = -1


def erase_page(
    connection: apsw.Connection, trail: AuditTrail, erasure: Erasure, *, after: int, now_ns: int
) -> Erased:
    """Forget the end user in the next ROWS_AT_ONCE records behind position `after`."""
    last = connection.execute(
        "SELECT max(position) FROM "
        "(SELECT position FROM records WHERE position > ? ORDER BY position LIMIT ?)",
        (after, ROWS_AT_ONCE),
    ).get
    if last is None:
        return Erased(None)
    where, values = subtree(erasure.tenant)
    rows = connection.execute(
        f"SELECT r.position, r.record_id, r.started_ns, w.record FROM records AS r "
        f"LEFT JOIN whole_records AS w USING (position) "
        f"WHERE r.position > ? AND r.position <= ? AND r.end_user_id = ? AND {where}",
        (after, last, erasure.end_user_id, *values),
    ).fetchall()
    found = cast("Sequence[tuple[int, str, int, bytes | None]]", rows)
    if not found:
        return Erased(cast(int, last))
    leaves = [trail.index_of(connection, record_id) for _, record_id, *_ in found]
    known = [leaf for leaf in leaves if leaf is not None]
    # INVARIANT: what opens the commitments is gone before the log says so.
    trail.nonces.destroy(known)
    vectors = 0
    for position, record_id, started_ns, blob in found:
        connection.execute("UPDATE records SET end_user_id = '' WHERE position = ?", (position,))
        connection.execute("DELETE FROM labels WHERE position = ?", (position,))
        if blob is not None:
            connection.execute(
                "UPDATE whole_records SET record = ? WHERE position = ?",
                (_without_end_user(blob), position),
            )
        connection.execute(
            "DELETE FROM fact_vectors WHERE started_ns = ? AND record_id = ?",
            (started_ns, record_id),
        )
        vectors += connection.changes()
    entry = erasure_entry(
        time_ns=now_ns,
        tenant=erasure.tenant,
        author=erasure.author,
        reason=erasure.reason,
        leaves=known,
    )
    return Erased(cast(int, last), len(found), vectors, trail.append(connection, entry))


def _without_end_user(blob: bytes) -> bytes:
    record = telemetry_pb2.Record.FromString(blob)
    record.ClearField("end_user_id")
    record.ClearField("labels")
    return record.SerializeToString()
