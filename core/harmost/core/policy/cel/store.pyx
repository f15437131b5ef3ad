"""Python values as CEL values and back."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t

from harmost.core.limits import CEL_FACTS_BYTES_MAX
from harmost.core.policy.cel.scratch cimport release, take_values
from harmost.core.policy.cel.value cimport (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    LIST,
    MAP,
    NONE,
    STRING,
    TIMESTAMP,
    of_bool,
    of_double,
    of_int,
    of_items,
    of_moment,
    of_text,
)
from harmost.core.policy.cel.values import Duration, Timestamp

cdef int DEPTH_MAX = 32  # lists and maps in each other: facts have one level


cdef class Store:
    """Keeps what its values point to for as long as it lives; bounded by CEL_FACTS_BYTES_MAX."""

    def __cinit__(self):
        self.scratch.bytes_left = self.scratch.bytes_max = CEL_FACTS_BYTES_MAX
        self.scratch.block_bytes = 512  # a program has few constants, and there are many programs
        self.keep = []

    def __dealloc__(self):
        release(&self.scratch)

    cdef Value* room(self, size_t count) except NULL:
        cdef Value* values = take_values(&self.scratch, count)
        if values == NULL:
            raise MemoryError(f"values take more than {CEL_FACTS_BYTES_MAX} bytes")
        return values

    cdef int put(self, object given, Value* to, int depth) except -1:
        """Make `to` the value `given`. Raises TypeError or ValueError where CEL has none such."""
        cdef Py_ssize_t size
        cdef const char* text
        kind = type(given)
        if kind is str:
            text = PyUnicode_AsUTF8AndSize(given, &size)
            to[0] = of_text(text, size)
            to.python = <void*>given
            self.keep.append(given)
        elif kind is bool:
            to[0] = of_bool(given)
        elif kind is int:
            to[0] = of_int(given)
        elif kind is float:
            to[0] = of_double(given)
        elif given is None:
            to[0] = of_items(NONE, NULL, 0)
        elif kind is Timestamp:
            to[0] = of_moment(TIMESTAMP, given.seconds, given.nanos)
        elif kind is Duration:
            to[0] = of_moment(DURATION, given.seconds, given.nanos)
        elif kind is list:
            self._put_list(given, to, depth)
        elif kind is dict:
            self._put_map(given, to, depth)
        else:
            raise TypeError(f"no value of CEL is a {kind.__name__}")
        return 0

    cdef int _put_list(self, list given, Value* to, int depth) except -1:
        cdef Value* items
        cdef Py_ssize_t index, count = len(given)
        if depth >= DEPTH_MAX:
            raise ValueError("a value is nested too deeply")
        items = self.room(count)
        for index in range(count):
            self.put(given[index], &items[index], depth + 1)
        to[0] = of_items(LIST, items, count)
        return 0

    cdef int _put_map(self, dict given, Value* to, int depth) except -1:
        cdef Value* items
        cdef Py_ssize_t index = 0, count = len(given)
        if depth >= DEPTH_MAX:
            raise ValueError("a value is nested too deeply")
        items = self.room(2 * count)
        for key, value in given.items():
            if type(key) not in (str, int, bool):
                raise TypeError(f"no key of CEL is a {type(key).__name__}")
            self.put(key, &items[index], depth + 1)
            self.put(value, &items[index + 1], depth + 1)
            index += 2
        to[0] = of_items(MAP, items, count)
        return 0


cdef object to_python(const Value* value):
    """A value that is no ERROR, as Python. Keys that Python takes for equal, 1 and true, become one."""
    cdef int64_t index
    if value.kind == BOOL:
        return value.of.number != 0
    if value.kind == INT:
        return value.of.number
    if value.kind == DOUBLE:
        return value.of.real
    if value.kind == STRING:
        return PyUnicode_DecodeUTF8(value.of.text, value.size, NULL)
    if value.kind == LIST:
        return [to_python(&value.of.items[index]) for index in range(value.size)]
    if value.kind == MAP:
        return {
            to_python(&value.of.items[2 * index]): to_python(&value.of.items[2 * index + 1])
            for index in range(value.size)
        }
    if value.kind == TIMESTAMP:
        return Timestamp(value.of.number, value.nanos)
    if value.kind == DURATION:
        return Duration(value.of.number, value.nanos)
    return None
