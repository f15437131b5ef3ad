"""A disk for SQLite that lives in memory, fails when it is told to, and forgets what was not synced.

What a process wrote is seen by it at once and is safe once it was synced. At a crash each write since
then may be there, be half there (torn), or be lost, in any combination: which, a seed decides.
"""

# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import apsw

__all__ = ["FaultyDisk", "faulty_disk"]

SECTOR_BYTES = 512


@dataclass
class File:
    """`safe` is what a crash leaves for certain; `seen` is what its process reads."""

    safe: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut off there

    def write(self, offset: int, data: bytes) -> None:
        _put(self.seen, offset, data)
        self.unsynced.append((offset, data))

    def truncate(self, size: int) -> None:
        del self.seen[size:]
        self.unsynced.append((size, None))

    def sync(self) -> None:
        self.safe = bytearray(self.seen)
        self.unsynced.clear()

    def crash(self, random: Random) -> None:
        fate = random.choice(("lost", "kept", "some", "torn"))
        for offset, data in self.unsynced:
            if fate == "lost" or (fate in ("some", "torn") and random.random() < 0.5):
                continue
            if data is None:
                del self.safe[offset:]
            elif fate == "torn":
                sectors = random.randrange(len(data) // SECTOR_BYTES + 1)
                _put(self.safe, offset, data[: sectors * SECTOR_BYTES])
            else:
                _put(self.safe, offset, data)
        self.seen = bytearray(self.safe)
        self.unsynced.clear()


class FaultyDisk(apsw.VFS):
    """Files by name. `fail_after` I/O operations from now on, one fails with `error`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "", makedefault=True)
        self.files: dict[str, File] = {}
        self.fail_after: int | None = None
        self.error: type[apsw.Error] = apsw.IOError
        self.life = 0  # raised by each crash: handles of a process that died touch nothing
        self.dead = False  # between a crash and the next process
        self.faults = 0

    def crash(self, random: Random) -> None:
        """The process is gone, and the power with it."""
        self.life += 1
        self.dead = True
        self.fail_after = None
        for file in self.files.values():
            file.crash(random)

    def operation(self) -> None:
        """Count an operation that changes the disk; perhaps it is the one that fails."""
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                self.fail_after = None
                self.faults += 1
                raise self.error("the disk was told to fail")

    def xOpen(self, name: object, flags: list[int]) -> "Handle":
        self.dead = False
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return Handle(self, self.files.setdefault(path, File()))

    def xAccess(self, pathname: str, flags: int) -> bool:
        return pathname in self.files

    def xDelete(self, filename: str, syncdir: bool) -> None:
        if not self.dead:
            self.files.pop(filename, None)

    def xFullPathname(self, name: str) -> str:
        return name


class Handle:
    """One open file."""

    def __init__(self, disk: FaultyDisk, file: File) -> None:
        self._disk, self._file, self._life = disk, file, disk.life

    @property
    def _dead(self) -> bool:
        return self._life != self._disk.life

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._file.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        if not self._dead:
            self._disk.operation()
            self._file.write(offset, bytes(data))

    def xTruncate(self, size: int) -> None:
        if not self._dead:
            self._disk.operation()
            self._file.truncate(size)

    def xSync(self, flags: int) -> None:
        if not self._dead:
            self._disk.operation()
            self._file.sync()

    def xFileSize(self) -> int:
        return len(self._file.seen)

    def xClose(self) -> None: ...
    def xLock(self, level: int) -> None: ...
    def xUnlock(self, level: int) -> None: ...

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return SECTOR_BYTES

    def xDeviceCharacteristics(self) -> int:
        return 0


@contextmanager
def faulty_disk(name: str = "faulty") -> Iterator[FaultyDisk]:
    """A disk that SQLite uses for everything that is opened until the block ends."""
    disk = FaultyDisk(name)
    try:
        yield disk
    finally:
        disk.unregister()


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
