"""The sandbox's books: one append-only file of JSON lines that says what every attempt was billed.

An attempt is an `open` row before its first byte and an `end` row when it is over, however it ended.
Tokens are counted in a small mapped file before they are written to the socket; its pages outlive
the process, so after kill -9 the next start closes every open attempt at what had been written. That
costs two small appends an attempt and one store a write. Nothing is synced: a power cut may lose rows.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from harmost.services.sandbox.prices import cost_usd_nanos

__all__ = ["ATTEMPTS_MAX", "Bill", "BillingLog", "BooksClosed", "EndRow", "Status"]

# Attempts that one file holds: their offsets stay in memory, so that a lookup costs one read.
ATTEMPTS_MAX = 1_000_000
# Attempts that are open at once.
_SLOTS = 1 << 16
# Ids that were asked for and never came. The connection that would bring one lives far shorter.
_DOORS_MAX = 100_000
_PAGE_BYTES = 256 * 1024
_COUNT = struct.Struct("<Q")

Status = Literal["complete", "client_gone", "broken", "failed", "killed"]


class BooksClosed(Exception):
    """No attempt can be opened; the message says why."""


class OpenRow(msgspec.Struct, frozen=True, tag="open", tag_field="row"):
    """An attempt begins; its written tokens are counted in `slot`."""

    attempt_id: str
    model: str
    input_tokens: int
    slot: int
    at_ms: int


class EndRow(msgspec.Struct, frozen=True, tag="end", tag_field="row"):
    """An attempt is over: what it is billed. `at_ms` counts from 1970."""

    attempt_id: str
    model: str
    status: Status
    http_status: int
    input_tokens: int
    output_tokens: int
    cost_usd_nanos: int
    at_ms: int


_rows = msgspec.json.Decoder(OpenRow | EndRow)


class Bill:
    """One open attempt. `written` must be told before the tokens go to the socket."""

    def __init__(self, log: "BillingLog", row: OpenRow) -> None:
        self.row = row
        self._log = log

    @property
    def output_tokens(self) -> int:
        """Tokens written so far."""
        return self._log.written(self.row.slot)

    def written(self, tokens: int) -> None:
        """`tokens` in all are written, or will be in the next moment."""
        self._log.write(self.row.slot, tokens)

    def end(self, status: Status) -> None:
        """Close the attempt at what was written."""
        self._log.end(self, status)


class BillingLog:
    """Opens `path` for itself alone; BooksClosed when another process has it, OSError from disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise BooksClosed(
                f"another process writes `{path}`: give each sandbox its own"
            ) from None
        self._counts = _mapped(path.with_name(path.name + ".progress"))
        self._size = 0
        self._ended: dict[str, int] = {}  # attempt id -> offset of its end row
        self._open: dict[str, Bill] = {}
        self._doors: dict[str, None] = {}
        self._slots = list(range(_SLOTS))
        self._recover(path)

    def close(self) -> None:
        """Leave the file to others. Open attempts are closed by the next start."""
        self._counts.close()
        os.close(self._fd)

    def open(self, attempt_id: str, *, model: str, input_tokens: int) -> Bill:
        """Begin an attempt. Raises BooksClosed where `attempt_id` was used or the books are full."""
        self._check(attempt_id)
        slot = self._slots[-1]
        self.write(slot, 0)
        row = OpenRow(attempt_id, model, input_tokens, slot, _now_ms())
        self._append(row)
        self._slots.pop()
        bill = self._open[attempt_id] = Bill(self, row)
        return bill

    def failed(self, attempt_id: str, *, model: str, http_status: int) -> None:
        """Note an attempt that was refused and costs nothing. Raises BooksClosed as `open` does."""
        self._check(attempt_id)
        self._ended[attempt_id] = self._append(
            EndRow(attempt_id, model, "failed", http_status, 0, 0, 0, _now_ms())
        )

    def _check(self, attempt_id: str) -> None:
        if attempt_id in self._ended or attempt_id in self._open:
            raise BooksClosed(f"attempt `{attempt_id}` was made before: use an id once")
        if attempt_id in self._doors:
            raise BooksClosed(f"attempt `{attempt_id}` was asked for before it came: it is void")
        if len(self._ended) + len(self._open) >= ATTEMPTS_MAX or not self._slots:
            raise BooksClosed("the books are full: start the sandbox with a new file")

    def end(self, bill: Bill, status: Status, *, http_status: int = 200) -> None:
        """Close `bill`; once. Its slot is free again only when the row is in the file."""
        row = bill.row
        output_tokens = bill.output_tokens
        self._ended[row.attempt_id] = self._append(
            EndRow(
                row.attempt_id,
                row.model,
                status,
                http_status,
                row.input_tokens,
                output_tokens,
                cost_usd_nanos(
                    row.model, input_tokens=row.input_tokens, output_tokens=output_tokens
                ),
                _now_ms(),
            )
        )
        del self._open[row.attempt_id]
        self._slots.append(row.slot)

    def lookup(self, attempt_id: str) -> EndRow | Bill | None:
        """What is known of an attempt: its end, its open bill, or nothing.

        Who hears "nothing" may rely on it: the id is void from now on.
        """
        offset = self._ended.get(attempt_id)
        if offset is not None:
            line = os.pread(self._fd, _PAGE_BYTES, offset)
            row = _rows.decode(line[: line.index(b"\n")])
            assert isinstance(row, EndRow)
            return row
        bill = self._open.get(attempt_id)
        if bill is None:
            self._doors[attempt_id] = None
            if len(self._doors) > _DOORS_MAX:
                del self._doors[next(iter(self._doors))]
        return bill

    def page(self, since: int) -> tuple[list[bytes], int, bool]:
        """End rows from offset `since` on, as JSON; the next offset; whether more is there now."""
        if not 0 <= since <= self._size:
            raise ValueError(f"no page begins at `{since}`: use 0 or the `next` of a page")
        data = os.pread(self._fd, min(_PAGE_BYTES, self._size - since), since)
        data = data[: data.rfind(b"\n") + 1]
        rows = [line for line in data.split(b"\n") if line.startswith(b'{"row":"end"')]
        return rows, since + len(data), since + len(data) < self._size

    def written(self, slot: int) -> int:
        """Tokens counted in `slot`."""
        count: int = _COUNT.unpack_from(self._counts, slot * _COUNT.size)[0]
        return count

    def write(self, slot: int, tokens: int) -> None:
        """Count `tokens` in `slot`."""
        _COUNT.pack_into(self._counts, slot * _COUNT.size, tokens)

    def _append(self, row: OpenRow | EndRow) -> int:
        """Write `row` whole or not at all; its offset."""
        line = msgspec.json.encode(row) + b"\n"
        offset = self._size
        try:
            if os.pwrite(self._fd, line, offset) != len(line):
                raise OSError("the disk took half a row")
        except OSError:
            os.ftruncate(self._fd, offset)
            raise
        self._size += len(line)
        return offset

    def _recover(self, path: Path) -> None:
        """Index the file, cut a torn last row off, close what a killed process left open."""
        opened: dict[str, OpenRow] = {}
        for offset, line in _lines(path):
            row = _rows.decode(line)
            if isinstance(row, OpenRow):
                opened[row.attempt_id] = row
            else:
                opened.pop(row.attempt_id, None)
                self._ended[row.attempt_id] = offset
            self._size = offset + len(line)
        os.ftruncate(self._fd, self._size)
        for row in opened.values():
            self._slots.remove(row.slot)
            self._open[row.attempt_id] = Bill(self, row)
        for bill in tuple(self._open.values()):
            bill.end("killed")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each whole line."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _mapped(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, _SLOTS * _COUNT.size)
        return mmap.mmap(fd, _SLOTS * _COUNT.size)
    finally:
        os.close(fd)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
