"""Every bound that the server enforces, in one immutable value. It enforces nothing itself.

Worst case of memory, by these defaults: one connection holds `connection_held_bytes_max` of unread
requests, `connection_unsent_bytes_max` of unsent answers and, above both, one message per stream
that was already being written when the bound was met.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["Limits"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one server; `None` of a time means never, times are seconds."""

    # Messages, before compression on the way out, after decompression on the way in.
    receive_message_bytes_max: int = 4 * MIB
    send_message_bytes_max: int = 64 * MIB

    # What one server and one connection carry at a time.
    connections_max: int = 10_000
    streams_max: int = 4_096

    # One header list; RFC 9113 section 6.5.2 counts 32 bytes of overhead a field.
    header_list_bytes_max: int = 16 * KIB
    headers_max: int = 128

    # Receiving: an unread stream is stalled at one window, and can have another one on its way.
    stream_window_bytes: int = 64 * KIB
    connection_window_bytes: int = 4 * MIB
    connection_held_bytes_max: int = 32 * MIB

    # Sending: a writer waits when its stream, or its whole connection, has this much unsent.
    stream_unsent_bytes_max: int = 16 * KIB
    connection_unsent_bytes_max: int = 2 * MIB
    socket_unsent_bytes_max: int = 256 * KIB

    # Floods, as (burst, per second). A connection that carries `streams_max` calls of which 10 % are
    # cancelled every second sends 410 resets a second: that lives. A rapid-reset attack sends 10^5.
    reset_rate: tuple[int, int] = (4_096, 512)
    glitch_rate: tuple[int, int] = (10_000, 330)
    ping_rate: tuple[int, int] = (100, 10)

    # The life of a connection.
    handshake_s: float = 10.0
    keepalive_s: float | None = 60.0
    keepalive_timeout_s: float = 20.0
    idle_s: float | None = 3_600.0
    age_max_s: float | None = None
    age_jitter: float = 0.1  # share of age_max_s, so that connections do not all leave at once
    age_grace_s: float | None = None
    certificate_check_s: float = 10.0

    @property
    def tick_s(self) -> float:
        """How often connections look at the clock: a quarter of the shortest limit, at most 1 s."""
        times = [self.handshake_s, self.keepalive_s, self.keepalive_timeout_s, self.idle_s]
        times += [self.age_max_s, self.age_grace_s, self.certificate_check_s]
        return max(0.01, min(1.0, *(t / 4 for t in times if t is not None)))

    def with_options(self, options: Iterable[tuple[str, object]]) -> "Limits":
        """Apply channel options by their gRPC names.

        Raises ValueError for an option that this transport does not know, TypeError for a value
        that is no integer: a limit that is silently not enforced is worse than no start.
        Source: grpc/impl/channel_arg_names.h.
        """
        changes: dict[str, object] = {}
        for name, value in options:
            if name in _IGNORED:
                continue
            if name not in _OPTIONS:
                raise ValueError(f"the wire server has no option `{name}`")
            if not isinstance(value, int):
                raise TypeError(f"option `{name}` must be an integer, not `{value}`")
            field, scale = _OPTIONS[name]
            changes[field] = _scaled(value, scale)
        return replace(self, **changes)  # type: ignore[arg-type]  # fields are named in _OPTIONS


_IGNORED = frozenset({"grpc.so_reuseport"})  # read by the server, not a limit
_UNLIMITED = 2**31 - 1
_MILLISECONDS = 0.001
_OPTIONS: dict[str, tuple[str, float]] = {
    "grpc.max_receive_message_length": ("receive_message_bytes_max", 1),
    "grpc.max_send_message_length": ("send_message_bytes_max", 1),
    "grpc.max_concurrent_streams": ("streams_max", 1),
    "grpc.max_metadata_size": ("header_list_bytes_max", 1),
    "grpc.http2.lookahead_bytes": ("stream_window_bytes", 1),
    "grpc.keepalive_time_ms": ("keepalive_s", _MILLISECONDS),
    "grpc.keepalive_timeout_ms": ("keepalive_timeout_s", _MILLISECONDS),
    "grpc.max_connection_idle_ms": ("idle_s", _MILLISECONDS),
    "grpc.max_connection_age_ms": ("age_max_s", _MILLISECONDS),
    "grpc.max_connection_age_grace_ms": ("age_grace_s", _MILLISECONDS),
    "grpc.server_handshake_timeout_ms": ("handshake_s", _MILLISECONDS),
}


def _scaled(value: int, scale: float) -> float | int | None:
    """A count as it is, -1 as no bound; milliseconds as seconds, INT_MAX and -1 as never."""
    if scale == 1:
        return value if value >= 0 else _UNLIMITED
    return None if value < 0 or value >= _UNLIMITED else value * scale
