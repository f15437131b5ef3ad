"""The ledger as rows of SQLite: entries that are only added, balances, open holds. Decides nothing.

An entry states what it changes, in every unit, and on which counters: a balance is the sum of its
entries. One thread owns a file.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec

from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.window import Window
from harmost.core.errors import NotPossibleNow
from harmost.core.usage import TokenUsage
from harmost.services.budget.ledger_sums import sum_page
from harmost.services.budget.report import Position, SumPage, SumQuestion
from harmost.services.sqlite import open_database

__all__ = ["BalanceRow", "CounterKey", "Entry", "EntryKind", "LedgerFile"]

APPLICATION_ID = 0x484D4C47  # "HMLG"
# A page reads at most so many rows, wanted or not: a small tenant's page cannot hold up the writer.
ROWS_SCANNED_MAX = 50_000
# Beyond this, adding up every row would delay a restart: 2 s where each meets 15 counters.
ROWS_VERIFIED_AT_START_MAX = 200_000

_SCHEMA = """
CREATE TABLE balances (
    id INTEGER PRIMARY KEY,
    budget TEXT NOT NULL,
    unit INTEGER NOT NULL CHECK (unit BETWEEN 1 AND 3),
    window TEXT NOT NULL,
    window_start_ns INTEGER NOT NULL,
    settled INTEGER NOT NULL CHECK (settled >= 0),
    held INTEGER NOT NULL CHECK (held >= 0),
    debt INTEGER NOT NULL CHECK (debt BETWEEN 0 AND settled),
    UNIQUE (budget, unit, window, window_start_ns)
) STRICT;

CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    key TEXT NOT NULL,                -- attempt, or idempotency key of an adjustment
    fingerprint BLOB NOT NULL,        -- of what was asked
    created_ns INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    profile TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    end_user_id TEXT NOT NULL,
    model TEXT NOT NULL,
    price_unknown INTEGER NOT NULL,
    held_usd_nanos INTEGER NOT NULL,  -- this and the next seven: what the row changes
    held_tokens INTEGER NOT NULL,
    held_requests INTEGER NOT NULL,
    settled_usd_nanos INTEGER NOT NULL,
    settled_tokens INTEGER NOT NULL,
    settled_requests INTEGER NOT NULL,
    debt_usd_nanos INTEGER NOT NULL,
    debt_tokens INTEGER NOT NULL,
    counters TEXT NOT NULL,           -- JSON: ids of the balances that the row changes
    usage TEXT NOT NULL,              -- JSON, or empty
    warnings TEXT NOT NULL,           -- JSON, or empty
    budget TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- An attempt is reserved once and closed once, by a settlement (2) or by a void (3).
CREATE UNIQUE INDEX entries_by_key ON entries (key, CASE kind WHEN 3 THEN 2 ELSE kind END);

CREATE TRIGGER entries_are_never_changed BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'ledger rows are only ever added'); END;
CREATE TRIGGER entries_are_never_deleted BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'ledger rows are only ever added'); END;

