"""Every bound of the upstream client that no `ProviderSpec` sets, each with its reason."""

__all__ = [
    "CANCELS_BURST",
    "CANCELS_PER_S",
    "CHUNK_LINE_BYTES_MAX",
    "CONNECTION_WINDOW_BYTES",
    "DRAIN_BYTES_MAX",
    "DRAIN_S",
    "HEADERS_MAX",
    "HEAD_BYTES_MAX",
    "IDLE_S",
    "LOOKUPS_MAX",
    "REFUSALS_MAX",
    "STREAMS_MAX",
    "STREAM_WINDOW_BYTES",
    "TICK_S",
    "WAITING_MAX",
]

# A response's header list. Vendors send 2 to 4 KB; nginx and Envoy allow 60 KB.
HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 256
# A chunk's size is 16 hex digits at most; the rest of its line is extensions, which nobody sends.
CHUNK_LINE_BYTES_MAX = 1024

# HTTP/2. One stream that is stalled holds at most its window; the connection's window is large, so
# that no stalled stream stalls another one.
STREAM_WINDOW_BYTES = 64 * 1024
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
# Streams on one connection, where the provider allows so many: what one broken connection costs.
STREAMS_MAX = 512
# Servers end connections that reset too much (nghttp2: 1000, then 33 a second): stay well below.
CANCELS_BURST = 400
CANCELS_PER_S = 25.0
# A request that a provider refused unseen is sent again this often.
REFUSALS_MAX = 2

# Calls to one provider that wait for a connection: above it they fail at once.
WAITING_MAX = 4_096
# Longer than a vendor keeps an idle connection is useless, shorter costs handshakes.
IDLE_S = 30.0
# Lookups in one provider's books at a time: when thousands of callers vanish at once, each lookup
# still gets its answer in time, if later. Their connections are their own: the books are asked just
# when a provider is at its worst, and must not wait for its answers.
LOOKUPS_MAX = 64
# After an answer's last event the end of its body is near: waiting for it saves the connection.
DRAIN_S = 0.05
DRAIN_BYTES_MAX = 64 * 1024
# Every timeout is rounded up to this: one timer for all calls.
TICK_S = 0.01
