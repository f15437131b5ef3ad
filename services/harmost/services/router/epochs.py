"""Which epochs of leases a slot's journal tells of in full: a small file beside it.

What a journal does not mention was never spent, if it was written by every process of the epoch and
survived whole. A killed process leaves all that it wrote; a machine that died may not.
"""

import logging
import os
from pathlib import Path

import msgspec

from harmost.core.errors import ServiceUnavailable

__all__ = ["Epochs"]

log = logging.getLogger(__name__)

FILE = "epochs.json"
# The kernel makes a new one at each start of the machine.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Kept(msgspec.Struct):
    boot_id: str
    epochs: list[int]


class Epochs:
    """The epochs of one slot that are not proven yet. Reads and writes the file; blocks shortly."""

    def __init__(self, slot: Path) -> None:
        self._path = slot / FILE
        self._boot_id = _boot_id()
        kept = self._read()
        self.whole = frozenset(kept.epochs if kept.boot_id == self._boot_id else ())
        """Those that the journal tells of in full."""
        self.left = sorted(kept.epochs)
        """All that are not proven yet, of a dead machine too."""

    def begin(self, epoch: int) -> None:
        """Note that the journal is written in `epoch` from now on; before it spends anything."""
        self.left = sorted({*self.left, epoch})
        self._write()

    def proven(self, epoch: int) -> None:
        """Note that the ledger knows all of `epoch`."""
        self.left = [other for other in self.left if other != epoch]
        self._write()

    def _read(self) -> _Kept:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept("", [])
        except (OSError, msgspec.MsgspecError) as error:
            # Without it nothing is proven: what was lent stays in suspense, which is safe.
            log.error("`%s` cannot be read, its epochs stay in suspense: %s", self._path, error)
            return _Kept("", [])

    def _write(self) -> None:
        unfinished = self._path.with_suffix(".part")
        kept = _Kept(self._boot_id, self.left)
        try:
            with unfinished.open("wb") as file:
                file.write(msgspec.json.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._path)
        except OSError as error:
            raise ServiceUnavailable(
                f"`{self._path}` cannot be written: {error.strerror}: free some space"
            ) from error


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
