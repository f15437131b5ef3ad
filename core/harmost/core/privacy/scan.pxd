# What finds data classes in a text, for other compiled modules.

cdef struct Text:
    int kind            # width of a character, as PyUnicode_KIND gives it
    const void* data
    Py_ssize_t length   # characters

cdef struct Found:
    Py_ssize_t start
    Py_ssize_t end

cdef bint next_email(const Text* text, Py_ssize_t at, Found* found) noexcept nogil
cdef bint next_pan(const Text* text, Py_ssize_t at, Found* found) noexcept nogil
