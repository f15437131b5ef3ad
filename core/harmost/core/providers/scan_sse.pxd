# Splits an event stream into events, for other compiled modules. Call order: open, then any number
# of feeds, after each of them `sse_next` until it says something else than SSE_EVENT; close.

from harmost.core.providers.buffer cimport Buffer

cdef enum:
    SSE_MORE = 0       # the fed bytes are used up
    SSE_EVENT = 1      # an event is at `event`, until the next call
    SSE_OVERFLOW = 2   # an event is larger than `bytes_max`: nothing more comes
    SSE_NO_MEMORY = 3

cdef struct Sse:
    const char* event      # data of the event that was found last
    Py_ssize_t event_size
    # The fed bytes that are not read yet; borrowed, never past the `sse_next` that uses them up.
    const char* at
    const char* end
    const char* lf         # the next LF at or after `at`, `end` if there is none, NULL: look for it
    # The event that is not over yet.
    const char* sole       # its only data line, as long as that lies in the fed bytes; else NULL
    Py_ssize_t sole_size
    Buffer data            # its data lines, joined
    Buffer tail            # its line that is not over yet
    Py_ssize_t data_lines
    Py_ssize_t held_bytes  # of its lines that are over
    Py_ssize_t bytes_max
    int bom_bytes          # seen of a byte order mark, or BOM_OVER
    bint after_cr
    bint overflowed
    bint spent             # `event` was handed out: `data` may be used again

cdef void sse_open(Sse* sse, Py_ssize_t bytes_max) noexcept nogil
cdef void sse_close(Sse* sse) noexcept nogil
cdef void sse_feed(Sse* sse, const char* data, Py_ssize_t size) noexcept nogil
cdef int sse_next(Sse* sse) noexcept nogil

cdef class SseScanner:
    cdef Sse _sse
