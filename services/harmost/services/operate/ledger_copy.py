"""Reads a ledger's file, or a copy of it, without the service that writes it. Changes nothing.

Knows the tables of every version of the file: what an older one lacks is nothing.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import apsw
import msgspec

from harmost.core.budget.fold import Balance, LedgerRow, LentRest, OpenHold
from harmost.core.errors import InvalidInput, NotPossibleNow

__all__ = ["LedgerCopy", "ledger_at"]

APPLICATION_ID = 0x484D4C47  # "HMLG"
NAME = "budget.db"
# Where SQLite's locks are: who writes the file holds some of these bytes.
LOCKS_BEGIN, LOCKS_BYTES = 0x40000000, 512
PROBLEMS_MAX = 5
_PAGE = re.compile(r"\b[Pp]age (\d+)")

_ROWS = """
SELECT sequence, kind, key, tenant, model, held_usd_nanos, held_tokens, held_requests,
    settled_usd_nanos, settled_tokens, settled_requests, debt_usd_nanos, debt_tokens, counters,
    price_unknown
FROM entries ORDER BY sequence
"""
# Not by the index that should prevent it: that one may be what is wrong.
_TWICE = """
SELECT min(sequence), max(sequence), key FROM entries NOT INDEXED WHERE kind IN (2, 3)
GROUP BY key HAVING count(*) > 1 ORDER BY min(sequence)
"""


def ledger_at(path: Path) -> Path:
    """The ledger's file that `path` means: itself, or that of a data directory."""
    for found in (path, path / "budget" / NAME, path / NAME):
        if found.is_file():
            return found
    raise InvalidInput(f"no ledger at `{path}`: name a data directory, or its budget/{NAME}")


class LedgerCopy:
    """One ledger, open to be read. Raises NotPossibleNow, naming file and page, where it is damaged."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`; refused while a service writes it, or where it is no ledger."""
        self.path = path
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        _check_unlocked(path)
        try:
            self._connection = self._open(self._whole())
            self._check()
        except apsw.Error as error:
            self.close()
            raise self._damaged(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        connection: apsw.Connection | None = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def rows_total(self) -> int:
        """How many rows there are."""
        return int(self._one("SELECT count(*) FROM entries"))

    def rows(self) -> Iterator[LedgerRow]:
        """Every row, in order."""
        decode = msgspec.json.Decoder(tuple[int, ...]).decode
        for row in self._ask(_ROWS):
            yield LedgerRow(
                sequence=row[0],
                kind=row[1],
                key=row[2],
                tenant=row[3],
                model=row[4],
                held=row[5:8],
                settled=row[8:11],
                debt=(row[11], row[12], 0),
                counters=decode(row[13]),
                price_unknown=bool(row[14]),
            )

    def closed_twice(self) -> Iterator[tuple[int, str]]:
        """The row that closes an attempt again, and the attempt."""
        for _, last, key in self._ask(_TWICE):
            yield last, key

    def balances(self) -> Iterator[Balance]:
        """Every counter, of every window."""
        lent = "leased, suspense" if self._has("balances", "leased") else "0, 0"
        query = f"SELECT id, unit, budget, window, window_start_ns, settled, held, debt, {lent} FROM balances"
        for id, unit, budget, window, start_ns, *amounts in self._ask(query):
            name = f"counter {id} (budget `{budget}`, {window} from {start_ns // 10**9})"
            yield Balance(id, unit, name, *amounts)

    def holds(self) -> Iterator[OpenHold]:
        """Attempts that are open."""
        for attempt_id, sequence in self._ask("SELECT attempt_id, sequence FROM holds"):
            yield OpenHold(attempt_id, sequence)

    def lent(self) -> Iterator[LentRest]:
        """What is left of each lease."""
        if not self._has("leases", "granted"):
            return
        query = "SELECT counter, granted - spent - returned, suspended FROM leases"
        for counter, amount, suspended in self._ask(query):
            yield LentRest(counter, amount, bool(suspended))

    def settled(self, attempt_id: str) -> tuple[int, int, bool] | None:
        """Nanodollars and tokens that an attempt settled, and whether its price was unknown."""
        query = (
            "SELECT settled_usd_nanos, settled_tokens, price_unknown FROM entries "
            "WHERE key = ? AND kind = 2"
        )
        for nanos, tokens, unknown in self._ask(query, (attempt_id,)):
            return nanos, tokens, bool(unknown)
        return None

    # --- The file ---------------------------------------------------------------------------------------

    def _whole(self) -> Path:
        """The file, or where commits wait in its log, a copy of both: reading would write them back."""
        log = self.path.with_name(f"{self.path.name}-wal")
        if not log.exists() or not log.stat().st_size:
            return self.path
        self._temporary = tempfile.TemporaryDirectory(prefix="harmost-ledger-")
        copy = Path(self._temporary.name) / self.path.name
        shutil.copyfile(self.path, copy)
        shutil.copyfile(log, copy.with_name(log.name))
        connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.pragma("wal_checkpoint", "TRUNCATE")
        connection.close()
        return copy

    def _open(self, path: Path) -> apsw.Connection:
        uri = f"file:{quote(str(path.absolute()))}?immutable=1"
        return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)

    def _check(self) -> None:
        """Raise NotPossibleNow where it is another program's, or where a page is not as it should be."""
        if self._connection.pragma("application_id") != APPLICATION_ID:
            raise NotPossibleNow(f"`{self.path}` is not a ledger: name a data directory of harmost")
        problems: list[str] = []
        try:
            for (problem,) in self._connection.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})"):
                problems.append(problem)
        except apsw.Error as error:
            problems.append(str(error))
        if problems != ["ok"]:
            raise self._damaged(" ".join(problems))

    def _damaged(self, what: object) -> NotPossibleNow:
        text = " ".join(str(what).replace("*** in database main ***", "").split())
        page = _PAGE.search(text)
        if page is not None:
            where = f" at page {page[1]}"
        elif isinstance(what, apsw.NotADBError):
            where = " at page 1"
        else:
            where = ""
        return NotPossibleNow(
            f"the ledger `{self.path}` is damaged{where}: {text[:200]}: restore a backup"
        )

    def _ask(self, query: str, bindings: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(query, bindings)
        except apsw.Error as error:
            raise self._damaged(error) from error

    def _one(self, query: str) -> Any:
        return next(self._ask(query))[0]

    def _has(self, table: str, column: str) -> bool:
        return any(row[1] == column for row in self._ask(f"PRAGMA table_info({table})"))


def _check_unlocked(path: Path) -> None:
    """Raise NotPossibleNow while another process holds SQLite's locks on the file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, LOCKS_BYTES, LOCKS_BEGIN)
    except OSError as error:
        raise NotPossibleNow(
            f"`{path}` is in use by a running service: ask it, by `harmost ledger verify` without a "
            "path, or verify a copy"
        ) from error
    finally:
        os.close(fd)
