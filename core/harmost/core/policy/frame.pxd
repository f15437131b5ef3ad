"""C face of frame.pyx."""

from harmost.core.policy.value cimport Value

cdef class Schema:
    cdef readonly tuple names
    cdef readonly tuple types
    cdef readonly int split
    cdef dict _slots
    cdef bint _defaults

cdef class Facts:
    cdef Value* values        # by slot less `first`
    cdef int count
    cdef int first            # 0 for a request, `split` for a candidate
    cdef object _keep         # what `values` points into

cdef class Frame:
    cdef Value* request       # by slot
    cdef Value* candidate     # by slot less `split`
    cdef int split

# The fact in `slot`; an ERROR value where there is none.
cdef Value* fact(Frame frame, int slot) noexcept nogil
