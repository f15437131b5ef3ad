"""The ledger as rows of SQLite: entries that are only added, balances, open holds, leases.

Decides nothing.

An entry states what it changes, in every unit, and on which counters: a balance is the sum of its
entries. One thread owns a file.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from harmost.core.budget.lease import SyncAnswer
from harmost.core.budget.lending import LeaseKey, LeaseRow, RouterRow
from harmost.core.errors import NotPossibleNow
from harmost.core.usage import TokenUsage
from harmost.services.budget.ledger_sums import sum_page
from harmost.services.budget.report import Position, SumPage, SumQuestion
from harmost.services.budget.rows import (
    BalanceRow,
    CounterKey,
    Entry,
    EntryQuestion,
    HoldRow,
    KeyRow,
)
from harmost.services.budget.schema import (
    APPLICATION_ID,
    CHECKS,
    CHECKS_OF_ALL_ROWS,
    MIGRATIONS,
)
from harmost.services.sqlite import open_database

__all__ = ["LedgerFile"]

# A page reads at most so many rows, wanted or not: a small tenant's page cannot hold up the writer.
ROWS_SCANNED_MAX = 50_000
# Beyond this, adding up every row would delay a restart: 2 s where each meets 15 counters.
ROWS_VERIFIED_AT_START_MAX = 200_000

# What the name of the file ends with that says that there was a ledger.
MADE = ".made"

_Row = tuple[Any, ...]

_INSERT = f"INSERT INTO entries VALUES ({','.join('?' * 26)})"
_SAVE_BALANCE = """
INSERT INTO balances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE
SET settled = excluded.settled, held = excluded.held, debt = excluded.debt,
    leased = excluded.leased, suspense = excluded.suspense