CREATE TABLE holds (
    attempt_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL  -- of its RESERVE
) STRICT, WITHOUT ROWID;
"""

# The tenant of who reserved, "" for the deployment's own Routers: who below it may not close it.
_HOLDERS = "ALTER TABLE holds ADD COLUMN holder TEXT NOT NULL DEFAULT ''"

_Row = tuple[Any, ...]

CounterKey = tuple[str, int, Window, int]
"""Budget, unit, window and its start: what a balance is kept by, whatever its limit becomes."""


class EntryKind(IntEnum):
    """What a row is; the numbers are those of the contract."""

    RESERVE = 1
    SETTLE = 2
    VOID = 3
    ADJUST = 4


class BalanceRow(msgspec.Struct, frozen=True, array_like=True):
    """One counter's balances, in its unit."""

    id: int
    key: CounterKey
    settled: int
    held: int
    debt: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row. The eight amounts are changes, signed, and apply to each of `counters`."""

    sequence: int
    kind: EntryKind
    key: str
    fingerprint: bytes
    created_ns: int
    path: BudgetPath = BudgetPath("")
    model: str = ""
    price_unknown: bool = False
    held_usd_nanos: int = 0
    held_tokens: int = 0
    held_requests: int = 0
    settled_usd_nanos: int = 0
    settled_tokens: int = 0
    settled_requests: int = 0
    debt_usd_nanos: int = 0
    debt_tokens: int = 0
    counters: tuple[int, ...] = ()
    usage: TokenUsage | None = None
    warnings: bytes = b""
    budget: str = ""
    author: str = ""
    reason: str = ""


_INSERT = f"INSERT INTO entries VALUES ({','.join('?' * 25)})"
_SAVE_BALANCE = """
INSERT INTO balances VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
SET settled = excluded.settled, held = excluded.held, debt = excluded.debt
"""
_PAGE = """
SELECT * FROM entries WHERE sequence > ?1 AND sequence <= ?1 + ?2
AND (?3 = '' OR tenant = ?3 OR (tenant > ?3 || '/' AND tenant < ?3 || '0')) LIMIT ?4
"""  # "0" follows "/"
# Each balance that is not the sum of its entries.
_DIFFERENCES = """
WITH sums AS (
    SELECT counter.value AS id, sum(held_usd_nanos) AS h1, sum(held_tokens) AS h2,
        sum(held_requests) AS h3, sum(settled_usd_nanos) AS s1, sum(settled_tokens) AS s2,
        sum(settled_requests) AS s3, sum(debt_usd_nanos) AS d1, sum(debt_tokens) AS d2
    FROM entries, json_each(entries.counters) AS counter GROUP BY counter.value
)
SELECT coalesce(b.id, s.id) FROM sums AS s FULL JOIN balances AS b ON b.id = s.id
WHERE b.id IS NULL
    OR b.held IS NOT coalesce(CASE b.unit WHEN 1 THEN h1 WHEN 2 THEN h2 ELSE h3 END, 0)
    OR b.settled IS NOT coalesce(CASE b.unit WHEN 1 THEN s1 WHEN 2 THEN s2 ELSE s3 END, 0)
    OR b.debt IS NOT coalesce(CASE b.unit WHEN 1 THEN d1 WHEN 2 THEN d2 ELSE 0 END, 0)
