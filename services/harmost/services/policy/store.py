"""Every generation of the documents, and what is revoked, on disk in SQLite. Knows not what they say.

A document is kept once for the range of generations that it stands in, so a generation costs what
it changed. Calls block on the disk: the servicer makes them off its event loop, from any thread; one
waits for the other.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from harmost.core.errors import NotFound, ServiceUnavailable
from harmost.core.policy.revocations import Revocation, Revocations
from harmost.services.sqlite import open_database

__all__ = [
    "APPLICATION_ID",
    "GENERATIONS_KEPT",
    "Generation",
    "PolicyStore",
    "Published",
    "StoredDocument",
]

APPLICATION_ID = 0x686D_0001  # "hm", policy
GENERATIONS_KEPT = 100  # beside the running one: what Rollback can reach

_MIGRATIONS = (
    """
    CREATE TABLE generation (
        generation INTEGER PRIMARY KEY,
        published_at_ms INTEGER NOT NULL,
        author TEXT NOT NULL
    ) STRICT;
    CREATE TABLE document (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        first_generation INTEGER NOT NULL,
        end_generation INTEGER,  -- the first without it; NULL: it runs
        yaml BLOB NOT NULL,
        PRIMARY KEY (kind, name, first_generation)
    ) STRICT;
    CREATE INDEX document_end ON document (end_generation);
    """,
    """
    ALTER TABLE generation ADD COLUMN source_revision TEXT NOT NULL DEFAULT '';
    ALTER TABLE generation ADD COLUMN rolled_back_to INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE generation ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE generation ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE revocation (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        tenant TEXT NOT NULL,
        reason TEXT NOT NULL,
        author TEXT NOT NULL,
        author_tenant TEXT NOT NULL,
        revoked_at_ms INTEGER NOT NULL,
        PRIMARY KEY (kind, name, tenant)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE revocations (sequence INTEGER NOT NULL) STRICT;  -- one row
    INSERT INTO revocations VALUES (0);
    """,
)


class StoredDocument(NamedTuple):
    """A document as it is kept. `generation` is the one that last changed it."""

    kind: str
    name: str
    generation: int
    yaml: bytes


class Published(NamedTuple):
    """What is told of one generation. `source_revision` and `rolled_back_to` as in the contract."""

    generation: int = 0
    published_at_ms: int = 0
    author: str = ""
    source_revision: str = ""
    rolled_back_to: int = 0
    changed: int = 0
    removed: int = 0


class Generation(NamedTuple):
    """What one generation holds; 0, with nothing in it, stands before the first."""

    published: Published
    documents: tuple[StoredDocument, ...]


class PolicyStore:
    """The store in one SQLite file, held by this process alone until `close`."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(
            path, application_id=APPLICATION_ID, migrations=_MIGRATIONS, synchronous="FULL"
        )
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the file free."""
        with self._lock:
            self._database.close()

    def latest(self) -> Generation:
        """The running generation. O(its documents)."""
        with self._disk():
            newest = self._database.execute("SELECT max(generation) FROM generation").get
            return self._read(newest) if newest else Generation(Published(), ())

    def at(self, generation: int) -> Generation:
        """A generation that is still kept, or NotFound. O(its documents)."""
        with self._disk():
            oldest, newest = self._database.execute(
                "SELECT ifnull(min(generation), 0), ifnull(max(generation), 0) FROM generation"
            ).get
            if not oldest or not oldest <= generation <= newest:
                kept = f"name one of {oldest} to {newest}" if oldest else "nothing was applied yet"
                raise NotFound(f"generation `{generation}` is not kept: {kept}")
            return self._read(generation)

    def history(self, items_max: int) -> list[Published]:
        """What is told of the generations that are kept, newest first."""
        with self._disk():
            rows = self._database.execute(
                f"SELECT {', '.join(Published._fields)} FROM generation"
                " ORDER BY generation DESC LIMIT ?",
                (items_max,),
            )
            return [Published(*row) for row in rows]

    def publish(
        self,
        published: Published,
        *,
        changed: Sequence[StoredDocument],
        removed: Sequence[tuple[str, str]],
    ) -> None:
        """Make a generation the running one, on disk when this returns; drops what is too old.

        Raises ServiceUnavailable, and changes nothing, where the disk does not take it.
        """
        generation = published.generation
        with self._disk(), self._database:
            self._database.execute(
                f"INSERT INTO generation ({', '.join(Published._fields)})"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                published,
            )
            gone = [(document.kind, document.name) for document in changed] + list(removed)
            self._database.executemany(
                "UPDATE document SET end_generation = ?1"
                " WHERE kind = ?2 AND name = ?3 AND end_generation IS NULL",
                [(generation, kind, name) for kind, name in gone],
            )
            self._database.executemany(
                "INSERT INTO document VALUES (?, ?, ?, NULL, ?)",
                [(item.kind, item.name, generation, item.yaml) for item in changed],
            )
            oldest = generation - GENERATIONS_KEPT
            self._database.execute("DELETE FROM generation WHERE generation < ?", (oldest,))
            self._database.execute("DELETE FROM document WHERE end_generation <= ?", (oldest,))

    def revocations(self) -> Revocations:
        """Everything that is revoked."""
        with self._disk():
            sequence = self._database.execute("SELECT sequence FROM revocations").get
            rows = self._database.execute(f"SELECT {_REVOCATION} FROM revocation")
            return Revocations(sequence, [msgspec.convert(row, Revocation) for row in rows])

    def revoke(
        self, sequence: int, *, put: Sequence[Revocation], removed: Sequence[Revocation]
    ) -> None:
        """Add or replace `put` and forget `removed`, on disk when this returns.

        Raises ServiceUnavailable, and changes nothing, where the disk does not take it.
        """
        with self._disk(), self._database:
            self._database.executemany(
                "DELETE FROM revocation WHERE kind = ? AND name = ? AND tenant = ?",
                [each.key for each in removed],
            )
            self._database.executemany(
                f"INSERT OR REPLACE INTO revocation ({_REVOCATION}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [msgspec.structs.astuple(each) for each in put],
            )
            self._database.execute("UPDATE revocations SET sequence = ?", (sequence,))

    def _read(self, generation: int) -> Generation:
        rows = self._database.execute(
            "SELECT kind, name, first_generation, yaml FROM document"
            " WHERE first_generation <= ?1 AND (end_generation IS NULL OR end_generation > ?1)"
            " ORDER BY kind, name",
            (generation,),
        )
        documents = tuple(StoredDocument(*row) for row in rows)
        published = self._database.execute(
            f"SELECT {', '.join(Published._fields)} FROM generation WHERE generation = ?",
            (generation,),
        ).get
        return Generation(Published(*published), documents)

    @contextmanager
    def _disk(self) -> Generator[None]:
        """One caller at a time; what the disk refuses, by name."""
        try:
            with self._lock:
                yield
        except apsw.Error as error:
            raise ServiceUnavailable(
                f"the policy store failed: {error}: check its disk, then try again"
            ) from error


_REVOCATION = ", ".join(Revocation.__struct_fields__)
