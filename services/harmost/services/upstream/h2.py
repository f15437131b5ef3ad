"""One HTTP/2 connection: many calls, one flush a loop turn, cancels rationed, silence pinged."""

import asyncio
from typing import Protocol, cast

from .call import Call
from .engine import (
    CANCEL,
    HTTP_1_1_REQUIRED,
    REFUSED_STREAM,
    ConnectionClosed,
    DataReceived,
    Engine,
    EngineError,
    Event,
    GoAwayReceived,
    Header,
    ResponseReceived,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)
from .limits import (
    CANCELS_BURST,
    CANCELS_PER_S,
    IDLE_S,
    STREAM_WINDOW_BYTES,
    STREAMS_MAX,
)
from .wheel import Alarm, Wheel

__all__ = ["Http2Connection"]


class _Owner(Protocol):
    wheel: Wheel
    ping_after_s: float  # of silence, with calls under way; 0: never
    ping_timeout_s: float

    def ready(self, connection: "Http2Connection") -> None:
        """`connection` knows what the provider allows, for the first time."""
        ...

    def roomier(self) -> None:
        """A connection may have more room than before."""
        ...

    def retire(self, connection: "Http2Connection") -> None:
        """`connection` takes no call any more, but still carries some."""
        ...

    def gone(self, connection: "Http2Connection") -> None:
        """`connection` is closed."""
        ...


