# Reads the common piece of Gemini's answer, for other compiled modules.

from harmost.core.providers.scan_delta cimport Slice

cdef int scan_gemini(
    const char* data, Py_ssize_t size, bint id_known, Slice* text
) noexcept nogil
