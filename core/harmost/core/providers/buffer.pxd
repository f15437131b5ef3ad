# Bytes that grow, for compiled modules: a header alone, so that every call is inlined.

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef enum:
    BUFFER_ROOM_MIN = 256
    # What an emptied buffer may keep: thousands of streams must not each keep their largest event.
    BUFFER_ROOM_KEPT_MAX = 16 * 1024

cdef struct Buffer:
    char* data
    Py_ssize_t size
    Py_ssize_t room

cdef inline bint buffer_reserve(Buffer* buffer, Py_ssize_t more) noexcept nogil:
    """Make room for `more` bytes; False: there is no memory. Callers bound what they add."""
    cdef Py_ssize_t room = buffer.room if buffer.room else BUFFER_ROOM_MIN
    cdef void* data
    if buffer.size + more <= buffer.room:
        return True
    while room < buffer.size + more:
        room *= 2
    data = realloc(buffer.data, room)
    if data == NULL:
        return False
    buffer.data = <char*>data
    buffer.room = room
    return True

cdef inline bint buffer_add(Buffer* buffer, const char* data, Py_ssize_t size) noexcept nogil:
    """Append; False: there is no memory."""
    if not buffer_reserve(buffer, size):
        return False
    if size:
        memcpy(buffer.data + buffer.size, data, size)
        buffer.size += size
    return True

cdef inline void buffer_free(Buffer* buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = buffer.room = 0

cdef inline void buffer_clear(Buffer* buffer) noexcept nogil:
    """Empty it; small ones keep their memory for the next use."""
    if buffer.room > BUFFER_ROOM_KEPT_MAX:
        buffer_free(buffer)
    buffer.size = 0
