"""C face of machine.pyx."""

from libc.stdint cimport int64_t

from harmost.core.policy.cel.scratch cimport Scratch
from harmost.core.policy.cel.value cimport Value

cdef enum:
    LOCALS_MAX = 8        # CEL_LOCALS_MAX of limits.py

cdef enum Op:
    CONSTANT
    FACT
    LOCAL
    AND
    OR
    NOT
    CHOOSE
    COMPARE
    IN
    INDEX
    HAS
    ARITHMETIC
    NEGATE
    CONVERT
    ASK
    MATCHES
    LIST_OF
    MAP_OF
    ALL
    EXISTS
    EXISTS_ONE
    FILTER
    TRANSFORM

cdef struct Step:
    int op
    int first             # index of the first operand in `Code.operands`
    int count             # operands; of TRANSFORM the list, the test, the value
    int detail            # FACT: slot; LOCAL: index; MATCHES: pattern; else which operator or function
    int size              # steps below, and this one
    Value constant        # of CONSTANT; the key of HAS

cdef struct Code:
    Step* steps
    int* operands
    void** patterns       # compiled RE2 objects, borrowed

cdef struct Run:
    const Code* code
    const Value* request
    const Value* candidate
    int split
    Scratch* scratch
    int exhausted         # TOO_LONG or TOO_LARGE: no answer counts any more; else 0
    int64_t items_left    # that macros may still visit
    int64_t steps_left
    int depth             # locals bound now
    Value locals[LOCALS_MAX]

cdef Value run_code(
    const Code* code,
    int root,
    const Value* request,
    const Value* candidate,
    int split,
    Scratch* scratch,
) noexcept nogil
