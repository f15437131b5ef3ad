"""Who hears a mission, in order: events as they happen, tokens as bytes that are ready to be sent.

wire      both go straight to the call's HTTP/2 stream; it says when it is full and when there is room
grpc.aio  both wait in a bounded buffer that one task of the call empties
a whole   nobody listens while it runs: `Chat` answers with the end
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import grpc

from harmost.core.errors import HarmostError
from harmost.services import wire
from harmost.services.router.convert import stream_response
from harmost.services.router.events import MissionEvent

if TYPE_CHECKING:  # generic in the type stubs, not in grpcio itself
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

__all__ = ["Listener", "Nobody", "listening"]

# What a call may have unsent before its provider is asked to wait: some thousand tokens.
BUFFER_BYTES_MAX = 64 * 1024
_PREFIX = Struct(">BI")  # of each message: compressed or not, and its size


class Listener(Protocol):
    """Hears events by `tell`, tokens by `relay`; neither waits."""

    sequence: int  # of the next message
    keeps_text: bool  # needs the answer's text at the end

    def tell(self, event: MissionEvent) -> None:
        """Pass `event` on as the next message."""
        ...

    def relay(self, frames: bytes) -> bool:
        """Pass whole messages on, each with its gRPC prefix; False asks to wait for room."""
        ...

    def on_room(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` called when there is room again after `relay` returned False."""
        ...

    def on_gone(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` called in the turn in which the caller is gone, where that is known."""
        ...


@asynccontextmanager
async def listening(context: Context) -> AsyncGenerator[Listener]:
    """The caller of a streaming RPC. All that was said before an error is sent before it."""
    if isinstance(context, wire.Context):
        yield _WireListener(context.stream)
        return
    listener = _BufferedListener(context)
    error: HarmostError | None = None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.write(), name="router.listener")
        try:
            yield listener
        except HarmostError as raised:  # a task group would wrap it
            error = raised
        listener.end()
    if error is not None:
        try:
            raise error
        finally:
            error = None  # this frame is in its traceback


class Nobody:
    """Hears nothing; the answer is taken whole at the end."""

    def __init__(self) -> None:
        self.sequence = 0
        self.keeps_text = True

    def tell(self, event: MissionEvent) -> None:
        """Nothing is told."""

    def relay(self, frames: bytes) -> bool:
        """Always room."""
        return True

    def on_room(self, callback: Callable[[], object] | None) -> None:
        """There always is."""

    def on_gone(self, callback: Callable[[], object] | None) -> None:
        """Its task is cancelled."""


class _WireListener:
    """The stream itself: `relay` is its own method, so a token passes through no call of ours."""

    def __init__(self, stream: wire.Stream) -> None:
        self.sequence = 0
        self.keeps_text = False
        self._stream = stream
        self.relay = stream.send_framed

    def tell(self, event: MissionEvent) -> None:
        self._stream.send(stream_response(event, self.sequence))
        self.sequence += 1

    def on_room(self, callback: Callable[[], object] | None) -> None:
        self._stream.on_drain = callback

    def on_gone(self, callback: Callable[[], object] | None) -> None:
        self._stream.on_cancel = callback


class _BufferedListener:
    """For grpc.aio, which has no stream to give bytes to: `write` empties what the others fill."""

    def __init__(self, context: Context) -> None:
        self.sequence = 0
        self.keeps_text = False
        self._context = context
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._on_room: Callable[[], object] | None = None
        self._ended = False

    def tell(self, event: MissionEvent) -> None:
        message = stream_response(event, self.sequence)
        self.sequence += 1
        self.relay(_PREFIX.pack(0, len(message)) + message)

    def relay(self, frames: bytes) -> bool:
        self._waiting.append(frames)
        self._waiting_bytes += len(frames)
        self._changed.set()
        return self._waiting_bytes <= BUFFER_BYTES_MAX

    def on_room(self, callback: Callable[[], object] | None) -> None:
        self._on_room = callback

    def on_gone(self, callback: Callable[[], object] | None) -> None:
        """Its task is cancelled."""

    def end(self) -> None:
        """Nothing more comes; `write` returns once all is written."""
        self._ended = True
        self._changed.set()

    async def write(self) -> None:
        """Write until the end; waits wherever the caller does not read."""
        while self._waiting or not self._ended:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting:
                frames = self._waiting.popleft()
                for message in _messages(frames):
                    await self._context.write(message)
                full = self._waiting_bytes > BUFFER_BYTES_MAX
                self._waiting_bytes -= len(frames)
                if full and self._waiting_bytes <= BUFFER_BYTES_MAX and self._on_room is not None:
                    self._on_room()


def _messages(frames: bytes) -> Iterator[bytes]:
    """The messages in `frames`, without their prefixes."""
    offset = 0
    while offset < len(frames):
        _, size = _PREFIX.unpack_from(frames, offset)
        offset += _PREFIX.size
        yield frames[offset : offset + size]
        offset += size
