"""The HTTP/2 engine's face: bytes in, events out, and back. The only file that imports ngh2.

Sans I/O: it meets no socket, clock or loop. To put another engine under the server, write this
file again: the class `Engine`, the event types re-exported here and `EngineError` are all that the
rest uses (docs/adr/0004). What it works around in ngh2 0.3 is said where it does.
"""

from collections.abc import Callable
from typing import Final

from ngh2 import (
    Configuration,
    ConnectionClosed,
    DataReceived,
    DenialOfServiceError,
    ErrorCode,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from ngh2 import Connection as _Session
from ngh2 import NGH2Error as EngineError

from .limits import Limits
from .metadata import Header

__all__ = [
    "CANCEL",
    "ENHANCE_YOUR_CALM",
    "NO_ERROR",
    "REFUSED_STREAM",
    "ConnectionClosed",
    "DataReceived",
    "Engine",
    "EngineError",
    "Event",
    "GoAwayReceived",
    "PingAcknowledged",
    "PingReceived",
    "RequestReceived",
    "SettingsReceived",
    "StreamClosed",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
]

NO_ERROR: Final = int(ErrorCode.NO_ERROR)
PROTOCOL_ERROR: Final = int(ErrorCode.PROTOCOL_ERROR)
INTERNAL_ERROR: Final = int(ErrorCode.INTERNAL_ERROR)
REFUSED_STREAM: Final = int(ErrorCode.REFUSED_STREAM)
CANCEL: Final = int(ErrorCode.CANCEL)
ENHANCE_YOUR_CALM: Final = int(ErrorCode.ENHANCE_YOUR_CALM)

_GOAWAY_HEAD = b"\0\0\x08\x07\0\0\0\0\0"  # RFC 9113 section 6.8: length 8, type 7, stream 0


class Engine:
    """Server side of one HTTP/2 connection.

    The attributes are bound methods of the session, not wrappers: a message crosses this face
    four times, and a wrapper costs a tenth of what the message may cost.

    * `receive(data)`: takes bytes from the peer; EngineError when the connection is past saving.
    * `events()`: what they meant, and what `take` ended, each once, in order.
    * `take()`: all bytes to write now.
    * `respond(stream_id, headers, end_stream=False)`, `data(stream_id, chunk)`,
      `trailers(stream_id, headers)`: queue an answer; EngineError when the stream is gone.
    * `reset(stream_id, error_code)`: queue a RST_STREAM.
    * `queued(stream_id=None)`: body bytes not yet taken, of a stream or of all.
    """

    __slots__ = (
        "_session",
        "data",
        "events",
        "last_stream_id",
        "queued",
        "receive",
        "reset",
        "respond",
        "take",
        "trailers",
    )

    def __init__(self, limits: Limits) -> None:
        session = _Session(Role.SERVER, _configuration(limits))
        session.initiate_connection(
            {
                Setting.MAX_CONCURRENT_STREAMS: limits.streams_max,
                Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes_max,
            }
        )
        session.set_local_window_size(limits.connection_window_bytes)
        self._session = session
        self.last_stream_id = 0
        self.receive: Callable[[bytes | memoryview], None] = session.receive_data
        self.events: Callable[[], list[Event]] = session.events
        self.take: Callable[[], bytes] = session.data_to_send
        self.respond = session.send_response
        self.data: Callable[[int, bytes], None] = session.send_data
        self.trailers: Callable[[int, tuple[Header, ...]], None] = session.send_trailers
        self.reset: Callable[[int, int], None] = session.reset_stream
        self.queued: Callable[..., int] = session.queued_body_size

    def set_window(self, stream_id: int, window_bytes: int) -> None:
        """Change how much the peer may have on its way to a stream; 0 stalls it.

        What was granted before still arrives. Credit is automatic otherwise: with manual credit
        ngh2 0.3 loses connection window for ever when a reset cuts a DATA frame in two.
        """
        self._session.set_local_window_size(window_bytes, stream_id=stream_id)

    def is_flushed(self, stream_id: int) -> bool:
        """Whether an ended answer has left `take`: its body has, and no window held it back."""
        session = self._session
        try:
            return (
                session.queued_body_size(stream_id) == 0
                and session.remote_window_size > 0
                and session.stream_remote_window_size(stream_id) > 0
            )
        except EngineError:
            return True  # the stream or the connection is ending by itself

    def ping(self, opaque_data: bytes) -> None:
        """Queue a PING with eight bytes that its acknowledgement repeats."""
        self._session.ping(opaque_data)

    def notice(self) -> None:
        """Queue the first GOAWAY of a graceful end: streams are still taken (RFC 9113, 6.8)."""
        self._session.send_shutdown_notice()

    def goaway(self) -> None:
        """Queue the second GOAWAY: streams that began before it may end, later ones are ignored."""
        self._session.send_goaway(NO_ERROR)

    def terminate(self, error_code: int) -> None:
        """Queue a GOAWAY after which nothing else is taken or sent."""
        self._session.terminate_connection(error_code)

    def farewell(self, error: EngineError) -> bytes:
        """The GOAWAY frame to send after `receive` failed.

        ngh2 0.3 drops its session then and can write nothing any more, although RFC 9113,
        section 5.4.1, wants a GOAWAY; an oversize header list is among the causes.
        """
        flood = isinstance(error, DenialOfServiceError)
        code = ENHANCE_YOUR_CALM if flood else PROTOCOL_ERROR
        return _GOAWAY_HEAD + self.last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big")


def _configuration(limits: Limits) -> Configuration:
    return Configuration(
        stream_reset_rate_limit=limits.reset_rate,
        glitch_rate_limit=limits.glitch_rate,
        max_inbound_header_list_size=limits.header_list_bytes_max,
        max_inbound_header_count=limits.headers_max,
    )