"""
_decode_answer = msgspec.msgpack.Decoder(SyncAnswer | None).decode
_ASKED = """
SELECT * FROM entries WHERE sequence BETWEEN ?1 AND ?2
AND (?3 = '' OR tenant = ?3 OR (tenant > ?3 || '/' AND tenant < ?3 || '0'))
AND (1 << kind) & ?4 AND (?5 = '' OR model = ?5) AND created_ns >= ?6 AND created_ns < ?7
"""  # "0" follows "/"
# Oldest first, and newest first.
_PAGE = (
    f"{_ASKED} ORDER BY sequence LIMIT ?8",
    f"{_ASKED} ORDER BY sequence DESC LIMIT ?8",
)


class LedgerFile:
    """One ledger, open and held by this process. Methods may raise apsw.Error: the disk's trouble."""

    def __init__(self, path: Path, *, deployment: str = "") -> None:
        """Open or make the file at `path`; raises NotPossibleNow naming it where that is unsafe.

        It belongs to `deployment` from then on, and opens for no other; "" asks for none. A file beside
        it says that it was made: one that vanished is not made anew, with nothing spent.
        """
        self.path = path
        made = path.with_name(f"{path.name}{MADE}")
        if made.exists() and not path.exists():
            raise NotPossibleNow(
                f"the ledger `{path}` is gone: restore a backup of it; or remove `{made}` to begin "
                "with balances of which nothing is spent"
            )
        self._connection = open_database(
            path, application_id=APPLICATION_ID, migrations=MIGRATIONS, synchronous="FULL"
        )
        try:
            self._check_deployment(deployment)
            self.verify(rows_max=ROWS_VERIFIED_AT_START_MAX)
            made.touch()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

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

    def open_hold(self, hold: HoldRow) -> None:
        """Note that an attempt has not closed."""
        self._connection.execute(
            "INSERT INTO holds VALUES (?, ?, ?, ?)",
            (hold.entry.key, hold.entry.sequence, hold.holder, hold.expires_ns),
        )

    def close_hold(self, attempt_id: str) -> None:
        """Note that it has closed."""
        self._connection.execute("DELETE FROM holds WHERE attempt_id = ?", (attempt_id,))

    def save(self, balances: Iterable[BalanceRow]) -> None:
        """Write balances, new ones too."""
        self._connection.executemany(
            _SAVE_BALANCE, ((row.id, *row.key, *_amounts(row)) for row in balances)
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

    def balance_of(self, id: int) -> BalanceRow | None:
        """The balances of counter `id`."""
        rows = self._connection.execute("SELECT * FROM balances WHERE id = ?", (id,))
        return next((_balance(row) for row in rows), None)

    def balances(self) -> list[BalanceRow]:
        """Every counter, of every window. O(counters)."""
        return [_balance(row) for row in self._connection.execute("SELECT * FROM balances")]

    def open_holds(self) -> list[HoldRow]:
        """All attempts that have not closed."""
        rows = self._connection.execute(
            "SELECT entries.*, holder, expires_ns FROM holds JOIN entries USING (sequence)"
            " ORDER BY sequence"
        )
        return [HoldRow(_entry(row[:-2]), str(row[-2]), row[-1]) for row in rows]

    def entries_of(self, key: str) -> list[Entry]:
        """All rows of one attempt, or of one idempotency key, oldest first; at most two."""
        # Sorted here: for a sort of its own SQLite builds a table, 40 us each time.
        rows = self._connection.execute("SELECT * FROM entries WHERE key = ?", (key,))
        return sorted((_entry(row) for row in rows), key=lambda entry: entry.sequence)

    def closed_among(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of `keys` that are attempts which were settled or voided. O(keys)."""
        rows = self._connection.execute(
            "SELECT entries.key FROM json_each(?) AS wanted JOIN entries"
            " ON entries.key = wanted.value AND CASE kind WHEN 3 THEN 2 ELSE kind END = 2",
            (msgspec.json.encode(list(keys)).decode(),),
        )
        return frozenset(str(key) for (key,) in rows)

    def page(
        self, question: EntryQuestion, *, after: int, rows_max: int
    ) -> tuple[list[Entry], int]:
        """The next rows that are asked for, and where to go on; 0: no more.

        `after` is the row that the page before ended with; 0: none. A page may be short, or empty,
        and still not the last.
        """
        last, _ = self.last_ids()
        if question.newest_first:
            high = (after or last + 1) - 1
            low = max(1, high - ROWS_SCANNED_MAX + 1)
        else:
            low, high = after + 1, after + ROWS_SCANNED_MAX
        rows = self._connection.execute(
            _PAGE[question.newest_first],
            (
                low,
                high,
                question.tenant,
                sum(1 << kind for kind in question.kinds) or -1,
                question.model,
                question.start_ns,
                question.end_ns,
                rows_max,
            ),
        )
        entries = [_entry(row) for row in rows]
        if question.newest_first:
            reached = entries[-1].sequence if len(entries) == rows_max else low
            return entries, reached if reached > 1 else 0
        reached = entries[-1].sequence if len(entries) == rows_max else high
        return entries, reached if reached < last else 0

    def routers(self) -> list[RouterRow]:
        """Every Router that ever registered."""
        rows = self._connection.execute("SELECT * FROM routers")
        return [RouterRow(str(row[0]), row[1], row[2], _decode_answer(row[3])) for row in rows]

    def save_routers(self, routers: Iterable[RouterRow]) -> None:
        """Write Routers, new ones too."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO routers VALUES (?, ?, ?, ?)",
            (
                (row.router, row.epoch, row.sequence, msgspec.msgpack.encode(row.answer))
                for row in routers
            ),
        )

    def leases(self) -> list[LeaseRow]:
        """Every lease that has something left or may still be reported."""
        rows = self._connection.execute("SELECT * FROM leases")
        return [
            LeaseRow(
                LeaseKey(str(row[0]), row[1], row[2]), row[3], row[4], row[5], row[6], bool(row[7])
            )
            for row in rows
        ]

    def save_leases(self, leases: Iterable[LeaseRow], forgotten: Iterable[LeaseKey]) -> None:
        """Write leases, new ones too, and remove those that are `forgotten`."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (*row.key, row.granted, row.spent, row.returned, row.posted, int(row.suspended))
                for row in leases
            ),
        )
        self._connection.executemany(
            "DELETE FROM leases WHERE router = ? AND epoch = ? AND counter = ?",
            [tuple(key) for key in forgotten],
        )

    def key(self, owner: str, key: str) -> KeyRow | None:
        """What the idempotency key stands for."""
        rows = self._connection.execute(
            "SELECT * FROM keys WHERE owner = ? AND key = ?", (owner, key)
        )
        return next((KeyRow(*row) for row in rows), None)

    def claim_key(self, row: KeyRow) -> None:
        """Write what a key stands for from now on."""
        self._connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def end_keys(self, record_ids: Iterable[str], now_ns: int) -> None:
        """Note that the calls of these records have ended."""
        self._connection.executemany(
            "UPDATE keys SET ended_ns = ? WHERE record_id = ? AND ended_ns = 0",
            [(now_ns, record_id) for record_id in record_ids],
        )

    def release_keys(self, record_ids: Iterable[str]) -> None:
        """Remove the keys of calls that were never made."""
        self._connection.executemany(
            "DELETE FROM keys WHERE record_id = ? AND ended_ns = 0",
            [(record_id,) for record_id in record_ids],
        )

    def forget_keys(self, *, ended_before_ns: int, claimed_before_ns: int, rows_max: int) -> None:
        """Remove keys of calls that ended, or that were claimed and never ended, so long ago."""
        self._connection.execute(
            "DELETE FROM keys WHERE (owner, key) IN (SELECT owner, key FROM keys"
            " WHERE (ended_ns > 0 AND ended_ns < ?) OR (ended_ns = 0 AND claimed_ns < ?) LIMIT ?)",
            (ended_before_ns, claimed_before_ns, rows_max),
        )

    def sum_page(self, question: SumQuestion, *, after: Position) -> SumPage:
        """The sums of the next rows after a position."""
        return sum_page(self._connection, question, after=after)

    def verify(self, *, rows_max: int = 2**62) -> None:
        """Add everything up; raises NotPossibleNow, naming the file, where it does not fit together.

        Held balances always; settled ones, and that no attempt is lost, up to `rows_max` rows.
        """
        checks: tuple[tuple[str, str], ...] = CHECKS
        if self.last_ids()[0] <= rows_max:
            checks += CHECKS_OF_ALL_ROWS
        for what, query in checks:
            wrong = self._connection.execute(query).get
            if wrong is not None:
                raise NotPossibleNow(
                    f"the ledger `{self.path}` does not add up: {what} `{wrong}`: restore a backup"
                )

    def _check_deployment(self, deployment: str) -> None:
        owner = self._connection.execute("SELECT id FROM deployment").get
        if owner is None and deployment:
            self._connection.execute("INSERT INTO deployment VALUES (?)", (deployment,))
        elif deployment and owner != deployment:
            raise NotPossibleNow(
                f"the ledger `{self.path}` belongs to deployment `{owner}` and this is "
                f"`{deployment}`: name the data directory of this one"
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
        entry.price_version,
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


def _amounts(row: BalanceRow) -> tuple[int, int, int, int, int]:
    return row.settled, row.held, row.debt, row.leased, row.suspense


def _balance(row: _Row) -> BalanceRow:
    return msgspec.convert((row[0], row[1:5], *row[5:]), BalanceRow)
