# Which lanes the facts of a call do not refute, by AND over rows of bits; see index.pyi.

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint64_t

cdef class Index:
    cdef readonly int lanes
    cdef readonly Py_ssize_t row_bytes
    cdef readonly bint erred   # a fact of this scan is of another type than declared
    cdef int words             # of a row, a multiple of BLOCK_WORDS
    cdef uint64_t* all_lanes
    cdef uint64_t* lower       # lanes that an error refutes
    cdef list _keys
    cdef const uint64_t** _chosen
    cdef int _chosen_count
    cdef int32_t* survivors
    cdef object _memory        # what the pointers above point into
    cdef Py_ssize_t _lazy_bytes

    cdef bytes new_row(self, const uint64_t* like)
    cdef void put(self, bytes row) noexcept
    cdef int scan(self, dict request) except -1


cdef class Key:
    cdef Index index
    cdef str fact
    cdef int choose(self, PyObject* value) except -1
    cdef void forget(self)


cdef class SetKey(Key):
    cdef dict _classes         # class of each value that a test names
    cdef list _rows            # by class; None: not built yet
    cdef list _positive        # by class: lanes whose test the value meets
    cdef list _negative        # by class: lanes whose test it fails
    cdef list _absent          # lanes that want no value at all
    cdef int choose_of(self, PyObject* value) except -1
    cdef bytes built(self, Py_ssize_t which)


cdef class EntryKey(SetKey):
    cdef str _entry


cdef class ElementsKey(Key):
    cdef dict _places          # of each element that a test names
    cdef list _absent
    cdef list _present
    cdef list _here            # row of each element for this call


cdef class NumberKey(Key):
    cdef int64_t* _starts      # where the classes after the first begin, ascending
    cdef int _starts_count
    cdef object _memory
    cdef list _rows
    cdef list _tests
    cdef bytes built(self, Py_ssize_t which, int64_t value)


cdef class FoldKey(Key):
    cdef str _entry            # None: the fact itself
    cdef type _type
    cdef list _tests
    cdef dict _known           # row of each value seen
    cdef dict _signatures      # row of each combination of answers seen
    cdef int learn(self, object value, object key) except -1