class Http2Connection(asyncio.Protocol):
    """The asyncio protocol of one connection, plaintext or TLS alike; a `Carrier`."""

    def __init__(self, owner: _Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.streams_max = 0  # nothing is sent before the provider has said what it allows
        self.streams_open = 0  # as the engine counts: until a reset has left
        self._owner = owner
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._engine = Engine()
        self._calls: dict[int, Call] = {}
        self._flush_due = False
        self._write_paused = False
        self._retired = False
        self._cancels = float(CANCELS_BURST)  # how many resets may leave now
        self._cancels_at_s = loop.time()
        self._owed: dict[int, None] = {}  # streams to reset once the ration allows
        self._owed_timer = Alarm(self._pay_owed)
        self._heard_s = loop.time()
        self._pinged_s = 0.0
        self._life_timer = Alarm(self._live)

    @property
    def room(self) -> int:
        """How many calls it would take now."""
        if self._retired or self._transport is None or self._transport.is_closing():
            return 0
        return self.streams_max - self.streams_open

    def start(self, call: Call) -> bool:
        """Send the request of `call`; False when the connection takes none. Needs `room`."""
        request = call.request
        if request is None or self.room <= 0:
            return False
        try:
            call.stream_id = stream_id = self._engine.request(request.http2(), request.body)
        except EngineError:  # no stream ids are left, or a GOAWAY came
            self._retire()
            return False
        self.streams_open += 1
        if self.streams_open == 1:
            self._watch()
        self._calls[stream_id] = call
        call.sent(self)
        self._schedule()
        return True

    def close(self) -> None:
        """Close; calls on it break."""
        if self._transport is not None:
            self._transport.abort()

    # --- Carrier ---------------------------------------------------------------------------------

    def cancel(self, call: Call) -> None:
        """Reset the stream in this turn, or stall it until the ration allows the reset."""
        stream_id = call.stream_id
        if self._calls.get(stream_id) is not call:
            return
        del self._calls[stream_id]
        self._earn(self._loop.time())
        if self._cancels >= 1:
            self._reset(stream_id)
            return
        self._window(stream_id, 0)
        self._owed[stream_id] = None
        self._owner.wheel.set(self._owed_timer, self._loop.time() + 1 / CANCELS_PER_S)

    def pause(self, call: Call) -> None:
        """Grant the stream nothing more."""
        if self._calls.get(call.stream_id) is call:
            self._window(call.stream_id, 0)

    def resume(self, call: Call) -> None:
        """Grant the stream its window again."""
        if self._calls.get(call.stream_id) is call:
            self._window(call.stream_id, STREAM_WINDOW_BYTES)

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the preface."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.wheel.set(self._life_timer, self._heard_s + IDLE_S)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand what came to the calls; what is to be said goes out at the end of the turn."""
        self._heard_s = now_s = self._loop.time()
        try:
            self._engine.receive(data)
        except EngineError:
            self.close()
            return
        self._handle(self._engine.events(), now_s)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def pause_writing(self) -> None:
        """The socket is full: leave everything in the engine's queues."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._write_paused = False
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """Break every call that is on it."""
        self._transport = None
        for timer in (self._life_timer, self._owed_timer):
            self._owner.wheel.clear(timer)
            timer.end()
        calls = list(self._calls.values())
        self._calls.clear()
        self._owed.clear()
        why = "connection closed" if exc is None else type(exc).__name__
        for call in calls:
            call.broke(why)
        self._owner.gone(self)  # last: it may be the pool's last connection

    # --- Events ----------------------------------------------------------------------------------

    def _handle(self, events: list[Event], now_s: float) -> None:
        calls = self._calls
        for event in events:
            if isinstance(event, DataReceived):
                call = calls.get(event.stream_id)
                if call is None:
                    continue
                if data := event.data:
                    call.heard_s = now_s
                    try:
                        call.take(data)
                    except Exception:  # noqa: BLE001 - one sink's bug is not the others' end
                        call.crashed()
                if event.end_stream:
                    self._finish(event.stream_id)
            elif isinstance(event, StreamClosed):
                self._closed(event)
            elif isinstance(event, (ResponseReceived, TrailersReceived)):
                self._headers(event, now_s)
            else:
                self._control(event)

    def _headers(self, event: ResponseReceived | TrailersReceived, now_s: float) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        call.heard_s = now_s
        if isinstance(event, TrailersReceived):
            self._finish(event.stream_id)
            return
        status, headers = _decoded(event.headers)
        call.head(status, headers)
        if event.end_stream:
            self._finish(event.stream_id)

    def _control(self, event: Event) -> None:
        """What is rare."""
        if isinstance(event, SettingsReceived):
            is_first = not self.streams_max
            self.streams_max = min(self._engine.streams_max, STREAMS_MAX)
            if is_first:
                self._owner.ready(self)
            self._owner.roomier()
        elif isinstance(event, GoAwayReceived):
            self._retire()
        elif isinstance(event, ConnectionClosed):
            self.close()

    def _finish(self, stream_id: int) -> None:
        """The answer is whole."""
        call = self._calls.pop(stream_id, None)
        if call is None:
            return  # cancelled by its sink
        if self._engine.unsent(stream_id):
            self._reset(stream_id)  # answered before the request had left: the rest has no use
        call.end()

    def _closed(self, event: StreamClosed) -> None:
        self.streams_open -= 1
        self._owed.pop(event.stream_id, None)
        call = self._calls.pop(event.stream_id, None)
        if call is not None:
            self._broken(call, event.error_code)
        if self._retired and not self.streams_open:
            self.close()
        self._owner.roomier()

    def _broken(self, call: Call, error_code: int) -> None:
        if error_code == REFUSED_STREAM:
            call.refused()
        elif error_code == HTTP_1_1_REQUIRED:
            call.broke("it wants HTTP/1.1: say `http2: false` in its document")
        else:
            call.broke(f"stream ended with HTTP/2 error {error_code}")

    def _retire(self) -> None:
        """Take no call any more; end with the last one that is on it."""
        if self._retired:
            return
        self._retired = True
        self._owner.retire(self)
        if not self.streams_open:
            self.close()

    # --- Resets ----------------------------------------------------------------------------------

    def _earn(self, now_s: float) -> None:
        earned = (now_s - self._cancels_at_s) * CANCELS_PER_S
        self._cancels = min(self._cancels + earned, float(CANCELS_BURST))
        self._cancels_at_s = now_s

    def _reset(self, stream_id: int) -> None:
        self._cancels -= 1
        try:
            self._engine.reset(stream_id, CANCEL)
        except EngineError:
            return  # gone in this turn
        self._schedule()

    def _pay_owed(self, now_s: float) -> None:
        """Reset streams that were cancelled when the ration was used up."""
        self._earn(now_s)
        while self._owed and self._cancels >= 1:
            stream_id = next(iter(self._owed))
            del self._owed[stream_id]
            self._reset(stream_id)
        if self._owed:
            self._owner.wheel.set(self._owed_timer, now_s + 1 / CANCELS_PER_S)

    def _window(self, stream_id: int, window_bytes: int) -> None:
        try:
            self._engine.set_window(stream_id, window_bytes)
        except EngineError:
            return  # gone in this turn
        self._schedule()

    # --- Turn and life ---------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what the turn has queued; taking it may end streams."""
        self._flush_due = False
        transport = self._transport
        if transport is None or self._write_paused or transport.is_closing():
            return
        engine = self._engine
        try:
            data = engine.take()
        except EngineError:
            self.close()
            return
        if data:
            transport.write(data)
            if events := engine.events():
                self._handle(events, self._loop.time())
        elif engine.is_over:
            self.close()

    def _watch(self) -> None:
        """The connection is used again: after a long silence that is asked at once."""
        ping_after_s = self._owner.ping_after_s
        if ping_after_s and self._pinged_s <= self._heard_s:  # else a ping waits for its answer
            due_s = self._heard_s + min(ping_after_s, IDLE_S)
            self._owner.wheel.set(self._life_timer, due_s)

    def _live(self, now_s: float) -> None:
        """Ask whether a silent provider is there; close what nobody has used for long."""
        if self._pinged_s > self._heard_s:
            self.close()  # it did not answer in time
            return
        owner, wheel = self._owner, self._owner.wheel
        ping_after_s = owner.ping_after_s if self.streams_open else 0.0
        due_s = self._heard_s + (ping_after_s or IDLE_S)
        if now_s < due_s:
            wheel.set(self._life_timer, due_s)
        elif not self.streams_open:
            self.close()
        elif ping_after_s:
            self._pinged_s = now_s
            self._engine.ping()
            self._schedule()
            wheel.set(self._life_timer, now_s + owner.ping_timeout_s)
        else:
            wheel.set(self._life_timer, now_s + IDLE_S)


def _decoded(headers: tuple[Header, ...]) -> tuple[int, dict[str, str]]:
    """Status and headers as `Call.head` takes them; names come in lower case by RFC 9113, 8.2."""
    status, fields = 0, dict[str, str]()
    for name, value in headers:
        if name == b":status":
            status = int(value)
            continue
        key, text = name.decode("latin-1"), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return status, fields
