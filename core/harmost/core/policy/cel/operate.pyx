"""CEL's operators and functions on values that are no errors.

Types are looked at when it runs: what the checker let through with `dyn`, such as the items of
`[1, "a"]`, is an error here where no overload fits.

Source: cel-spec, langdef.md, "List of Standard Definitions".
"""

from libc.stdint cimport INT64_MIN, int64_t
from libc.string cimport memcmp, memcpy

from harmost.core.policy.cel.convert cimport (
    to_bool,
    to_double,
    to_duration,
    to_int,
    to_string,
    to_timestamp,
)
from harmost.core.policy.cel.moment cimport between, shifted, sum_of
from harmost.core.policy.cel.scratch cimport take, take_values
from harmost.core.policy.cel.value cimport (
    DIVISION,
    DOUBLE,
    DURATION,
    INCOMPARABLE,
    INT,
    LIST,
    MAP,
    MODULUS,
    NO_OVERLOAD,
    OVERFLOW,
    STRING,
    TIMESTAMP,
    TOO_LARGE,
    UNORDERED,
    characters,
    failure,
    of_bool,
    of_double,
    of_int,
    of_items,
    of_text,
    order,
    position,
    same,
)

cdef extern from *:
    bint add_overflows "__builtin_add_overflow"(int64_t, int64_t, int64_t*) nogil
    bint subtract_overflows "__builtin_sub_overflow"(int64_t, int64_t, int64_t*) nogil
    bint multiply_overflows "__builtin_mul_overflow"(int64_t, int64_t, int64_t*) nogil


cdef Value compare(int op, const Value* left, const Value* right) noexcept nogil:
    """`left` `op` `right`; in order only values that have one. Nothing is in order with NaN."""
    cdef int found
    if op == EQUAL:
        return of_bool(same(left, right))
    if op == UNEQUAL:
        return of_bool(not same(left, right))
    found = order(left, right)
    if found == INCOMPARABLE:
        return failure(NO_OVERLOAD)
    if found == UNORDERED:
        return of_bool(False)
    if op == LESS:
        return of_bool(found < 0)
    if op == LESS_EQUAL:
        return of_bool(found <= 0)
    if op == GREATER:
        return of_bool(found > 0)
    return of_bool(found >= 0)


cdef Value arithmetic(
    int op, const Value* left, const Value* right, Scratch* scratch
) noexcept nogil:
    """`left` `op` `right`."""
    if left.kind == INT and right.kind == INT:
        return _of_ints(op, left.of.number, right.of.number)
    if left.kind == DOUBLE and right.kind == DOUBLE:
        return _of_doubles(op, left.of.real, right.of.real)
    if op == ADD:
        return _added(left, right, scratch)
    if op == SUBTRACT:
        return _subtracted(left, right)
    return failure(NO_OVERLOAD)


cdef Value _of_ints(int op, int64_t left, int64_t right) noexcept nogil:
    cdef int64_t result = 0
    cdef bint overflows
    if op == ADD:
        overflows = add_overflows(left, right, &result)
    elif op == SUBTRACT:
        overflows = subtract_overflows(left, right, &result)
    elif op == MULTIPLY:
        overflows = multiply_overflows(left, right, &result)
    elif right == 0:
        return failure(DIVISION if op == DIVIDE else MODULUS)
    elif left == INT64_MIN and right == -1:
        overflows = True
    else:
        overflows, result = False, left // right if op == DIVIDE else left % right
    return failure(OVERFLOW) if overflows else of_int(result)


cdef Value _of_doubles(int op, double left, double right) noexcept nogil:
    """IEEE 754: a division by zero is infinite, or NaN."""
    if op == ADD:
        return of_double(left + right)
    if op == SUBTRACT:
        return of_double(left - right)
    if op == MULTIPLY:
        return of_double(left * right)
    return of_double(left / right) if op == DIVIDE else failure(NO_OVERLOAD)


cdef Value _added(const Value* left, const Value* right, Scratch* scratch) noexcept nogil:
    if left.kind == STRING and right.kind == STRING:
        return _joined(left, right, scratch)
    if left.kind == LIST and right.kind == LIST:
        return _listed(left, right, scratch)
    if left.kind == TIMESTAMP and right.kind == DURATION:
        return shifted(left, right, 1)
    if left.kind == DURATION and right.kind == TIMESTAMP:
        return shifted(right, left, 1)
    if left.kind == DURATION and right.kind == DURATION:
        return sum_of(left, right, 1)
    return failure(NO_OVERLOAD)


cdef Value _subtracted(const Value* left, const Value* right) noexcept nogil:
    if left.kind == TIMESTAMP and right.kind == TIMESTAMP:
        return between(left, right)
    if left.kind == TIMESTAMP and right.kind == DURATION:
        return shifted(left, right, -1)
    if left.kind == DURATION and right.kind == DURATION:
        return sum_of(left, right, -1)
    return failure(NO_OVERLOAD)


cdef Value _joined(const Value* left, const Value* right, Scratch* scratch) noexcept nogil:
    cdef char* text = <char*>take(scratch, left.size + right.size)
    if text == NULL:
        return failure(TOO_LARGE)
    memcpy(text, left.of.text, left.size)
    memcpy(text + left.size, right.of.text, right.size)
    return of_text(text, left.size + right.size)


cdef Value _listed(const Value* left, const Value* right, Scratch* scratch) noexcept nogil:
    cdef Value* items = take_values(scratch, left.size + right.size)
    if items == NULL:
        return failure(TOO_LARGE)
    if left.size:
        memcpy(items, left.of.items, left.size * sizeof(Value))
    if right.size:
        memcpy(items + left.size, right.of.items, right.size * sizeof(Value))
    return of_items(LIST, items, left.size + right.size)


cdef Value negative(const Value* value) noexcept nogil:
    """-`value`."""
    if value.kind == DOUBLE:
        return of_double(-value.of.real)
    if value.kind != INT:
        return failure(NO_OVERLOAD)
    return failure(OVERFLOW) if value.of.number == INT64_MIN else of_int(-value.of.number)


cdef Value converted(int function, const Value* value, Scratch* scratch) noexcept nogil:
    """`function` of one value."""
    if function == SIZE:
        if value.kind == STRING:
            return of_int(characters(value))
        if value.kind == LIST or value.kind == MAP:
            return of_int(value.size)
        return failure(NO_OVERLOAD)
    if function == TO_BOOL:
        return to_bool(value)
    if function == TO_INT:
        return to_int(value)
    if function == TO_DOUBLE:
        return to_double(value)
    if function == TO_STRING:
        return to_string(value, scratch)
    if function == TO_TIMESTAMP:
        return to_timestamp(value)
    return to_duration(value)


cdef Value asked(int function, const Value* text, const Value* part) noexcept nogil:
    """Whether `text` starts with, ends with or contains `part`."""
    if text.kind != STRING or part.kind != STRING:
        return failure(NO_OVERLOAD)
    if part.size > text.size:
        return of_bool(False)
    if function == STARTS_WITH:
        return of_bool(memcmp(text.of.text, part.of.text, part.size) == 0)
    if function == ENDS_WITH:
        return of_bool(
            memcmp(text.of.text + text.size - part.size, part.of.text, part.size) == 0
        )
    return of_bool(position(text, part) >= 0)
