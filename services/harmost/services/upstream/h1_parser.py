"""Reads one HTTP/1.1 response: bytes in, head and body out. No socket, no clock; never raises.

Strict where a lenient reader could be led astray: lines end in CRLF, a body has one length, a
chunk is what its line says. Holds at most `limits.HEAD_BYTES_MAX` of unread bytes.
Source: RFC 9112, sections 4 to 7.
"""

import re
from typing import Final

from .limits import CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX

__all__ = ["ResponseParser"]

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CRLF: Final = b"\r\n"


# The sizes of nearly all chunks: a look-up costs a third of checking and converting.
_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}

# States. Plain numbers: a member of an enum costs as much to look at as the rest of a state.
_HEAD: Final = 0
_COUNTED: Final = 1  # content-length bytes
_CHUNK_LINE: Final = 2
_CHUNK: Final = 3
_CHUNK_END: Final = 4  # the CRLF after a chunk
_TRAILERS: Final = 5
_UNTIL_CLOSE: Final = 6
_ENDED: Final = 7
_FAILED: Final = 8


class ResponseParser:
    """Feed it until `ended` or `error`; `status` is 0 until the head is whole.

    `error` says in few words why the bytes are no response; what came before it was good.
    `reusable`: once ended, whether the connection may carry another request.
    """

    __slots__ = (
        "_held",
        "_held_seen",
        "_left",
        "_line_bytes",
        "_state",
        "error",
        "headers",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.error = ""
        self.reusable = False
        self._state = _HEAD
        self._held = bytearray()  # of a head, a line or trailers that are not whole
        self._held_seen = 0  # how far it has been searched
        self._line_bytes = 0  # heads of interim responses, or trailers, so far
        self._left = 0  # bytes of the body or chunk still to come

    @property
    def ended(self) -> bool:
        """The response is whole."""
        return self._state == _ENDED

    def feed(self, data: bytes) -> bytes:
        """Body bytes that `data` holds, perhaps none. O(len(data))."""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        if self._state == _CHUNK_LINE and not self._held:
            line_end = data.find(_CRLF, 0, 17)
            start = line_end + 2
            if _SIZES.get(data[:line_end]) == size - start - 2 and data.endswith(_CRLF):
                return data[start:-2]  # the usual read: one chunk and nothing else
            at = _whole_chunks(data, pieces)
        while at < size and self._state != _FAILED:
            at = self._step(data, at, pieces)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """The connection is at its end: so is a body of no stated length; else it broke off."""
        if self._state == _UNTIL_CLOSE:
            self._state = _ENDED
        elif self._state not in (_ENDED, _FAILED):
            self._fail("closed before the end")

    def _step(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read one part of `data` from `at`; returns where the next part begins."""
        state = self._state
        if state in (_CHUNK, _COUNTED):
            return self._take(data, at, pieces)
        if state == _CHUNK_LINE:
            return self._line(data, at)
        if state == _CHUNK_END:
            return self._chunk_end(data, at)
        if state == _HEAD:
            return self._head(data, at)
        if state == _TRAILERS:
            return self._trailer(data, at)
        if state == _UNTIL_CLOSE:
            pieces.append(data[at:])
        else:  # more than the response: nobody asked for it
            self.reusable = False
        return len(data)

    def _take(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = min(len(data), at + self._left)
        pieces.append(data[at:end])
        self._left -= end - at
        if not self._left:
            counted = self._state == _COUNTED
            self._state = _ENDED if counted else _CHUNK_END
        return end

    def _line(self, data: bytes, at: int) -> int:
        if not self._held:
            size, body_at = _plain_size(data, at)
            if size >= 0:
                self._begin_chunk(size)
                return body_at
        at, line = self._until(_CRLF, data, at, CHUNK_LINE_BYTES_MAX, "chunk line")
        if line is None:
            return at
        stated = _SIZE.fullmatch(line)
        if stated is None:
            self._fail("wrong chunk size")
        else:
            self._begin_chunk(int(stated[1], 16))
        return at

    def _begin_chunk(self, size: int) -> None:
        self._left = size
        self._state = _CHUNK if size else _TRAILERS
        self._line_bytes = 0

    def _chunk_end(self, data: bytes, at: int) -> int:
        if not self._held and data[at : at + 2] == _CRLF:
            self._state = _CHUNK_LINE
            return at + 2
        missing = 2 - len(self._held)
        self._held += data[at : at + missing]
        if not _CRLF.startswith(self._held):
            self._fail("chunk longer than its size")
        elif len(self._held) == 2:
            self._held.clear()
            self._state = _CHUNK_LINE
        return min(len(data), at + missing)

    def _trailer(self, data: bytes, at: int) -> int:
        """Trailers are read over: nothing that is needed comes there."""
        left = HEAD_BYTES_MAX - self._line_bytes
        at, line = self._until(_CRLF, data, at, left, "trailers")
        if line is None:
            return at
        self._line_bytes += len(line) + 2
        if not line:
            self._state = _ENDED
        elif _FIELD.fullmatch(line) is None:
            self._fail("wrong trailer")
        return at

    def _head(self, data: bytes, at: int) -> int:
        left = HEAD_BYTES_MAX - self._line_bytes
        at, head = self._until(b"\r\n\r\n", data, at, left, "header list")
        if head is not None:
            self._line_bytes += len(head) + 4
            self._read_head(head)
        return at

    def _until(
        self, mark: bytes, data: bytes, at: int, bytes_max: int, what: str
    ) -> tuple[int, bytes | None]:
        """What comes before `mark`, and where it ends; None, and it is held, while it is not whole."""
        held = self._held
        before = len(held)
        # One byte beyond the bound shows that it is passed: no more is ever held.
        held += data[at : at + max(bytes_max - before, 0) + 1]
        end = held.find(mark, max(self._held_seen - len(mark) + 1, 0))
        if end < 0:
            self._held_seen = len(held)
            if len(held) > bytes_max:
                self._fail(f"{what} longer than its bound")
            return len(data), None
        line = bytes(held[:end])
        held.clear()
        self._held_seen = 0
        return at + end + len(mark) - before, line

    def _read_head(self, head: bytes) -> None:
        lines = head.split(_CRLF)
        start = _STATUS.fullmatch(lines[0])
        if start is None or len(lines) > HEADERS_MAX:
            self._fail("no HTTP/1.1 status line" if start is None else "too many headers")
            return
        headers: dict[str, str] = {}
        for line in lines[1:]:
            field = _FIELD.fullmatch(line)
            if field is None:
                self._fail("wrong header")
                return
            name, value = field[1].decode().lower(), field[2].decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        status = int(start[2])
        if status == 101:
            self._fail("protocol switched unasked")
        elif status >= 200:  # below: an interim response, another head follows
            self._begin_body(status, headers, is_1_1=start[1] == b"1")

    def _begin_body(self, status: int, headers: dict[str, str], *, is_1_1: bool) -> None:
        """Choose how the body's end is found. Source: RFC 9112, section 6.3."""
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        connection = [token.strip() for token in headers.get("connection", "").lower().split(",")]
        self.reusable = is_1_1 and "close" not in connection
        if coding is not None and (coding.lower() != "chunked" or length is not None or not is_1_1):
            self._fail("more than one way to tell the body's end")
            return
        if coding is not None:
            self._state = _CHUNK_LINE
        elif status in (204, 304):
            self._state = _ENDED
        elif length is None:
            self._state = _UNTIL_CLOSE
            self.reusable = False
        elif _LENGTH.fullmatch(length) is None:
            self._fail("wrong content-length")
            return
        else:
            self._left = int(length)
            self._state = _COUNTED if self._left else _ENDED
        self.status, self.headers = status, headers

    def _fail(self, error: str) -> None:
        self.error = error
        self.reusable = False
        self._state = _FAILED
        self._held.clear()


def _plain_size(data: bytes, at: int) -> tuple[int, int]:
    """The size that a whole chunk line at `at` states, and where its bytes begin; -1: look closer."""
    end = data.find(_CRLF, at, at + 17)
    line = data[at:end]
    size = _SIZES.get(line)
    if size is not None and end >= 0:
        return size, end + 2
    # What int() takes beyond hex digits: signs, blanks, underscores, and "0x".
    if end < 0 or not line.isalnum() or line[1:2] in (b"x", b"X"):
        return -1, at
    try:
        return int(line, 16), end + 2
    except ValueError:
        return -1, at


def _whole_chunks(data: bytes, pieces: list[bytes]) -> int:
    """The usual read: whole chunks and nothing else. Returns where something else begins."""
    at, total = 0, len(data)
    while at < total:
        size, body_at = _plain_size(data, at)
        end = body_at + size
        # The last chunk, one that is not all there, or one that is wrong: step by step.
        if size <= 0 or data[end : end + 2] != _CRLF:
            return at
        pieces.append(data[body_at:end])
        at = end + 2
    return at
