"""The journal's directory: its lock, its segment files, their recovery and deletion.

A segment is named for its first row, "00000000000000000001.journal". Only the last one is written.
Nothing here knows of an event loop; every call blocks for as long as the disk does.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from harmost.core.audit.framing import (
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    Frame,
    Header,
    frames,
    read_header,
    write_header,
)
from harmost.core.errors import InvalidInput, NotPossibleNow, ServiceUnavailable

__all__ = ["Segment", "Slot", "check_contiguous", "create", "open_segments", "reopen"]

_SUFFIX = ".journal"
_DEPLOYMENT = "deployment.id"
# Read at once: bounds memory at recovery; larger than any row.
_READ_BYTES = 2 * PAYLOAD_BYTES_MAX


class Slot:
    """The right to write the journal in `directory`: an exclusive lock, freed when the process ends."""

    def __init__(self, directory: Path, *, router_id: str, deployment: str = "") -> None:
        """Take the slot; raises NotPossibleNow naming who holds it.

        It belongs to `deployment` from then on, and is taken for no other (InvalidInput);
        "" asks for none.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 256, 0).decode("utf-8", "replace").strip()
            os.close(self._fd)
            raise NotPossibleNow(
                f"the journal in `{directory}` is in use by {holder or 'another process'}: "
                "end it, or give this router a directory of its own"
            ) from None
        try:
            _check_deployment(directory, deployment)
        except BaseException:
            os.close(self._fd)
            raise
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"router `{router_id}`, process {os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Free the slot."""
        os.close(self._fd)


def _check_deployment(directory: Path, deployment: str) -> None:
    if not deployment:
        return
    path = directory / _DEPLOYMENT
    if not path.exists():
        unfinished = path.with_suffix(".part")
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(deployment)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    owner = path.read_text(encoding="utf-8", errors="replace")
    if owner != deployment:
        raise InvalidInput(
            f"the journal in `{directory}` belongs to deployment `{owner}` and this is "
            f"`{deployment}`: name the data directory of this one"
        )


class Segment:
    """One file. `end` is the offset after its last whole row, `next_sequence` the number after it."""

    def __init__(self, path: Path, header: Header, *, end: int = HEADER_BYTES) -> None:
        self.path = path
        self.first_sequence = header.first_sequence
        self.salt = header.salt
        self.next_sequence: int = header.first_sequence
        self.end: int = end

    def read(self, *, sequence: int, offset: int, bytes_max: int) -> list[Frame]:
        """Rows from the one numbered `sequence` at `offset`, about `bytes_max` of them, at least one.

        Raises ServiceUnavailable where a row within `end` is damaged.
        """
        wanted = min(bytes_max, self.end - offset)
        read = self._frames(_pread(self.path, offset, wanted), sequence, offset)
        if not read and offset < self.end:  # a row larger than bytes_max
            wanted = min(_READ_BYTES, self.end - offset)
            read = self._frames(_pread(self.path, offset, wanted), sequence, offset)
            if not read:
                raise ServiceUnavailable(
                    f"the journal file `{self.path}` cannot be read at byte {offset}: "
                    f"the row numbered {sequence} is damaged: restore the file"
                )
        return read

    def recover(self) -> Iterator[Frame]:
        """Every row of the file, in order; afterwards `end` and `next_sequence` are right."""
        size = self.path.stat().st_size
        while self.end < size:
            data = _pread(self.path, self.end, _READ_BYTES)
            read = self._frames(data, self.next_sequence, self.end)
            if not read:
                # Damage: it is a torn tail only if nothing whole follows in all of the file.
                rest = _pread(self.path, self.end, size - self.end)
                self._frames(rest, self.next_sequence, self.end)
                return
            for frame in read:
                self.end = frame.end
                self.next_sequence = frame.sequence + 1
                yield frame

    def _frames(self, data: bytes, sequence: int, offset: int) -> list[Frame]:
        return list(
            frames(data, salt=self.salt, sequence=sequence, base=offset, name=str(self.path))
        )


def open_segments(directory: Path) -> list[Segment]:
    """The segments of `directory` in order, without one whose header was never written whole.

    Raises ServiceUnavailable for a file that is not a journal's.
    """
    paths = sorted(directory.glob(f"*{_SUFFIX}"))
    segments: list[Segment] = []
    for path in paths:
        header = read_header(_pread(path, 0, HEADER_BYTES), name=str(path))
        if header is None:
            if path != paths[-1]:
                raise ServiceUnavailable(
                    f"the journal file `{path}` cannot be read at byte 0: it has no header: "
                    "restore the file, or move the journal's directory away to start without it"
                )
            path.unlink()  # the Router died between making the file and writing its header
            continue
        segments.append(Segment(path, header))
    return segments


def check_contiguous(segments: Sequence[Segment]) -> None:
    """Raise ServiceUnavailable unless each recovered segment begins where the one before ends."""
    for before, after in pairwise(segments):
        if before.next_sequence != after.first_sequence:
            raise ServiceUnavailable(
                f"the journal file `{before.path}` cannot be read at byte {before.end}: rows "
                f"{before.next_sequence} to {after.first_sequence - 1} are damaged or missing: "
                "restore the file, or move the journal's directory away to start without it",
                details={"file": str(before.path), "offset": str(before.end)},
            )


def create(directory: Path, *, first_sequence: int, salt: int) -> tuple[Segment, int]:
    """A new segment and the descriptor that appends to it; its name is durable."""
    path = directory / f"{first_sequence:020d}{_SUFFIX}"
    header = Header(first_sequence, salt)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, write_header(header))
        _sync_directory(directory)
    except OSError:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return Segment(path, header), fd


def reopen(segment: Segment) -> int:
    """The descriptor that appends to `segment`, cut after its last whole row."""
    fd = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.ftruncate(fd, segment.end)
    return fd


def _pread(path: Path, offset: int, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
