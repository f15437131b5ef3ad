"""The nonces under which the audit log committed to what may be personal: a file of their own.

Apart from the records so that it can be left out of backups: what is destroyed here is to be gone. A
destroyed nonce is overwritten with zeros, and so is its place in the write-ahead log. Blocks.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from harmost.core.audit.leaf import NONCE_BYTES, erased
from harmost.services.sqlite import open_database

__all__ = ["NonceStore"]

APPLICATION_ID = 0x686D616E  # "hman"
MIGRATIONS = (
    """
    CREATE TABLE nonces (
        first_index INTEGER PRIMARY KEY,
        nonces BLOB NOT NULL        -- 128 bytes for each entry from there on; zeros: destroyed
    ) STRICT;
    """,
)


class NonceStore:
    """The nonces in the file `path`, by index of the entry."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(
            path, application_id=APPLICATION_ID, migrations=MIGRATIONS, synchronous="FULL"
        )
        self._connection.pragma("secure_delete", True)

    def put(self, first_index: int, nonces: bytes) -> None:
        """Keep the nonces of entries from `first_index` on; on the disk when this returns.

        INVARIANT: entries from `first_index` on are not known to anyone yet: what is replaced was of
        a batch that its process did not live to keep.
        """
        self._connection.execute(
            "INSERT OR REPLACE INTO nonces VALUES (?, ?)", (first_index, nonces)
        )

    def get(self, leaf_index: int) -> bytes | None:
        """The nonce of an entry, zeros where it was destroyed; None where it has none."""
        found = self._row(leaf_index)
        if found is None:
            return None
        first_index, nonces = found
        start = (leaf_index - first_index) * NONCE_BYTES
        return nonces[start : start + NONCE_BYTES] or None

    def destroy(self, leaf_indices: Iterable[int]) -> None:
        """Overwrite what opens these entries' end users; gone from the disk when this returns."""
        with self._connection:
            for leaf_index in leaf_indices:
                found = self._row(leaf_index)
                if found is None:
                    continue
                first_index, nonces = found
                start = (leaf_index - first_index) * NONCE_BYTES
                end = start + NONCE_BYTES
                if start < len(nonces):
                    left = nonces[:start] + erased(nonces[start:end]) + nonces[end:]
                    self._connection.execute(
                        "UPDATE nonces SET nonces = ? WHERE first_index = ?", (left, first_index)
                    )
        self._wipe()

    def forget_below(self, minimum_index: int) -> None:
        """Drop the nonces of batches that end below `minimum_index`."""
        with self._connection:
            self._connection.execute(
                "DELETE FROM nonces WHERE first_index + length(nonces) / ? <= ?",
                (NONCE_BYTES, minimum_index),
            )
        self._wipe()

    def close(self) -> None:
        """Free the file."""
        self._connection.close()

    def _row(self, leaf_index: int) -> tuple[int, bytes] | None:
        row = self._connection.execute(
            "SELECT first_index, nonces FROM nonces WHERE first_index <= ? "
            "ORDER BY first_index DESC LIMIT 1",
            (leaf_index,),
        ).fetchone()
        return cast("tuple[int, bytes] | None", row)

    def _wipe(self) -> None:
        # What the write-ahead log still holds is moved into the file, and the log is cut to nothing.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
