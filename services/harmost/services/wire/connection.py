"""One client connection: bytes between the transport and the engine, streams by id, one flush a turn.

It runs no handler and knows no message. Its life beyond the single turn (keep-alive, age, idle,
drain) is in lifetime.py.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from . import compression, status
from .detention import RESETS_BURST, RESETS_PER_S
from .engine import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    ConnectionClosed,
    DataReceived,
    Engine,
    EngineError,
    Event,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    SettingsReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from .lifetime import Lifetime
from .limits import Limits
from .metadata import Header, timeout_s
from .peer import Identity, identity_of, peer_of
from .stream import Stream

__all__ = ["Connection", "Owner"]

_UNSUPPORTED_MEDIA: tuple[Header, ...] = ((b":status", b"415"),)
_METHOD_NOT_ALLOWED: tuple[Header, ...] = ((b":status", b"405"),)
_CONTENT_TYPES = frozenset(
    {b"application/grpc", b"application/grpc+proto", b"application/grpc+json"}
)

# A large read is taken in pieces: what one piece can begin and reset holds the loop for 1 ms.
_SLICE_BYTES = 1024
_DETAINED_SLICE_BYTES = 128
_TURN_CALLS_MAX = 64


class Owner(Protocol):
    """What a connection needs of its server."""

    limits: Limits

    def begin(self, stream: Stream) -> None:
        """Take a new call."""
        ...

    def cut(self, stream: Stream) -> None:
        """Cancel the task of a call, soon."""
        ...

    def admit(self, connection: "Connection") -> bool:
        """Whether this connection may stay."""
        ...

    def gone(self, connection: "Connection") -> None:
        """The connection is closed."""
        ...

    def detain(self, connection: "Connection") -> bool:
        """Have a connection that resets too much wait for its turns; False when too many do."""
        ...


class Connection(asyncio.Protocol):
    """The asyncio protocol of one connection, plaintext or TLS alike."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.limits = owner.limits
        self.stream_unsent_bytes_max = owner.limits.stream_unsent_bytes_max
        self.receive_bytes_max = owner.limits.receive_message_bytes_max
        self.send_bytes_max = owner.limits.send_message_bytes_max
        self.streams: dict[int, Stream] = {}
        self.held_bytes = 0  # unread request bytes of all streams
        self.flush_due = False
        self.congested = False  # unsent answers of all streams exceed their bound
        self.identity = Identity()
        self.peer = "unknown"
        self._owner = owner
        self._begin: Callable[[Stream], None] = owner.begin
        self.cut: Callable[[Stream], None] = owner.cut
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._backlog = b""  # read, and from `_taken` on not yet given to the engine
        self._taken = 0
        self._is_waiting = False  # the socket is not read until the backlog is
        self._begun = 0  # calls, in this turn
        self.resets = 0  # streams, ever
        self._resets_usual = 0.0  # of these, what was no more than is usual at `_looked_s`
        self._looked_s = loop.time()
        self._blocked: list[Stream] = []  # wait for room
        self._unread: list[Stream] = []  # answered before the request ended
        self._deferred: list[Stream] = []  # began while congested

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start HTTP/2, unless the server has too many connections or ALPN chose something else."""
        self._transport = wire = cast(asyncio.Transport, transport)
        tls = wire.get_extra_info("ssl_object")
        if not self._owner.admit(self) or (tls and tls.selected_alpn_protocol() != "h2"):
            wire.abort()
            return
        self.identity = identity_of(tls)
        self.peer = peer_of(wire.get_extra_info("peername"))
        wire.set_write_buffer_limits(high=self.limits.socket_unsent_bytes_max)
        self.engine = Engine(self.limits)
        self.put = self.engine.data
        self.lifetime = Lifetime(self, self.limits)
        self.schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every call that still runs."""
        self._transport = None
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.lost()
        self._blocked.clear()
        self._unread.clear()
        self._deferred.clear()
        self._owner.gone(self)

    def pause_writing(self) -> None:
        """The socket is full: leave everything in the engine's queues."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        self.schedule()

    def eof_received(self) -> None:
        """The peer has closed its side: so do we."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the peer; answers to them go out at the end of the turn."""
        self.lifetime.heard = True
        if self._is_waiting:
            self._backlog = self._backlog[self._taken :] + data
            self._taken = 0
        elif len(data) > _SLICE_BYTES or self.resets - self._resets_usual > RESETS_BURST:
            self._backlog, self._taken = data, 0
            self._read_slices()
        else:
            self._receive(data)

    def _receive(self, data: bytes | memoryview) -> bool:
        """Feed the engine; False when the connection has ended."""
        if self._transport is None:
            return False
        try:
            self.engine.receive(data)
        except EngineError as error:
            self._transport.write(self.engine.farewell(error))
            self._transport.close()
            return False
        self._handle(self.engine.events())
        if not self.flush_due:
            self.flush_due = True
            self.loop.call_soon(self._flush)
        return True

    def _read_slices(self) -> None:
        """Take what was read piece by piece, and no more in this turn than is fair to others.

        A peer that opens or resets streams by the thousand in one read would hold the loop for
        tens of milliseconds. One that opens them goes on in the next turn, one that resets waits.
        """
        self._begun = 0
        while self._taken < len(self._backlog):
            if self._resets_unusually():
                self._detain()
                return
            if self._begun > _TURN_CALLS_MAX:
                self._wait()
                self.loop.call_soon(self._read_slices)
                return
            if not self._take(_SLICE_BYTES):
                return
        self._read_all()

    def read_on(self, resets_max: int) -> tuple[int, bool]:
        """As `Detained.read_on` says; called by the detention."""
        begin = self.resets
        while self._taken < len(self._backlog) and self.resets - begin < resets_max:
            if not self._take(_DETAINED_SLICE_BYTES):
                return self.resets - begin, False
        has_more = self._taken < len(self._backlog)
        if not has_more:
            self._read_all()
        return self.resets - begin, has_more

    def _take(self, size: int) -> bool:
        start, self._taken = self._taken, self._taken + size
        return self._receive(memoryview(self._backlog)[start : self._taken])

    def _read_all(self) -> None:
        self._backlog, self._taken = b"", 0
        if self._is_waiting:
            self._is_waiting = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _wait(self) -> None:
        if not self._is_waiting and self._transport is not None:
            self._is_waiting = True
            self._transport.pause_reading()

    def _detain(self) -> None:
        self._wait()
        if not self._owner.detain(self):
            self.terminate()

    def _resets_unusually(self) -> bool:
        if self.resets - self._resets_usual <= RESETS_BURST:
            return False
        now_s = self.loop.time()
        earned = (now_s - self._looked_s) * RESETS_PER_S
        self._looked_s = now_s
        self._resets_usual = min(self._resets_usual + earned, float(self.resets))
        return self.resets - self._resets_usual > RESETS_BURST

    # --- Events ----------------------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        streams = self.streams
        for event in events:
            if isinstance(event, DataReceived):
                stream = streams.get(event.stream_id)
                if stream is not None:
                    stream.feed(event.data, ended=event.end_stream)
            elif isinstance(event, WindowUpdated):
                continue  # the flush that follows uses it
            elif isinstance(event, RequestReceived):
                self._request(event)
            elif isinstance(event, StreamClosed):
                stream = streams.pop(event.stream_id, None)
                if stream is not None:
                    stream.lost()
            elif isinstance(event, StreamReset):
                self.resets += 1  # the StreamClosed that follows ends the call
            else:
                self._control(event)

    def _control(self, event: Event) -> None:
        """What is rare."""
        if isinstance(event, TrailersReceived):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.feed(b"", ended=True)
        elif isinstance(event, PingReceived):
            self.lifetime.ping_received()
        elif isinstance(event, PingAcknowledged):
            self.lifetime.ping_acknowledged(event.opaque_data)
        elif isinstance(event, SettingsReceived):
            self.lifetime.settled = True
        elif isinstance(event, ConnectionClosed):
            self.close()

    def _request(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        self.engine.last_stream_id = stream_id
        headers = dict(event.headers)
        content_type = headers.get(b"content-type", b"")
        if content_type not in _CONTENT_TYPES and not content_type.startswith(b"application/grpc"):
            self._refuse(stream_id, _UNSUPPORTED_MEDIA)
            return
        if headers[b":method"] != b"POST":
            self._refuse(stream_id, _METHOD_NOT_ALLOWED)
            return
        stream = Stream(self, stream_id, headers[b":path"], event.headers)
        self.streams[stream_id] = stream
        self.lifetime.calls += 1
        self._begun += 1
        if event.end_stream:
            stream.remote_ended = True
        encoding = headers.get(b"grpc-encoding")
        if encoding is not None and encoding != compression.IDENTITY:
            self._compressed(stream, encoding)
        timeout = headers.get(b"grpc-timeout")
        if timeout is not None:
            self._deadline(stream, timeout)
        if self.congested:
            self._deferred.append(stream)
        elif not stream.finished:
            self._start(stream)

    def _start(self, stream: Stream) -> None:
        self._begin(stream)
        if stream.remote_ended and stream.on_message is not None:
            stream.feed(b"", ended=True)  # a request without a body, or one that was deferred

    def _compressed(self, stream: Stream, encoding: bytes) -> None:
        stream.encoding = encoding
        if encoding != compression.GZIP:
            stream.initial_metadata = ((b"grpc-accept-encoding", compression.ACCEPTED),)
            text = f"compression `{encoding.decode('ascii', 'replace')}` is not supported"
            stream.finish(status.UNIMPLEMENTED, text)

    def _deadline(self, stream: Stream, value: bytes) -> None:
        timeout = timeout_s(value)
        if timeout is None:
            stream.finish(status.INTERNAL, "malformed grpc-timeout")
        else:
            stream.start_deadline(timeout)

    def _refuse(self, stream_id: int, headers: tuple[Header, ...]) -> None:
        """Answer what is no gRPC call with an HTTP status."""
        try:
            self.engine.respond(stream_id, headers, end_stream=True)
        except EngineError:
            return  # reset in this turn
        self.schedule()

    # --- For streams -----------------------------------------------------------------------------

    def schedule(self) -> None:
        """Flush at the end of this turn of the loop."""
        if not self.flush_due:
            self.flush_due = True
            self.loop.call_soon(self._flush)

    def block(self, stream: Stream) -> None:
        """Have `stream` wait until a flush finds room for it."""
        if not stream.blocked:
            stream.blocked = True
            self._blocked.append(stream)

    def ended(self, stream: Stream) -> None:
        """A call was given its status."""
        if not stream.remote_ended and not stream.closed:
            self._unread.append(stream)
        self.schedule()

    # --- Flushing --------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what the engine has, once a turn, and look at who waits for room."""
        self.flush_due = False
        wire = self._transport
        if wire is None:
            return
        engine = self.engine
        if not self._paused:
            try:
                output = engine.take()
            except EngineError:
                wire.abort()
                return
            if output:
                wire.write(output)
        queued = engine.queued()
        if queued or self._blocked or self.congested:
            self._balance(queued)
        if self._unread:
            self._end_unread()
        events = engine.events()  # what was just sent has ended streams, or the connection
        if events:
            self._handle(events)
            self.lifetime.check_drained()

    def _balance(self, queued: int) -> None:
        """Let writers go on where there is room, stop everyone where there is far too much unsent."""
        bytes_max = self.limits.connection_unsent_bytes_max
        if self.congested:
            self.congested = queued > bytes_max // 2
        else:
            self.congested = queued > bytes_max
        if self.congested:
            return
        waiting, self._blocked = self._blocked, []
        for stream in waiting:
            if stream.closed:
                continue
            unsent = self.engine.queued(stream.id) if queued else 0
            if unsent > self.stream_unsent_bytes_max // 2:
                self._blocked.append(stream)
            else:
                stream.unblock(unsent)
        deferred, self._deferred = self._deferred, []
        for stream in deferred:
            if not stream.finished:
                self._start(stream)

    def _end_unread(self) -> None:
        """Tell callers that were answered early to stop sending (RFC 9113, section 8.1)."""
        waiting, self._unread = self._unread, []
        for stream in waiting:
            if stream.closed or stream.remote_ended:
                continue
            if self.engine.is_flushed(stream.id):
                stream.reset(NO_ERROR)
            else:
                self._unread.append(stream)

    # --- Ending ----------------------------------------------------------------------------------

    def fail_calls(self, code: int, details: str) -> None:
        """End every call with a status, and stop its handler."""
        for stream in list(self.streams.values()):
            stream.fail(code, details)

    def terminate(self, error_code: int = ENHANCE_YOUR_CALM) -> None:
        """GOAWAY with an error, then close: everything on the connection is lost."""
        if self._transport is None:
            return
        try:
            self.engine.terminate(error_code)
            self._transport.write(self.engine.take())
        except EngineError:
            pass  # it has ended by itself
        self._transport.close()

    def close(self) -> None:
        """Write what is due, then close."""
        if self._transport is not None:
            self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        if self._transport is not None:
            self._transport.abort()
