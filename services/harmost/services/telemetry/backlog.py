"""Records that a destination has yet to get: a cursor into the records' table, so no queue beside it.

What is kept anyway is the queue; its bound is how far a cursor may fall behind the newest record. Past it
the oldest are given up and counted, except where their profile requires audit: these wait as long as their
record is kept.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

from typing import NamedTuple, cast

import apsw

__all__ = ["SCHEMA", "Backlog", "Waiting", "keep_behind_newest"]

SCHEMA = """
    -- How far each destination of telemetry has come in `records`, and what it gave up.
    CREATE TABLE exports (
        destination TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        dropped INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Records whose profile says `audit: required`.
    CREATE TABLE audit_required (
        position INTEGER PRIMARY KEY REFERENCES records ON DELETE CASCADE
    ) STRICT;
"""


class Waiting(NamedTuple):
    """Records to export, oldest first, as they are stored; `position` is where the cursor then is.

    `dropped` were given up to get there, all told; `behind` are yet to come after these.
    """

    records: list[bytes]
    position: int
    dropped: int
    behind: int


class Backlog:
    """What `destination` has yet to get. Every method blocks: call it in the store's thread.

    `dropped` of `waiting` stands only once `done` took it: until then the same records are found again.
    """

    def __init__(self, connection: apsw.Connection, destination: str, *, records_max: int) -> None:
        self._connection = connection
        self._destination = destination
        self._records_max = records_max

    def begin(self) -> int:
        """Begin with what comes from now on, where this destination is new; how many it gave up so far."""
        self._connection.execute(
            "INSERT INTO exports VALUES (?, ?, 0) ON CONFLICT DO NOTHING",
            (self._destination, self._newest()),
        )
        return self._cursor()[1]

    def waiting(self, items_max: int) -> Waiting:
        """The next records, at most `items_max`; what is beyond the bound is given up first."""
        position, dropped = self._cursor()
        newest = self._newest()
        floor = newest - self._records_max
        rows: list[tuple[int, bytes]] = []
        if position < floor:
            rows = self._required(position, floor, items_max)
            reached = rows[-1][0] if len(rows) == items_max else floor
            dropped += reached - position - len(rows)
            position = reached
        if more := self._after(position, items_max - len(rows)):
            dropped += more[-1][0] - position - len(more)  # pruned before their time
            position = more[-1][0]
            rows += more
        return Waiting([row[1] for row in rows], position, dropped, newest - position)

    def done(self, waiting: Waiting) -> None:
        """These are where they belong, or nowhere: the cursor moves behind them."""
        self._connection.execute(
            "UPDATE exports SET position = ?, dropped = ? WHERE destination = ?",
            (waiting.position, waiting.dropped, self._destination),
        )

    def _cursor(self) -> tuple[int, int]:
        row = self._connection.execute(
            "SELECT position, dropped FROM exports WHERE destination = ?", (self._destination,)
        ).fetchone()
        if row is None:
            raise RuntimeError("call `begin` first")
        return cast("tuple[int, int]", row)

    def _newest(self) -> int:
        return cast(
            int, self._connection.execute("SELECT coalesce(max(position), 0) FROM records").get
        )

    def _after(self, position: int, items_max: int) -> list[tuple[int, bytes]]:
        rows = self._connection.execute(
            "SELECT position, record FROM whole_records WHERE position > ? ORDER BY position LIMIT ?",
            (position, items_max),
        )
        return cast("list[tuple[int, bytes]]", rows.fetchall())

    def _required(self, position: int, floor: int, items_max: int) -> list[tuple[int, bytes]]:
        rows = self._connection.execute(
            "SELECT position, record FROM audit_required JOIN whole_records USING (position) "
            "WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
            (position, floor, items_max),
        )
        return cast("list[tuple[int, bytes]]", rows.fetchall())


def keep_behind_newest(connection: apsw.Connection) -> None:
    """Call it after records were deleted: a position that is free again is then ahead of all cursors."""
    connection.execute(
        "UPDATE exports SET position = newest FROM "
        "(SELECT coalesce(max(position), 0) AS newest FROM records) WHERE position > newest"
    )
