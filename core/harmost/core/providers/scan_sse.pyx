"""Splits an event stream (`text/event-stream`) into the data of its events; see scan_sse.pyi.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from harmost.core.providers.buffer cimport Buffer, buffer_add, buffer_clear, buffer_free

from harmost.core.limits import SSE_LINE_BYTES_MAX

cdef enum:
    LF = 10
    CR = 13
    BOM_BYTES = 3
    BOM_OVER = 4

cdef const char* BOM = b"\xef\xbb\xbf"


cdef void sse_open(Sse* sse, Py_ssize_t bytes_max) noexcept nogil:
    memset(sse, 0, sizeof(Sse))
    sse.bytes_max = bytes_max


cdef void sse_close(Sse* sse) noexcept nogil:
    buffer_free(&sse.data)
    buffer_free(&sse.tail)


cdef void sse_feed(Sse* sse, const char* data, Py_ssize_t size) noexcept nogil:
    """Lend `data` until `sse_next` has used it up."""
    sse.at = data
    sse.end = data + size
    sse.lf = NULL


cdef int sse_next(Sse* sse) noexcept nogil:
    """Go on to the next event. O(bytes) over all calls, however they are cut."""
    cdef const char* stop
    cdef int status
    if sse.spent:
        buffer_clear(&sse.data)
        sse.spent = False
    if sse.overflowed:
        return SSE_OVERFLOW
    while sse.at < sse.end:
        if sse.bom_bytes < BOM_OVER:
            if not skip_bom(sse):
                return SSE_NO_MEMORY
            continue
        if sse.after_cr:
            # A final CR ended its line at once; the LF that follows it is its own.
            sse.after_cr = False
            if sse.at[0] == LF:
                sse.at += 1
                continue
        stop = line_end(sse)
        if stop == sse.end:
            break
        status = take_line(sse, stop)
        if status != SSE_MORE:
            return status
    return keep_rest(sse)


cdef bint skip_bom(Sse* sse) noexcept nogil:
    """Leave out a byte order mark, of which each byte may come alone; False: no memory."""
    if sse.bom_bytes < BOM_BYTES and sse.at[0] == BOM[sse.bom_bytes]:
        sse.bom_bytes += 1
        sse.at += 1
        return True
    if sse.bom_bytes < BOM_BYTES and not buffer_add(&sse.tail, BOM, sse.bom_bytes):
        return False
    sse.bom_bytes = BOM_OVER
    return True


cdef const char* line_end(Sse* sse) noexcept nogil:
    """Where the line at `at` ends; `end` if it goes on."""
    cdef const char* cr
    if sse.lf == NULL or sse.lf < sse.at:
        sse.lf = <const char*>memchr(sse.at, LF, sse.end - sse.at)
        if sse.lf == NULL:
            sse.lf = sse.end
    cr = <const char*>memchr(sse.at, CR, sse.lf - sse.at)
    return cr if cr != NULL else sse.lf


cdef int take_line(Sse* sse, const char* stop) noexcept nogil:
    """Take the line from `at` to `stop`, with what came of it before."""
    cdef const char* line = sse.at
    cdef Py_ssize_t size = stop - line
    cdef bint lent = sse.tail.size == 0
    sse.after_cr = stop[0] == CR
    sse.at = stop + 1
    if sse.held_bytes + sse.tail.size + size > sse.bytes_max:
        return overflow(sse)
    if not lent:
        if not buffer_add(&sse.tail, line, size):
            return SSE_NO_MEMORY
        line = sse.tail.data
        size = sse.tail.size
        sse.tail.size = 0  # its memory stays until a line is kept again, after this one was read
    if size == 0:
        return end_event(sse)
    sse.held_bytes += size
    return take_field(sse, line, size, lent)


cdef int take_field(Sse* sse, const char* line, Py_ssize_t size, bint lent) noexcept nogil:
    """Keep a data line. `event` names, `id` and `retry` are left out: an answer is never resumed."""
    if size < 4 or memcmp(line, b"data", 4) != 0 or (size > 4 and line[4] != c':'):
        return SSE_MORE
    line += 4
    size -= 4
    if size:  # the colon
        line += 1
        size -= 1
    if size and line[0] == c' ':
        line += 1
        size -= 1
    sse.data_lines += 1
    if sse.data_lines == 1 and lent:  # nearly every event: nothing is copied
        sse.sole = line
        sse.sole_size = size
        return SSE_MORE
    if not keep_sole(sse):
        return SSE_NO_MEMORY
    if sse.data_lines > 1 and not buffer_add(&sse.data, b"\n", 1):
        return SSE_NO_MEMORY
    return SSE_MORE if buffer_add(&sse.data, line, size) else SSE_NO_MEMORY


cdef int end_event(Sse* sse) noexcept nogil:
    """An empty line: the event is over, or there was none."""
    sse.held_bytes = 0
    if sse.data_lines == 0:
        return SSE_MORE
    if sse.sole != NULL:
        sse.event = sse.sole
        sse.event_size = sse.sole_size
        sse.sole = NULL
    else:
        sse.event = sse.data.data
        sse.event_size = sse.data.size
    sse.data_lines = 0
    sse.spent = True
    return SSE_EVENT


cdef int keep_rest(Sse* sse) noexcept nogil:
    """The fed bytes go away: keep what the unfinished event needs of them."""
    cdef Py_ssize_t size = sse.end - sse.at
    if sse.held_bytes + sse.tail.size + size > sse.bytes_max:
        return overflow(sse)
    if size and not buffer_add(&sse.tail, sse.at, size):
        return SSE_NO_MEMORY
    sse.at = sse.end
    return SSE_MORE if keep_sole(sse) else SSE_NO_MEMORY


cdef bint keep_sole(Sse* sse) noexcept nogil:
    if sse.sole == NULL:
        return True
    if not buffer_add(&sse.data, sse.sole, sse.sole_size):
        return False
    sse.sole = NULL
    return True


cdef int overflow(Sse* sse) noexcept nogil:
    sse.overflowed = True
    sse.at = sse.end
    sse.sole = NULL
    sse_close(sse)
    return SSE_OVERFLOW


cdef class SseScanner:
    """The Python face; see scan_sse.pyi."""

    def __cinit__(self, *, Py_ssize_t bytes_max=SSE_LINE_BYTES_MAX):
        if bytes_max < 1:
            raise ValueError(f"bytes_max must be at least 1: {bytes_max}")
        sse_open(&self._sse, bytes_max)

    def __dealloc__(self):
        sse_close(&self._sse)

    @property
    def overflowed(self) -> bool:
        return self._sse.overflowed

    def feed(self, bytes data not None) -> list:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        # A copy without the NUL behind each bytes object: as in a stream, only its size ends it.
        cdef char* copy = <char*>malloc(size or 1)
        cdef int status = SSE_EVENT
        cdef list events = []
        if copy == NULL:
            raise MemoryError
        try:
            memcpy(copy, PyBytes_AS_STRING(data), size)
            sse_feed(&self._sse, copy, size)
            while status == SSE_EVENT:
                status = sse_next(&self._sse)
                if status == SSE_EVENT:
                    events.append(PyBytes_FromStringAndSize(self._sse.event, self._sse.event_size))
        finally:
            free(copy)
        if status == SSE_NO_MEMORY:
            raise MemoryError
        return events
