"""One HTTP/1.1 connection: one call at a time, then idle until the next."""

import asyncio
from typing import Protocol, cast

from .call import Call
from .h1_parser import ResponseParser
from .limits import IDLE_S
from .wheel import Timer, Wheel

__all__ = ["Http1Connection"]


class _Owner(Protocol):
    wheel: Wheel

    def idle(self, connection: "Http1Connection") -> None:
        """`connection` can take a call."""
        ...

    def gone(self, connection: "Http1Connection") -> None:
        """`connection` takes no call any more."""
        ...


class Http1Connection(asyncio.Protocol, Timer):
    """The asyncio protocol of one connection, plaintext or TLS alike; a `Carrier`.

    As a timer it expires when nobody has used it for long.
    """

    def __init__(self, owner: _Owner, loop: asyncio.AbstractEventLoop) -> None:
        Timer.__init__(self)
        self._owner = owner
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._call: Call | None = None
        self._parser = ResponseParser()
        self._has_head = False
        self._calls = 0
        self._paused = False

    def start(self, call: Call) -> bool:
        """Send the request of `call`; False when the connection is closing."""
        transport, request = self._transport, call.request
        if transport is None or transport.is_closing() or request is None:
            return False
        self._owner.wheel.clear(self)
        self._call = call
        self._calls += 1
        self._parser = ResponseParser()
        self._has_head = False
        call.sent(self)
        transport.write(request.http1() + request.body)
        return True

    def close(self) -> None:
        """Close; a call on it breaks."""
        if self._transport is not None:
            self._transport.abort()

    # --- Carrier ---------------------------------------------------------------------------------

    def cancel(self, call: Call) -> None:
        """HTTP/1.1 can stop an answer only by closing the connection."""
        if self._call is call:
            self._call = None
            self._discard()

    def pause(self, call: Call) -> None:
        """Stop reading the socket."""
        if self._call is call and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self, call: Call) -> None:
        """Read on."""
        if self._call is call:
            self._unpause()

    # --- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand what came to the call."""
        call = self._call
        if call is None:  # nobody asked
            self._discard()
            return
        call.heard_s = self._loop.time()
        parser = self._parser
        body = parser.feed(data)
        if not self._has_head and parser.status:
            self._has_head = True
            call.head(parser.status, parser.headers)
        if body:
            try:
                call.take(body)
            except Exception:  # noqa: BLE001 - a sink's bug is not the loop's
                call.crashed()
        if parser.ended:
            self._finish(call)
        if parser.error and self._call is call:
            self._break(parser.error)

    def eof_received(self) -> None:
        """The provider sends no more: a body without a stated length ends so."""
        call = self._call
        if call is None:
            return
        self._parser.finish()
        if self._parser.ended:
            self._finish(call)

    def connection_lost(self, exc: Exception | None) -> None:
        """Break the call that is on it."""
        self._transport = None
        self._owner.wheel.clear(self)
        self._break("connection closed" if exc is None else type(exc).__name__)

    # --- Ends ------------------------------------------------------------------------------------

    def _finish(self, call: Call) -> None:
        """The answer is whole; the connection is free before the call's owner hears of it."""
        if self._call is not call:
            return  # cancelled by its sink
        self._call = None
        transport = self._transport
        # A response may come before the request has left: what is left of it has no use.
        if not self._parser.reusable or transport is None or transport.get_write_buffer_size():
            self._discard()
        else:
            self._unpause()
            self._owner.wheel.set(self, self._loop.time() + IDLE_S)
            self._owner.idle(self)
        call.end()

    def _break(self, why: str) -> None:
        call, self._call = self._call, None
        self.close()
        if call is not None:
            self._tell(call, why)
        self._owner.gone(self)  # last: it may be the pool's last connection

    def _tell(self, call: Call, why: str) -> None:
        request = call.request
        unheard = self._calls > 1 and not self._has_head
        # A kept connection may be closed just as it is used again. Only what changes nothing is
        # sent twice (RFC 9110, section 9.2.2).
        if unheard and request is not None and request.method == "GET":
            call.refused()
        else:
            call.broke(why)

    def _discard(self) -> None:
        self._owner.gone(self)
        self.close()

    def _unpause(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def expired(self, now_s: float) -> None:
        """It has been idle for long."""
        if self._call is None:
            self._discard()
