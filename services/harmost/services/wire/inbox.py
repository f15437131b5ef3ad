"""The request messages of one stream: framing, bounds and waiting. Runs no handler.

A reader that falls behind stalls its own stream and no other; what it holds counts against its
connection, too. Source: gRPC over HTTP/2, "Length-Prefixed-Message" (PROTOCOL-HTTP2.md).
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from . import compression, status
from .engine import EngineError

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["PREFIX_BYTES", "Inbox", "MessageError", "unpack"]

PREFIX_BYTES = 5


class MessageError(Exception):
    """A request message that cannot be had; `code` and `details` are what the caller is told."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def unpack(frame: bytes, *, encoding: bytes, bytes_max: int) -> bytes:
    """The plain message in a whole `frame`, prefix included. Raises MessageError."""
    flag = frame[0]
    if flag == 0:
        return frame[PREFIX_BYTES:]
    if flag != 1 or encoding != compression.GZIP:
        raise MessageError(status.INTERNAL, "compressed message without a known grpc-encoding")
    try:
        return compression.decompress(frame[PREFIX_BYTES:], bytes_max=bytes_max)
    except compression.MessageTooLarge:
        raise too_large(f">{bytes_max}", bytes_max) from None
    except ValueError as error:
        raise MessageError(status.INTERNAL, str(error)) from error


def too_large(size: object, bytes_max: int) -> MessageError:
    """The error for a message of `size` bytes, in grpc's own words."""
    text = f"SERVER: Received message larger than max ({size} vs. {bytes_max})"
    return MessageError(status.RESOURCE_EXHAUSTED, text)


class Inbox:
    """Messages that have arrived and were not read yet; at most one reader waits."""

    __slots__ = (
        "_connection",
        "_expected_bytes",
        "_frames",
        "_partial",
        "_stalled",
        "_stream_id",
        "_waiter",
        "ended",
        "held_bytes",
    )

    def __init__(self, connection: "Connection", stream_id: int) -> None:
        # Not the stream: it holds this.
        self._connection = connection
        self._stream_id = stream_id
        self._frames: deque[bytes] = deque()
        self._partial = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._stalled = False
        self._expected_bytes = 0  # size of the message for which the window was widened
        self.ended = False
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def feed(self, data: bytes, *, ended: bool) -> None:
        """Take the bytes of one DATA frame. Raises MessageError when the stream must end."""
        connection = self._connection
        self.held_bytes += len(data)
        connection.held_bytes += len(data)
        self._partial += data
        self._split()
        if ended:
            self.end()
        if connection.held_bytes > connection.limits.connection_held_bytes_max:
            raise MessageError(
                status.RESOURCE_EXHAUSTED, "connection holds too many unread request bytes"
            )
        if self._frames and not self._stalled and not ended:
            self._stall()

    def end(self) -> None:
        """No more messages. Raises MessageError when the last one is incomplete."""
        self.ended = True
        self._wake()
        if self._partial:
            raise MessageError(status.INTERNAL, "request ended inside a message")

    def discard(self) -> None:
        """Forget everything: the stream is over."""
        self._connection.held_bytes -= self.held_bytes
        self.held_bytes = 0
        self._frames.clear()
        self._partial.clear()

    def pop(self) -> bytes | None:
        """The next frame that is already here."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self.held_bytes -= len(frame)
        self._connection.held_bytes -= len(frame)
        # The reader may wait for the rest of a message that alone is larger than the low mark.
        if self._stalled and (not self._frames or self.held_bytes <= self._low_bytes):
            self._resume()
        return frame

    async def wait(self) -> None:
        """Return when a message, the end or the stream's end has come. One reader at a time."""
        if self._frames or self.ended:
            return
        if self._waiter is not None:
            raise RuntimeError("another read of this call is waiting already")
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    @property
    def _low_bytes(self) -> int:
        return self._connection.limits.stream_window_bytes // 4

    def _split(self) -> None:
        """Make frames of what has arrived. Raises MessageError for a message that is too large."""
        partial = self._partial
        bytes_max = self._connection.receive_bytes_max
        while len(partial) >= PREFIX_BYTES:
            size = int.from_bytes(partial[1:PREFIX_BYTES], "big")
            if size > bytes_max:
                raise too_large(size, bytes_max)
            end = PREFIX_BYTES + size
            if len(partial) < end:
                self._expect(end)
                return
            self._frames.append(bytes(partial[:end]))
            del partial[:end]
            if self._expected_bytes:
                self._expected_bytes = 0
                if not self._stalled:
                    self._set_window(self._connection.limits.stream_window_bytes)
            self._wake()

    def _expect(self, size: int) -> None:
        """Make room at once for a message larger than a window, if its reader may be waiting."""
        window_bytes = self._connection.limits.stream_window_bytes
        if size > window_bytes and not self._expected_bytes and not self._frames:
            self._expected_bytes = size
            self._set_window(size)

    def _stall(self) -> None:
        """Give the caller no more credit once a window is unread."""
        if self.held_bytes >= self._connection.limits.stream_window_bytes:
            self._stalled = True
            self._set_window(0)

    def _resume(self) -> None:
        self._stalled = False
        self._set_window(self._connection.limits.stream_window_bytes)
        self._split()  # what is next may need more

    def _set_window(self, window_bytes: int) -> None:
        connection = self._connection
        with suppress(EngineError):  # the stream may just have been closed
            connection.engine.set_window(self._stream_id, window_bytes)
        connection.schedule()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
