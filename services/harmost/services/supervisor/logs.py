"""What the services say: into one bounded file each, and to the terminal with their name before it."""

import queue
import sys
import threading
from pathlib import Path
from typing import BinaryIO

__all__ = ["LogFile", "Terminal"]

LOG_BYTES_MAX = 5 * 1024 * 1024  # then it becomes .1, and the .1 before it goes
LINES_MAX = 1_000
NAME_WIDTH = 9


class LogFile:
    """Appends lines to `path`; never more than twice LOG_BYTES_MAX. A full disk loses lines."""

    def __init__(self, path: Path, *, bytes_max: int = LOG_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._file: BinaryIO = path.open("ab")
        self._size = self._file.tell()

    def write(self, line: bytes) -> None:
        """Append `line`, which has no line end."""
        try:
            if self._size + len(line) >= self._bytes_max:
                self._turn()
            self._file.write(line + b"\n")
            self._file.flush()
            self._size += len(line) + 1
        except OSError:
            return  # a service must not stop because its log has no room

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _turn(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._file = self._path.open("ab")
        self._size = 0


class Terminal:
    """Lines to stderr from a thread of its own: a terminal that stands still must not stop the mesh.

    Full queue: the line is dropped (the log file has it) and counted.
    """

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_MAX)
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="harmost.terminal", daemon=True)
        self._thread.start()

    def say(self, name: str, text: str) -> None:
        """Show `text` as said by `name`; never waits."""
        try:
            self._lines.put_nowait(f"{name:>{NAME_WIDTH}} | {text}\n")
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is left, for a second at most."""
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=1)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                sys.stderr.write(line)
                sys.stderr.flush()
            except (OSError, ValueError):
                continue  # nobody reads any more: keep the queue empty
