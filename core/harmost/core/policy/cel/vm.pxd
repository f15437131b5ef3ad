"""C face of vm.pyx."""

from harmost.core.policy.cel.frame cimport Frame, Schema
from harmost.core.policy.cel.machine cimport Code
from harmost.core.policy.cel.store cimport Store
from harmost.core.policy.cel.value cimport Value

cdef class Program:
    cdef readonly Schema schema
    cdef readonly tuple slots
    cdef Code code
    cdef int root
    cdef int _steps
    cdef int _operands
    cdef list _patterns
    cdef Store _store

    # What it gives for `frame`, which must be of the program's schema: nothing checks it here. What the
    # value points to lives until the frame runs something else.
    cdef Value run(self, Frame frame) noexcept
    # 1 or 0 as it holds or not, -1 where that cannot be said; likewise.
    cdef int holds(self, Frame frame) noexcept

    cdef int _assemble(self, object node, int nodes) except -1
    cdef int _add(self, object node) except -1
    cdef int _step(self, int op, int detail, object nodes) except -1
    cdef int _constant(self, object value, Value* to) except -1
    cdef str _said(self, const Value* error)
