"""Every generation of the documents on disk, in SQLite. Knows nothing of what they say.

A document is kept once for the range of generations that it stands in, so a generation costs what
it changed. Calls block on the disk: the servicer makes them off its event loop, one at a time.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from harmost.core.errors import NotFound, ServiceUnavailable
from harmost.services.sqlite import open_database

__all__ = ["APPLICATION_ID", "GENERATIONS_KEPT", "Generation", "PolicyStore", "StoredDocument"]

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
)


class StoredDocument(NamedTuple):
    """A document as it is kept. `generation` is the one that last changed it."""

    kind: str
    name: str
    generation: int
    yaml: bytes


class Generation(NamedTuple):
    """What one generation holds; 0, with nothing in it, stands before the first."""

    generation: int
    published_at_ms: int
    documents: tuple[StoredDocument, ...]


class PolicyStore:
    """The store in one SQLite file, held by this process alone until `close`."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(
            path, application_id=APPLICATION_ID, migrations=_MIGRATIONS, synchronous="FULL"
        )

    def close(self) -> None:
        """Give the file free."""
        self._database.close()

    def latest(self) -> Generation:
        """The running generation. O(its documents)."""
        with _disk():
            newest = self._database.execute("SELECT max(generation) FROM generation").get
            return self._read(newest) if newest else Generation(0, 0, ())

    def at(self, generation: int) -> Generation:
        """A generation that is still kept, or NotFound. O(its documents)."""
        with _disk():
            oldest, newest = self._database.execute(
                "SELECT ifnull(min(generation), 0), ifnull(max(generation), 0) FROM generation"
            ).get
            if not oldest or not oldest <= generation <= newest:
                kept = f"name one of {oldest} to {newest}" if oldest else "nothing was applied yet"
                raise NotFound(f"generation `{generation}` is not kept: {kept}")
            return self._read(generation)

    def publish(
        self,
        generation: int,
        *,
        changed: Sequence[StoredDocument],
        removed: Sequence[tuple[str, str]],
        published_at_ms: int,
        author: str,
    ) -> None:
        """Make `generation` the running one, on disk when this returns; drops what is too old.

        Raises ServiceUnavailable, and changes nothing, where the disk does not take it.
        """
        with _disk(), self._database:
            self._database.execute(
                "INSERT INTO generation VALUES (?, ?, ?)", (generation, published_at_ms, author)
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

    def _read(self, generation: int) -> Generation:
        rows = self._database.execute(
            "SELECT kind, name, first_generation, yaml FROM document"
            " WHERE first_generation <= ?1 AND (end_generation IS NULL OR end_generation > ?1)"
            " ORDER BY kind, name",
            (generation,),
        )
        documents = tuple(StoredDocument(*row) for row in rows)
        published_at_ms = self._database.execute(
            "SELECT published_at_ms FROM generation WHERE generation = ?", (generation,)
        ).get
        return Generation(generation, published_at_ms, documents)


@contextmanager
def _disk() -> Generator[None]:
    try:
        yield
    except apsw.Error as error:
        raise ServiceUnavailable(
            f"the policy store failed: {error}: check its disk, then try again"
        ) from error
