"""C face of operate.pyx."""

from harmost.core.policy.cel.scratch cimport Scratch
from harmost.core.policy.cel.value cimport Value

cdef enum Comparison:
    EQUAL
    UNEQUAL
    LESS
    LESS_EQUAL
    GREATER
    GREATER_EQUAL

cdef enum Operator:
    ADD
    SUBTRACT
    MULTIPLY
    DIVIDE
    REMAINDER

cdef enum Function:
    SIZE
    STARTS_WITH
    ENDS_WITH
    CONTAINS
    TO_BOOL
    TO_INT
    TO_DOUBLE
    TO_STRING
    TO_TIMESTAMP
    TO_DURATION

cdef Value compare(int op, const Value* left, const Value* right) noexcept nogil
cdef Value arithmetic(
    int op, const Value* left, const Value* right, Scratch* scratch
) noexcept nogil
cdef Value negative(const Value* value) noexcept nogil
cdef Value converted(int function, const Value* value, Scratch* scratch) noexcept nogil
cdef Value asked(int function, const Value* text, const Value* part) noexcept nogil
