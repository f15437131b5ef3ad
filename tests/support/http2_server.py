"""A scripted HTTP/2 server on ngh2: a test says what happens to each request."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from ngh2 import (
    Configuration,
    Connection,
    DataReceived,
    NGH2Error,
    PingReceived,
    RequestReceived,
    Role,
    Setting,
    StreamClosed,
)

STREAM = ((b":status", b"200"), (b"content-type", b"text/event-stream"))
ONE = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

Handler = Callable[["Peer", int], None]


class Peer(asyncio.Protocol):
    """One connection of the server."""

    def __init__(self, server: "Http2Server") -> None:
        self.server = server
        self.headers: dict[int, tuple[tuple[bytes, bytes], ...]] = {}
        self.bodies: dict[int, bytes] = {}
        self.closed: dict[int, int] = {}  # stream: error code
        self.streams_most = 0
        self.pings = 0
        self.is_lost = False
        self._open: set[int] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.peers.append(self)
        self.session = Connection(
            Role.SERVER, Configuration(stream_reset_rate_limit=self.server.resets)
        )
        self.session.initiate_connection(self.server.settings)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.server.wake()

    def data_received(self, data: bytes) -> None:
        try:
            self.session.receive_data(data)
        except NGH2Error:
            self.transport.close()
            return
        for event in self.session.events():
            if isinstance(event, RequestReceived):
                self.headers[event.stream_id] = tuple(event.headers)
                self.bodies[event.stream_id] = b""
                self._open.add(event.stream_id)
                self.streams_most = max(self.streams_most, len(self._open))
                if event.end_stream:
                    self.server.handler(self, event.stream_id)
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                if event.end_stream:
                    self.server.handler(self, event.stream_id)
            elif isinstance(event, StreamClosed):
                self.closed[event.stream_id] = event.error_code
                self._open.discard(event.stream_id)
            elif isinstance(event, PingReceived):
                self.pings += 1
        self.flush()
        self.server.wake()

    def answer(self, stream_id: int, *pieces: bytes, end: bool = True) -> None:
        """Send an event stream."""
        self.session.send_response(stream_id, STREAM)
        for piece in pieces:
            self.session.send_data(stream_id, piece)
        if end:
            self.session.end_stream(stream_id)
        self.flush()

    def send(self, stream_id: int, piece: bytes, *, end: bool = False) -> None:
        """Send more."""
        with suppress(NGH2Error):
            self.session.send_data(stream_id, piece, end_stream=end)
        self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if data := self.session.data_to_send():
            self.transport.write(data)
        for event in self.session.events():
            if isinstance(event, StreamClosed):
                self.closed[event.stream_id] = event.error_code
                self._open.discard(event.stream_id)


class Http2Server:
    """Its connections, and how they behave."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.peers: list[Peer] = []
        self.settings: dict[int, int] = {int(Setting.MAX_CONCURRENT_STREAMS): 100}
        self.resets = (1_000, 33)
        self.port = 0
        self._moved = asyncio.Event()

    def wake(self) -> None:
        """Something happened."""
        self._moved.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once `condition` holds; looked at whenever something happens."""
        async with asyncio.timeout(10):
            while not condition():
                self._moved.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), 0.02)

    @property
    def requests(self) -> int:
        """How many came, on all connections."""
        return sum(len(peer.headers) for peer in self.peers)

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Http2Server"]:
        """Listen on a free port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for peer in self.peers:
                peer.transport.abort()
            await asyncio.sleep(0)


def whole(peer: Peer, stream_id: int) -> None:
    """The usual answer."""
    peer.answer(stream_id, ONE, END)
