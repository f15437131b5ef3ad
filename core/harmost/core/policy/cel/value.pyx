"""CEL values: when two are equal, which comes first, what a map or list holds.

Strings are UTF-8, of which the order of bytes is the order of code points. A list or map never holds
an ERROR.

Source: cel-spec, langdef.md, "Equality", "Ordering", "Numeric Values".
"""

from libc.math cimport isnan
from libc.string cimport memcmp

cdef extern from "string.h" nogil:
    void* memmem(const void*, size_t, const void*, size_t)  # of glibc: linear

cdef double TWO_TO_63 = 9223372036854775808.0


cdef bint same(const Value* left, const Value* right) noexcept nogil:
    """CEL's ==. Values of different types are unequal, int and double compare as numbers."""
    cdef int64_t index
    cdef Value* found
    if left.kind != right.kind:
        if left.kind == INT and right.kind == DOUBLE:
            return order_int_double(left.of.number, right.of.real) == 0
        if left.kind == DOUBLE and right.kind == INT:
            return order_int_double(right.of.number, left.of.real) == 0
        return False
    if left.kind == DOUBLE:
        return left.of.real == right.of.real
    if left.kind == STRING:
        return left.size == right.size and memcmp(left.of.text, right.of.text, left.size) == 0
    if left.kind == LIST:
        if left.size != right.size:
            return False
        for index in range(left.size):
            if not same(&left.of.items[index], &right.of.items[index]):
                return False
        return True
    if left.kind == MAP:
        if left.size != right.size:
            return False
        for index in range(left.size):
            found = find(right, &left.of.items[2 * index])
            if found == NULL or not same(&left.of.items[2 * index + 1], found):
                return False
        return True
    return left.of.number == right.of.number and left.nanos == right.nanos


cdef int order(const Value* left, const Value* right) noexcept nogil:
    """-1, 0 or 1 as `left` comes before, with or after `right`; UNORDERED or INCOMPARABLE."""
    cdef int answer
    if left.kind == INT and right.kind == DOUBLE:
        return order_int_double(left.of.number, right.of.real)
    if left.kind == DOUBLE and right.kind == INT:
        answer = order_int_double(right.of.number, left.of.real)
        return answer if answer == UNORDERED else -answer
    if left.kind != right.kind:
        return INCOMPARABLE
    if left.kind == DOUBLE:
        if isnan(left.of.real) or isnan(right.of.real):
            return UNORDERED
        return (left.of.real > right.of.real) - (left.of.real < right.of.real)
    if left.kind == STRING:
        answer = memcmp(left.of.text, right.of.text, min(left.size, right.size))
        if answer == 0:
            return (left.size > right.size) - (left.size < right.size)
        return 1 if answer > 0 else -1
    if left.kind == BOOL or left.kind == INT or left.kind == TIMESTAMP or left.kind == DURATION:
        if left.of.number != right.of.number:
            return 1 if left.of.number > right.of.number else -1
        return (left.nanos > right.nanos) - (left.nanos < right.nanos)
    return INCOMPARABLE


cdef int order_int_double(int64_t number, double real) noexcept nogil:
    """Exactly, though not every int64 is a double."""
    cdef int64_t whole
    if isnan(real):
        return UNORDERED
    if real >= TWO_TO_63:
        return -1
    if real < -TWO_TO_63:
        return 1
    whole = <int64_t>real
    if number != whole:
        return 1 if number > whole else -1
    return (real < <double>whole) - (real > <double>whole)


cdef Value* find(const Value* map, const Value* key) noexcept nogil:
    """The value at `key`, or NULL. O(entries): maps of facts and of literals are small."""
    cdef int64_t index
    for index in range(map.size):
        if same(&map.of.items[2 * index], key):
            return &map.of.items[2 * index + 1]
    return NULL


cdef Value lookup(const Value* container, const Value* key) noexcept nogil:
    """`container[key]`. A double that is whole stands for the int."""
    cdef Value missing
    cdef Value* found
    cdef int64_t index
    if container.kind == MAP:
        if not _is_key(key):
            return failure(KEY_TYPE)
        found = find(container, key)
        if found != NULL:
            return found[0]
        missing = failure(NO_KEY)
        if key.kind == STRING:
            missing.of.text, missing.size = key.of.text, key.size
        return missing
    if container.kind != LIST:
        return failure(NO_OVERLOAD)
    if key.kind == INT:
        index = key.of.number
    elif key.kind == DOUBLE and -TWO_TO_63 <= key.of.real < TWO_TO_63:
        index = <int64_t>key.of.real
        if <double>index != key.of.real:
            return failure(NO_ITEM)
    else:
        return failure(NO_OVERLOAD)
    return container.of.items[index] if 0 <= index < container.size else failure(NO_ITEM)


cdef Value contains(const Value* container, const Value* item) noexcept nogil:
    """`item in container`."""
    cdef int64_t index
    if container.kind == MAP:
        return of_bool(find(container, item) != NULL) if _is_key(item) else failure(KEY_TYPE)
    if container.kind != LIST:
        return failure(NO_OVERLOAD)
    for index in range(container.size):
        if same(&container.of.items[index], item):
            return of_bool(True)
    return of_bool(False)


cdef bint _is_key(const Value* key) noexcept nogil:
    return key.kind == STRING or key.kind == INT or key.kind == BOOL or key.kind == DOUBLE


cdef int64_t characters(const Value* text) noexcept nogil:
    """Code points of a STRING: bytes that do not continue one."""
    cdef int64_t index, count = 0
    for index in range(text.size):
        count += (text.of.text[index] & 0xC0) != 0x80
    return count


cdef int64_t position(const Value* text, const Value* part) noexcept nogil:
    """Byte where `part` first stands in `text`, or -1. O(text + part)."""
    cdef const char* found
    if part.size == 0:
        return 0
    found = <const char*>memmem(text.of.text, text.size, part.of.text, part.size)
    return -1 if found == NULL else found - text.of.text
