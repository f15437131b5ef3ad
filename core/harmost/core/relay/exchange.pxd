# One attempt's answer, from upstream bytes to framed messages, for other compiled modules.

from libc.stdint cimport int64_t, uint8_t

from harmost.core.providers.buffer cimport Buffer
from harmost.core.providers.scan_aws cimport Aws
from harmost.core.providers.scan_delta cimport DeltaScan
from harmost.core.providers.scan_sse cimport Sse

cdef class OutputScan:
    """What stands between the answer and the caller; see exchange.pyi."""

    cpdef bytes pass_on(self, bytes text)
    cpdef bytes end(self)


cdef class AttemptExchange:
    cdef bint _is_aws        # how the stream is framed: `_aws` reads it, not `_sse`
    cdef Sse _sse
    cdef Aws _aws
    cdef const char* _event  # what was found last in it
    cdef Py_ssize_t _event_size
    cdef Buffer _out         # framed messages of this turn
    cdef Buffer _plain       # one text without its escapes
    cdef DeltaScan _scan     # NULL: a codec that only its reader knows
    cdef bytes _head         # step_index and attempt_id of each delta, as protobuf writes them
    cdef OutputScan _output_scan
    cdef object _reader
    cdef object _kept        # the answer so far, if it is to be kept
    cdef object _grow        # asked for more where the answer reaches `_bytes_max`
    cdef int64_t _bytes_max
    cdef bint _id_known
    cdef bint _ended         # by the provider, not by us
    cdef bint _over          # the provider's stream: nothing more is read
    cdef bint _shortened
    cdef readonly int64_t deltas
    cdef readonly int64_t text_bytes
    cdef readonly int64_t reasoning_bytes
    cdef readonly int64_t output_tokens_max
    cdef public int64_t next_sequence
    cdef readonly str finish_reason
    cdef readonly str response_id
    cdef readonly object usage
    cdef readonly object error

    cpdef receive(self, bytes data)
    cpdef finish(self)
    cdef bytes _framed(self)
    cdef int _read(self) except -1
    cdef int _next(self) noexcept
    cdef int _take_event(self) except -1
    cdef int _take_slowly(self) except -1
    cdef int _take(self, list events) except -1
    cdef int _admit(self, const char* text, Py_ssize_t size) except -1
    cdef bint _fits(self, Py_ssize_t size) except -1
    cdef int _grown(self, Py_ssize_t size) except -1
    cdef int _release(self) except -1
    cdef int _pass_on(self, bytes text) except -1
    cdef int _send(self, const char* text, Py_ssize_t size) except -1
    cdef int _frame(
        self, uint8_t tag, bytes fields, uint8_t text_tag, const char* text, Py_ssize_t size
    ) except -1
