"""Reads an event stream (`text/event-stream`) from bytes in any pieces. Knows nothing of vendors.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream". Data stays bytes: whoever reads
it decodes it. `id` and `retry` are left out, since an answer is never resumed.
"""

from typing import NamedTuple

from harmost.core.limits import SSE_LINE_BYTES_MAX

__all__ = ["SseEvent", "SseParser"]

_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its name ("message" where the stream gives none) and its data lines, joined."""

    name: bytes
    data: bytes


class SseParser:
    """Splits bytes into events; the same bytes cut anywhere give the same events.

    Holds at most `bytes_max` of an unfinished event. One that is larger sets `overflowed`, and
    nothing more comes. O(bytes).
    """

    def __init__(self, *, bytes_max: int = SSE_LINE_BYTES_MAX) -> None:
        self.overflowed = False
        self._bytes_max = bytes_max
        self._tail = bytearray()  # the line that is not over yet
        self._name = b""
        self._data: list[bytes] = []
        self._held_bytes = 0  # in `_name` and `_data`
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """Events that `data` completes."""
        if self.overflowed:
            return []
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            # A final CR ends its line at once; the LF that may follow in the next piece is its own.
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        if lines and self._tail:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        events = self._take(lines)
        self._tail += rest
        if self._held_bytes + len(self._tail) > self._bytes_max:
            self.overflowed = True
        if self.overflowed:
            self._tail.clear()
            self._data.clear()
        return events

    def _take(self, lines: list[bytes]) -> list[SseEvent]:
        """Events that end in `lines`, all of them whole; stops where one grows too large."""
        events: list[SseEvent] = []
        if lines and self._first:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if not line:
                if self._data:
                    events.append(SseEvent(self._name or b"message", b"\n".join(self._data)))
                    self._data = []
                self._name = b""
                self._held_bytes = 0
                continue
            self._held_bytes += len(line)
            if self._held_bytes > self._bytes_max:
                self.overflowed = True
                break
            if line.startswith(b"data: "):  # nearly every line: spare it the call
                self._data.append(line[6:])
            else:
                self._field(line)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._name = value.removeprefix(b" ")
