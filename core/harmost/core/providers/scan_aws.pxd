# Splits an event stream of AWS into JSON texts, for other compiled modules. Call order: open, then
# any number of feeds, after each of them `aws_next` until it says something else than AWS_EVENT; close.

from harmost.core.providers.buffer cimport Buffer

cdef enum:
    # The first four are what SSE_… says of the other framing.
    AWS_MORE = 0       # the fed bytes are used up
    AWS_EVENT = 1      # a message is at `event`, until the next call
    AWS_OVERFLOW = 2   # a message is larger than `bytes_max`: nothing more comes
    AWS_NO_MEMORY = 3
    AWS_CORRUPT = 4    # a checksum fails, or it is no such stream: nothing more comes

cdef struct Aws:
    const char* event      # JSON of the message that was found last; in `json`
    Py_ssize_t event_size
    # The fed bytes that are not read yet; borrowed, never past the `aws_next` that uses them up.
    const char* at
    const char* end
    Buffer tail            # the message that is not over yet
    Buffer json
    Py_ssize_t bytes_max
    Py_ssize_t wanted      # size of the message in `tail`, as its checked prelude says; 0: not known
    int over               # AWS_OVERFLOW or AWS_CORRUPT, once that was said

cdef void aws_open(Aws* aws, Py_ssize_t bytes_max) noexcept nogil
cdef void aws_close(Aws* aws) noexcept nogil
cdef void aws_feed(Aws* aws, const char* data, Py_ssize_t size) noexcept nogil
cdef int aws_next(Aws* aws) noexcept nogil

cdef class AwsScanner:
    cdef Aws _aws