LIMIT 1
"""
# Each balance whose held part is not the sum of the open holds.
_HELD_DIFFERENCES = """
WITH sums AS (
    SELECT counter.value AS id, sum(held_usd_nanos) AS h1, sum(held_tokens) AS h2,
        sum(held_requests) AS h3
    FROM holds JOIN entries USING (sequence), json_each(entries.counters) AS counter
    GROUP BY counter.value
)
SELECT b.id FROM balances AS b LEFT JOIN sums AS s ON b.id = s.id
WHERE b.held IS NOT coalesce(CASE b.unit WHEN 1 THEN h1 WHEN 2 THEN h2 ELSE h3 END, 0)
LIMIT 1
"""
# Each attempt that is reserved and neither open nor closed, or open and closed.
_LOST_HOLDS = """
SELECT r.key FROM entries AS r LEFT JOIN holds AS h ON h.attempt_id = r.key
LEFT JOIN entries AS c ON c.key = r.key AND CASE c.kind WHEN 3 THEN 2 ELSE c.kind END = 2
WHERE r.kind = 1 AND (h.sequence IS NULL) = (c.sequence IS NULL) LIMIT 1
"""


class LedgerFile:
    """One ledger, open and held by this process. Methods may raise apsw.Error: the disk's trouble."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at `path`; raises NotPossibleNow naming it where that is unsafe."""
        self.path = path
        self._connection = open_database(
            path, application_id=APPLICATION_ID, migrations=(_SCHEMA, _HOLDERS), synchronous="FULL"
        )
        try:
            self.verify(rows_max=ROWS_VERIFIED_AT_START_MAX)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def begin(self) -> None:
        """Start a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the transaction durable: when this returns, it is on disk."""
        self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        """Forget the transaction, if SQLite has not done so by itself."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def append(self, entry: Entry) -> None:
        """Add one row."""
        self._connection.execute(_INSERT, _values(entry))

    def open_hold(self, entry: Entry, *, holder: str) -> None:
        """Note that the attempt of `entry`, a RESERVE by one of tenant `holder`, has not closed."""
        self._connection.execute(
            "INSERT INTO holds VALUES (?, ?, ?)", (entry.key, entry.sequence, holder)
        )

    def close_hold(self, attempt_id: str) -> None:
        """Note that it has closed."""
        self._connection.execute("DELETE FROM holds WHERE attempt_id = ?", (attempt_id,))

    def save(self, balances: Iterable[BalanceRow]) -> None:
        """Write balances, new ones too."""
        self._connection.executemany(
            _SAVE_BALANCE, ((row.id, *row.key, row.settled, row.held, row.debt) for row in balances)
        )

    def last_ids(self) -> tuple[int, int]:
        """The highest sequence and the highest id of a balance; 0 where there is none."""
        row = self._connection.execute(
            "SELECT coalesce((SELECT max(sequence) FROM entries), 0),"
            " coalesce((SELECT max(id) FROM balances), 0)"
        ).get
        return row[0], row[1]

    def balance(self, key: CounterKey) -> BalanceRow | None:
        """The balances kept by `key`."""
        rows = self._connection.execute(
            "SELECT * FROM balances"
            " WHERE budget = ? AND unit = ? AND window = ? AND window_start_ns = ?",
            key,
        )
        return next((_balance(row) for row in rows), None)

    def balance_of(self, id: int) -> BalanceRow:
        """The balances of counter `id`, which exists."""
        rows = self._connection.execute("SELECT * FROM balances WHERE id = ?", (id,))
        return _balance(next(rows))

    def open_holds(self) -> list[tuple[Entry, str]]:
        """The RESERVE rows of all attempts that have not closed, each with its holder."""
        rows = self._connection.execute(
            "SELECT entries.*, holder FROM holds JOIN entries USING (sequence) ORDER BY sequence"
        )
        return [(_entry(row[:-1]), str(row[-1])) for row in rows]

    def entries_of(self, key: str) -> list[Entry]:
        """All rows of one attempt, or of one idempotency key, oldest first; at most two."""
        # Sorted here: for a sort of its own SQLite builds a table, 40 us each time.
        rows = self._connection.execute("SELECT * FROM entries WHERE key = ?", (key,))
        return sorted((_entry(row) for row in rows), key=lambda entry: entry.sequence)

    def page(self, *, after: int, tenant: str, rows_max: int) -> tuple[list[Entry], int]:
        """Rows charged at or below `tenant` after a sequence, and where to go on; 0: no more.

        A page may be short, or empty, and still not the last.
        """
        last, _ = self.last_ids()
        rows = self._connection.execute(_PAGE, (after, ROWS_SCANNED_MAX, tenant, rows_max))
        entries = [_entry(row) for row in rows]
        full = len(entries) == rows_max
        reached = entries[-1].sequence if full else after + ROWS_SCANNED_MAX
        return entries, reached if reached < last else 0

    def sum_page(self, question: SumQuestion, *, after: Position) -> SumPage:
        """The sums of the next rows after a position."""
        return sum_page(self._connection, question, after=after)

    def verify(self, *, rows_max: int = 2**62) -> None:
        """Add everything up; raises NotPossibleNow, naming the file, where it does not fit together.

        Held balances always; settled ones, and that no attempt is lost, up to `rows_max` rows.
        """
        queries = [("counter", _HELD_DIFFERENCES)]
        if self.last_ids()[0] <= rows_max:
            queries += [("counter", _DIFFERENCES), ("attempt", _LOST_HOLDS)]
        for what, query in queries:
            wrong = self._connection.execute(query).get
            if wrong is not None:
                raise NotPossibleNow(
                    f"the ledger `{self.path}` does not add up: {what} `{wrong}`: restore a backup"
                )


def _values(entry: Entry) -> _Row:
    usage = msgspec.json.encode(entry.usage).decode() if entry.usage is not None else ""
    return (
        entry.sequence,
        int(entry.kind),
        entry.key,
        entry.fingerprint,
        entry.created_ns,
        *entry.path,
        entry.model,
        int(entry.price_unknown),
        entry.held_usd_nanos,
        entry.held_tokens,
        entry.held_requests,
        entry.settled_usd_nanos,
        entry.settled_tokens,
        entry.settled_requests,
        entry.debt_usd_nanos,
        entry.debt_tokens,
        msgspec.json.encode(entry.counters).decode(),
        usage,
        entry.warnings.decode(),
        entry.budget,
        entry.author,
        entry.reason,
    )


def _entry(row: _Row) -> Entry:
    # STRICT tables give the declared types: convert checks them once more, and names what is off.
    names = Entry.__struct_fields__
    path, rest = row[5:9], row[9:]
    values = dict(zip(names, (*row[:5], path, *rest), strict=True))
    values["price_unknown"] = bool(values["price_unknown"])
    values["counters"] = msgspec.json.decode(str(values["counters"]), type=tuple[int, ...])
    text = str(values["usage"])
    values["usage"] = msgspec.json.decode(text, type=TokenUsage) if text else None
    values["warnings"] = str(values["warnings"]).encode()
    return msgspec.convert(values, Entry, builtin_types=(bytes,))


def _balance(row: _Row) -> BalanceRow:
    return msgspec.convert((row[0], row[1:5], *row[5:]), BalanceRow)
