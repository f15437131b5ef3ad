from libc.stdint cimport int64_t

cdef enum:
    GROUPS_COUNT = 16

# What a text, or several, would cost by the table: thousandths of a token by group of characters.
cdef struct Sums:
    int64_t[GROUPS_COUNT] millitokens
    int64_t utf8_bytes

cdef void measure_text(int kind, const void* data, Py_ssize_t length, Sums* sums) noexcept nogil

cdef class Shape:
    cdef Sums sums
    cdef readonly int64_t messages
