# Reads the common piece of an answer from a vendor's JSON, for other compiled modules.

cdef enum:
    DELTA_UNKNOWN = 0  # ask the whole decoder: it may be anything, or nothing valid
    DELTA_NOTHING = 1  # understood: nothing for the caller in it
    DELTA_TEXT = 2     # understood: a piece of text, not empty

cdef struct Slice:
    const char* data
    Py_ssize_t size    # bytes of the JSON string between its quotes: valid UTF-8, valid escapes
    bint escaped       # it holds escapes: `unescape` it

ctypedef int (*DeltaScan)(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil

cdef int scan_openai(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil
cdef int scan_anthropic(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil
cdef int scan_bedrock(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil
cdef Py_ssize_t unescape(const Slice* text, char* out) noexcept nogil
