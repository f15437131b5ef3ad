"""The one writer of an audit log: puts entries behind those that are there, signs the new head.

What it is asked to add it can be asked again: the same entries at the same place give the same files.
So whoever keeps them until `publish` returned may die at any time in between. Blocks.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from harmost.core.audit.checkpoint import Checkpoint, open_checkpoint, sign_head
from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.core.audit.note import Note, NoteRefused, NoteSigner, NoteVerifier
from harmost.core.audit.receipt import Receipt, encode_receipt
from harmost.core.audit.tiles import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    Damaged,
    Tile,
    consistency_proof,
    grow,
    inclusion_proof,
    levels,
    read_bundle,
    tree_root,
)
from harmost.core.errors import NotPossibleNow
from harmost.services.audit.storage import LogStorage

__all__ = ["Published", "Sequencer"]

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """The newest head that is told to anyone: size, root, and the note that says so."""

    size: int
    root: bytes
    note: bytes


class Sequencer:
    """Writes to `storage` and signs with `signers`. `open` it first, `close` it at the end."""

    def __init__(self, storage: LogStorage, signers: Sequence[NoteSigner]) -> None:
        self.origin = signers[0].name
        self._storage = storage
        self._signers = signers
        self._verifiers = [NoteVerifier(signer.vkey) for signer in signers]
        self._published: Published | None = None

    @property
    def published(self) -> Published:
        """The newest head."""
        if self._published is None:
            raise RuntimeError("open the log first")
        return self._published

    def open(self, *, size: int, root: bytes, waiting: Sequence[bytes]) -> int:
        """Take the log up where it was left, and keep other writers out; its size.

        `size` and `root` are of the last head that the caller knows to be published (0: of none);
        `waiting` are the entries behind it that the caller may have added. Raises NotPossibleNow
        where the log is not what it was, and then changes nothing.
        """
        self._storage.hold()
        try:
            self._published = self._taken_up(size, root, waiting)
            if self._published is None:
                self.publish(self._signed(0, EMPTY_ROOT))
        except BaseException:
            self._storage.close()
            raise
        return self.published.size

    def close(self) -> None:
        """Let another writer in."""
        self._storage.close()

    def add(self, entries: Sequence[bytes]) -> Note:
        """Write `entries` behind what is published; the new head, signed, not yet told to anyone."""
        grown = grow(self._storage.read, size=self.published.size, entries=entries)
        self._storage.write(grown.files)
        return self._signed(grown.size, grown.root)

    def publish(self, note: Note) -> Published:
        """Make `note`, of the head of now or the one that `add` gave, the log's head."""
        data = note.data
        head, _ = open_checkpoint(data, self._verifiers)
        self._check_alone()
        self._storage.write([(CHECKPOINT_PATH, data)])
        before = self._published.size if self._published is not None else 0
        self._published = Published(head.size, head.root, data)
        self._storage.remove(_replaced(before, head.size))
        return self._published

    def receipt(self, index: int) -> bytes:
        """Proof of entry `index`, which is below the published size. Raises Damaged."""
        size, read = self.published.size, self._storage.read
        return encode_receipt(
            Receipt(
                self.entry(index),
                index,
                inclusion_proof(read, index=index, size=size),
                self.published.note,
            )
        )

    def entry(self, index: int) -> bytes:
        """Entry `index`, which is below the published size. Raises Damaged."""
        number, place = divmod(index, TILE_WIDTH)
        width = min(self.published.size - number * TILE_WIDTH, TILE_WIDTH)
        return read_bundle(self._storage.read, Tile(-1, number, width))[place]

    def consistency(self, size_1: int, size_2: int) -> tuple[bytes, ...]:
        """That the tree of `size_2`, published or added, begins with that of `size_1`."""
        return consistency_proof(self._storage.read, size_1=size_1, size_2=size_2)

    def bundle(self, number: int) -> list[bytes]:
        """The entries of a whole bundle. Raises Damaged where it was removed."""
        return read_bundle(self._storage.read, Tile(-1, number, TILE_WIDTH))

    def has_bundle(self, number: int) -> bool:
        """Whether a whole bundle is still there."""
        return self._storage.read(Tile(-1, number, TILE_WIDTH).path) is not None

    def remove_bundles(self, numbers: Sequence[int]) -> None:
        """Forget what these bundles say. Their hashes stay: every proof goes on to hold."""
        self._storage.remove(Tile(-1, number, TILE_WIDTH).path for number in numbers)

    def _signed(self, size: int, root: bytes) -> Note:
        return sign_head(Checkpoint(self.origin, size, root), self._signers)

    def _taken_up(self, size: int, root: bytes, waiting: Sequence[bytes]) -> Published | None:
        data = self._storage.read(CHECKPOINT_PATH)
        if data is None:
            if size:
                raise NotPossibleNow(
                    f"the audit log `{self.origin}` is gone: {size} entries were published and "
                    "there is no checkpoint: put the log back where `--audit-log` says"
                )
            return None
        try:
            head, _ = open_checkpoint(data, self._verifiers)
        except NoteRefused as error:
            raise NotPossibleNow(
                f"the checkpoint of the audit log `{self.origin}` is not signed by its signing key: "
                f"{error.message}: put back the key that signed it, or rotate keys with "
                "`harmost audit rotate-key`"
            ) from error
        if head.size < size:
            raise NotPossibleNow(
                f"the audit log `{self.origin}` lost entries: {size} were published and "
                f"{head.size} are there: put back the newest copy"
            )
        self._check_tree(head, size, root, waiting)
        return Published(head.size, head.root, data)

    def _check_tree(
        self, head: Checkpoint, size: int, root: bytes, waiting: Sequence[bytes]
    ) -> None:
        """Raise NotPossibleNow unless the tiles give `head`, and it is what the caller added."""
        try:
            found = tree_root(self._storage.read, head.size)
            for level, count in levels(head.size):
                if level == 0 and count % TILE_WIDTH:  # what the next entries are put behind
                    read_bundle(self._storage.read, Tile(-1, *divmod(count, TILE_WIDTH)))
            if head.size > size:  # published, and the caller died before it knew
                entries = waiting[: head.size - size]
                if len(entries) < head.size - size:
                    raise NotPossibleNow(
                        f"the audit log `{self.origin}` has {head.size} entries and the store of "
                        f"records knows of {size + len(entries)}: restore the store's newest copy"
                    )
                root = grow(self._storage.read, size=size, entries=entries).root
        except Damaged as error:
            raise NotPossibleNow(f"the audit log `{self.origin}`: {error.message}") from error
        if not (head.root == found == root):
            raise NotPossibleNow(
                f"the audit log `{self.origin}` of {head.size} entries is not what was published: "
                "find what was altered with `harmost audit verify`, and put back a copy"
            )

    def _check_alone(self) -> None:
        found = self._storage.read(CHECKPOINT_PATH)
        if found != (self._published.note if self._published is not None else None):
            raise NotPossibleNow(
                f"someone else wrote the checkpoint of the audit log `{self.origin}`: "
                "a log has one sequencer: stop the other one"
            )


def _replaced(before: int, after: int) -> list[str]:
    """Where partial tiles are of the tree of `before` that are whole in that of `after`."""
    counts = dict(levels(after))
    found: list[str] = []
    for level, count in levels(before):
        number, width = divmod(count, TILE_WIDTH)
        if width and counts[level] >= (number + 1) * TILE_WIDTH:
            kinds = (level, -1) if not level else (level,)
            found += [Tile(kind, number, TILE_WIDTH).path + ".p" for kind in kinds]
    return found
