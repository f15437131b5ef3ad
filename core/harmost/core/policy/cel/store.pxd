"""C face of store.pyx."""

from harmost.core.policy.cel.scratch cimport Scratch
from harmost.core.policy.cel.value cimport Value

cdef class Store:
    cdef Scratch scratch
    cdef list keep

    cdef int put(self, object given, Value* to, int depth) except -1
    cdef int _put_list(self, list given, Value* to, int depth) except -1
    cdef int _put_map(self, dict given, Value* to, int depth) except -1
    cdef Value* room(self, size_t count) except NULL

cdef object to_python(const Value* value)
