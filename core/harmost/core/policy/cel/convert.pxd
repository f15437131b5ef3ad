"""C face of convert.pyx."""

from harmost.core.policy.cel.scratch cimport Scratch
from harmost.core.policy.cel.value cimport Value

cdef Value to_bool(const Value* value) noexcept nogil
cdef Value to_int(const Value* value) noexcept nogil
cdef Value to_double(const Value* value) noexcept nogil
cdef Value to_string(const Value* value, Scratch* scratch) noexcept nogil
cdef Value to_timestamp(const Value* value) noexcept nogil
cdef Value to_duration(const Value* value) noexcept nogil
