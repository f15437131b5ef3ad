"""C face of moment.pyx."""

from libc.stdint cimport int32_t, int64_t

from harmost.core.policy.cel.value cimport Value

cdef enum:
    MOMENT_CHARS_MAX = 64  # of any timestamp or duration as text

cdef Value read_timestamp(const char* text, int64_t size) noexcept nogil
cdef Value read_duration(const char* text, int64_t size) noexcept nogil
cdef int64_t write_timestamp(const Value* moment, char* to) noexcept nogil
cdef int64_t write_duration(const Value* span, char* to) noexcept nogil
cdef Value timestamp_of(int64_t seconds, int64_t nanos) noexcept nogil
cdef Value duration_of(int64_t seconds, int64_t nanos) noexcept nogil
cdef Value shifted(const Value* moment, const Value* span, int sign) noexcept nogil
cdef Value sum_of(const Value* left, const Value* right, int sign) noexcept nogil
cdef Value between(const Value* later, const Value* earlier) noexcept nogil
