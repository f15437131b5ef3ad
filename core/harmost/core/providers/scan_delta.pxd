# Reads the common piece of an answer from a vendor's JSON, for other compiled modules.

cdef enum:
    DELTA_UNKNOWN = 0  # ask the whole decoder: it may be anything, or nothing valid
    DELTA_NOTHING = 1  # understood: nothing for the caller in it
    DELTA_TEXT = 2     # understood: a piece of text, not empty

cdef struct Slice:
    const char* data
    Py_ssize_t size    # bytes of the JSON string between its quotes: valid UTF-8, valid escapes
    bint escaped       # it holds escapes: `unescape` it

cdef struct Cursor:
    const char* at
    const char* end

cdef struct Field:
    const char* name
    Py_ssize_t size

cdef struct Found:
    Slice text
    Slice type
    Slice id

# Reads the value of the field of this number; False: unknown.
ctypedef bint (*FieldReader)(Cursor* cursor, int field, Found* found) noexcept nogil

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

# JSON, for scanners beside this one. Each begins at the next value; False: not known here, or not valid.
cdef bint members(
    Cursor* cursor, const Field* fields, int count, FieldReader read, Found* found
) noexcept nogil
cdef bint value(Cursor* cursor, int depth) noexcept nogil
cdef bint string(Cursor* cursor, Slice* found) noexcept nogil
cdef bint null(Cursor* cursor) noexcept nogil
cdef bint sign(Cursor* cursor, char expected) noexcept nogil
cdef bint at_end(Cursor* cursor) noexcept nogil
cdef object text_of(DeltaScan scan, bytes data, bint id_known)
cdef Py_ssize_t unescape(const Slice* text, char* out) noexcept nogil
