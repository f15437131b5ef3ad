"""The HTTP/2 engine's client face: bytes in, events out, and back. The only file here with ngh2.

Sans I/O. What it works around in ngh2 0.3 is said where it does; the server's face is
wire/engine.py.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from ngh2 import (
    Configuration,
    ConnectionClosed,
    DataReceived,
    ErrorCode,
    Event,
    GoAwayReceived,
    NeverIndexedHeader,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)
from ngh2 import Connection as _Session
from ngh2 import NGH2Error as EngineError

from .limits import CONNECTION_WINDOW_BYTES, HEAD_BYTES_MAX, HEADERS_MAX, STREAM_WINDOW_BYTES

__all__ = [
    "CANCEL",
    "HTTP_1_1_REQUIRED",
    "REFUSED_STREAM",
    "ConnectionClosed",
    "DataReceived",
    "Engine",
    "EngineError",
    "Event",
    "GoAwayReceived",
    "Header",
    "ResponseReceived",
    "SettingsReceived",
    "StreamClosed",
    "TrailersReceived",
    "secret_header",
]

CANCEL: Final = int(ErrorCode.CANCEL)
REFUSED_STREAM: Final = int(ErrorCode.REFUSED_STREAM)
HTTP_1_1_REQUIRED: Final = int(ErrorCode.HTTP_1_1_REQUIRED)

Header: TypeAlias = tuple[bytes, bytes] | NeverIndexedHeader

_UNLIMITED = 2**32 - 1


def secret_header(name: bytes, value: bytes) -> Header:
    """A header that no hop keeps in a compression table (RFC 7541, section 7.1.3)."""
    return NeverIndexedHeader(name, value)


class Engine:
    """Client side of one HTTP/2 connection.

    The attributes are bound methods of the session, not wrappers: each is used per frame.

    * `receive(data)`: takes bytes from the peer; EngineError when the connection is past saving.
    * `events()`: what they meant, and what `take` ended, each once, in order.
    * `take()`: all bytes to write now.
    * `reset(stream_id, error_code)`: queue a RST_STREAM.
    """

    __slots__ = ("_session", "events", "receive", "reset", "take")

    def __init__(self) -> None:
        session = _Session(
            Role.CLIENT,
            Configuration(
                max_inbound_header_list_size=HEAD_BYTES_MAX, max_inbound_header_count=HEADERS_MAX
            ),
        )
        session.initiate_connection(
            {
                Setting.ENABLE_PUSH: 0,
                Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                Setting.MAX_HEADER_LIST_SIZE: HEAD_BYTES_MAX,
            }
        )
        session.set_local_window_size(CONNECTION_WINDOW_BYTES)
        self._session = session
        self.receive: Callable[[bytes], None] = session.receive_data
        self.events: Callable[[], list[Event]] = session.events
        self.take: Callable[[], bytes] = session.data_to_send
        self.reset: Callable[[int, int], None] = session.reset_stream

    def request(self, headers: tuple[Header, ...], body: bytes) -> int:
        """Queue a request; returns its stream. EngineError when the connection takes none.

        INVARIANT: below `streams_max`: what ngh2 0.3 queues above it and is then reset leaks.
        """
        session = self._session
        stream_id = session.send_request(headers, end_stream=not body)
        if body:
            session.send_data(stream_id, body, end_stream=True)
        return stream_id

    @property
    def takes_requests(self) -> bool:
        """Whether the connection has stream ids left and no GOAWAY."""
        return self._session.can_send_request

    @property
    def streams_max(self) -> int:
        """How many streams the peer allows at a time."""
        return self._session.remote_settings.get(Setting.MAX_CONCURRENT_STREAMS, _UNLIMITED)

    @property
    def is_over(self) -> bool:
        """Whether nothing will be read or written any more."""
        return not self._session.want_read and not self._session.want_write

    def unsent(self, stream_id: int) -> int:
        """Bytes of a request's body that have not been taken."""
        return self._session.queued_body_size(stream_id)

    def set_window(self, stream_id: int, window_bytes: int) -> None:
        """Change how much the peer may have on its way to a stream; 0 stalls it.

        What was granted before still arrives. Credit is automatic otherwise: with manual credit
        ngh2 0.3 loses connection window for ever when a reset cuts a DATA frame in two.
        """
        self._session.set_local_window_size(window_bytes, stream_id=stream_id)

    def ping(self) -> None:
        """Queue a PING."""
        self._session.ping(b"harmost.")
