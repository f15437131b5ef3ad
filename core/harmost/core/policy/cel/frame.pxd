"""C face of frame.pyx."""

from harmost.core.policy.cel.scratch cimport Scratch
from harmost.core.policy.cel.store cimport Store
from harmost.core.policy.cel.value cimport Value

cdef struct Declared:
    int kind
    int key        # of a map; ANYTHING otherwise
    int item       # of a list or map; ANYTHING otherwise

cdef class Schema:
    cdef readonly tuple names
    cdef readonly tuple types
    cdef readonly int split
    cdef readonly bint defaults
    cdef dict _slots
    cdef Declared* _declared
    cdef Facts _no_request
    cdef Facts _no_candidate

    cdef Facts _facts(self, object values, bint of_candidate)
    cdef Value _given(self, Store store, object values, int slot)

cdef class Facts:
    cdef readonly Schema schema
    cdef readonly bint of_candidate
    cdef Value* values        # by slot, of a candidate less `split`
    cdef Store _store         # what `values` is in and points to

cdef class Frame:
    cdef readonly Schema schema
    cdef Value* request       # by slot
    cdef Value* candidate     # by slot less `split`
    cdef int split
    cdef Facts _request
    cdef Facts _candidate
    cdef Scratch scratch

# The fact in `slot`, never NULL; an ERROR where there is none.
cdef inline Value* fact(Frame frame, int slot) noexcept nogil:
    if slot < frame.split:
        return &frame.request[slot]
    return &frame.candidate[slot - frame.split]
