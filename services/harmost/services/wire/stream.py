"""One call's HTTP/2 stream: the low-level face. Sends bytes and a status, tells of cancel and drain.

No task, future or coroutine belongs to a message here: `send` queues, the connection flushes once a
loop turn. A relay uses this face alone; grpc.aio's calls (calls.py) are built on it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING

from . import compression, status
from .engine import CANCEL, EngineError
from .inbox import PREFIX_BYTES, Inbox, MessageError, unpack
from .metadata import Header, Metadata, Metadatum, decode_metadata, encode_metadata

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Stream"]

_HEADERS: tuple[Header, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_prefix = Struct(">BI").pack  # compressed flag, length
_GZIP_HEADERS: tuple[Header, ...] = (*_HEADERS, (b"grpc-encoding", compression.GZIP))


class Stream:
    """A gRPC call as bytes. All methods are called on the loop's thread.

    `on_cancel()` is called once when the call ends before `finish` did: the caller cancelled, its
    deadline passed or its connection broke. It is called at once; the call's task is cancelled after
    it, in a later turn where many calls end in this one. `on_drain()` is called after `send` returned False, as
    soon as there is room again.
    """

    # Defaults are the class's: a call sets only what differs, which saves it a microsecond.
    inbox: Inbox | None = None
    task: asyncio.Task[None] | None = None
    on_message: "Callable[[Stream, bytes], None] | None" = None
    on_cancel: Callable[[], object] | None = None
    on_drain: Callable[[], object] | None = None
    initial_metadata: tuple[Header, ...] = ()
    encoding = compression.IDENTITY  # of the request
    gzip = False  # of the answer
    deadline_s: float | None = None  # on the loop's clock
    unsent_bytes = 0  # since the engine was last asked what it still holds
    blocked = False
    headers_sent = False
    remote_ended = False
    entered = False  # the handler's task has made its first step
    finished = False  # a status was given to the engine, or the stream is gone
    cancelled = False
    closed = False  # the engine knows the stream no more
    _deadline_timer: asyncio.TimerHandle | None = None
    _waiters: list[asyncio.Future[None]] | None = None
    _metadata: tuple[Metadatum, ...] | None = None

    def __init__(
        self, connection: "Connection", stream_id: int, path: bytes, headers: tuple[Header, ...]
    ) -> None:
        self.connection = connection
        self.id = stream_id
        self.path = path
        self.headers = headers

    # --- Sending ---------------------------------------------------------------------------------

    def send(self, message: bytes) -> bool:
        """Queue one serialized message; False asks to wait for `on_drain`.

        Dropped without a word once the stream has finished: a relay's source may be a turn late.
        """
        return self.send_framed(_prefix(0, len(message)) + message)

    def send_framed(self, frames: bytes) -> bool:
        """Queue whole messages that carry their five-byte prefixes already."""
        if self.finished:
            return False
        connection = self.connection
        try:
            if not self.headers_sent:
                self.send_headers()
            connection.put(self.id, frames)
        except EngineError:
            return self._refused()
        if not connection.flush_due:
            connection.schedule()
        self.unsent_bytes += len(frames)
        if self.unsent_bytes > connection.stream_unsent_bytes_max or connection.congested:
            connection.block(self)
            return False
        return True

    def _refused(self) -> bool:
        """The stream or its connection is ending: no event may ever say so, so the call ends here.

        In the next turn: the handler that is sending must see its own cancel at an await.
        """
        self.connection.block(self)
        self.connection.loop.call_soon(self.lost)
        return False

    def send_compressed(self, message: bytes) -> bool:
        """Queue one serialized message as gzip."""
        packed = compression.compress(message)
        return self.send_framed(_prefix(1, len(packed)) + packed)

    def answer(self, message: bytes) -> None:
        """`send` and `finish` with OK, for the usual unary call that sent nothing before."""
        if self.finished or self.headers_sent or self.gzip or self.initial_metadata:
            self.send(message)
            self.finish()
            return
        self.finished = self.headers_sent = True
        connection = self.connection
        engine = connection.engine
        stream_id = self.id
        with suppress(EngineError):  # reset in this turn
            engine.respond(stream_id, _HEADERS)
            engine.data(stream_id, _prefix(0, len(message)) + message)
            engine.trailers(stream_id, status.OK_TRAILERS)
        connection.ended(self)
        self._settle()

    def send_headers(self) -> None:
        """Queue the initial metadata; sent by the first message otherwise."""
        self.headers_sent = True
        headers = _GZIP_HEADERS if self.gzip else _HEADERS
        if self.initial_metadata:
            headers += self.initial_metadata
        self.connection.engine.respond(self.id, headers)
        self.connection.schedule()

    def set_initial_metadata(self, metadata: Metadata) -> None:
        """Add fields to the initial metadata. Raises ValueError for what gRPC does not allow."""
        self.initial_metadata = (*self.initial_metadata, *encode_metadata(metadata))

    def finish(self, code: int = status.OK, details: str = "", metadata: Metadata = ()) -> None:
        """End the call with a status; nothing happens when it has ended already.

        Raises ValueError for metadata that gRPC does not allow.
        """
        if self.finished:
            return
        trailers = status.trailers(code, details, metadata)
        self.finished = True
        connection = self.connection
        with suppress(EngineError):  # reset in this turn
            if self.headers_sent:
                connection.engine.trailers(self.id, trailers)
            else:
                self.headers_sent = True
                headers = _HEADERS + self.initial_metadata + trailers
                connection.engine.respond(self.id, headers, end_stream=True)
        connection.ended(self)
        self._settle()

    def reset(self, error_code: int = CANCEL) -> None:
        """End the call without a status."""
        self.finished = True
        with suppress(EngineError):  # it may be gone already
            self.connection.engine.reset(self.id, error_code)
        self.connection.schedule()
        self._settle()

    async def drained(self) -> None:
        """Return when there is room to send, or the stream has finished."""
        while self.blocked and not self.finished:
            await self._wait()

    async def wait_finished(self) -> None:
        """Return when the call is over, however it ends: for a handler that gave its stream away."""
        while not self.finished:
            await self._wait()

    def unblock(self, unsent_bytes: int) -> None:
        """There is room again; called by the connection."""
        self.blocked = False
        self.unsent_bytes = unsent_bytes
        self._wake()
        if self.on_drain is not None and not self.finished:
            self.on_drain()

    # --- Receiving -------------------------------------------------------------------------------

    def feed(self, data: bytes, *, ended: bool) -> None:
        """Take the bytes of one DATA frame from the connection."""
        if self.finished:
            return
        if ended:
            self.remote_ended = True
            handler = self.on_message
            if handler is not None and self.inbox is None and self._is_one_message(data):
                self.on_message = None  # the usual unary request: one message in one frame
                handler(self, data[PREFIX_BYTES:])
                return
        inbox = self.inbox
        if inbox is None:
            inbox = self.inbox = Inbox(self.connection, self.id)
        try:
            inbox.feed(data, ended=ended)
            if ended and self.on_message is not None:
                self._deliver()
        except MessageError as error:
            self.fail(error.code, error.details)

    def unpack(self, frame: bytes) -> bytes:
        """The plain message in `frame`. Raises MessageError."""
        bytes_max = self.connection.limits.receive_message_bytes_max
        return unpack(frame, encoding=self.encoding, bytes_max=bytes_max)

    async def receive(self) -> bytes | None:
        """The next request message; None after the last. Raises MessageError."""
        inbox = self.inbox
        if inbox is None:
            inbox = self.inbox = Inbox(self.connection, self.id)
            inbox.ended = self.remote_ended
        frame = inbox.pop()
        if frame is None:
            await inbox.wait()
            frame = inbox.pop()
        return None if frame is None else self.unpack(frame)

    @property
    def accept_gzip(self) -> bool:
        """Whether the caller reads gzip."""
        accepted = dict(self.headers).get(b"grpc-accept-encoding", b"")
        return compression.GZIP in accepted

    def metadata(self) -> tuple[Metadatum, ...]:
        """The caller's metadata; decoded once."""
        if self._metadata is None:
            self._metadata = decode_metadata(self.headers)
        return self._metadata

    def _is_one_message(self, data: bytes) -> bool:
        """Whether `data` is exactly one message, plain and within its limit."""
        size = len(data) - PREFIX_BYTES
        return 0 <= size <= self.connection.receive_bytes_max and data.startswith(_prefix(0, size))

    def _deliver(self) -> None:
        """Hand the one message of a unary request over."""
        inbox, handler = self.inbox, self.on_message
        if inbox is None or handler is None:
            raise AssertionError("delivered without a message")
        self.on_message = None
        if len(inbox) != 1:
            raise MessageError(
                status.UNIMPLEMENTED, f"method takes one request message, not {len(inbox)}"
            )
        frame = inbox.pop()
        if frame is not None:
            handler(self, self.unpack(frame))

    # --- Ending ----------------------------------------------------------------------------------

    def start_deadline(self, timeout_s: float) -> None:
        """End the call with DEADLINE_EXCEEDED in `timeout_s`."""
        loop = self.connection.loop
        self.deadline_s = loop.time() + timeout_s
        self._deadline_timer = loop.call_at(self.deadline_s, self._expire)

    def fail(self, code: int, details: str) -> None:
        """End the call with a status that the transport chose, and stop its handler."""
        self.finish(code, details)
        self._stop_handler()

    def lost(self) -> None:
        """The stream is gone from the connection: called once, by the connection."""
        self.closed = True
        if self.finished:
            return
        self.finished = True
        self._settle()
        self._stop_handler()

    def _expire(self) -> None:
        self.fail(status.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _stop_handler(self) -> None:
        self.cancelled = True
        if self.on_cancel is not None:
            on_cancel, self.on_cancel = self.on_cancel, None
            on_cancel()
        # A task cancelled before its first step would skip even its finally: it ends itself.
        if self.task is not None and self.entered:
            self.connection.cut(self)

    def _settle(self) -> None:
        """Let go of what only a running call needs."""
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        if self.inbox is not None:
            self.inbox.discard()
        self._wake()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = self.connection.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        if self._waiters is None:
            return
        waiters, self._waiters = self._waiters, None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
