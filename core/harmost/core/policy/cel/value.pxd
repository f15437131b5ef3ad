"""C face of value.pyx: one CEL value of 32 bytes, which owns nothing it points to."""

from libc.stdint cimport int32_t, int64_t

cdef enum Kind:
    ERROR
    NONE
    BOOL
    INT
    DOUBLE
    STRING
    LIST
    MAP
    TIMESTAMP
    DURATION

# Why a value is an ERROR. Texts are in vm.pyx.
cdef enum Failure:
    NO_OVERLOAD
    NO_FACT
    FACT_TYPE
    NO_KEY
    NO_ITEM
    KEY_TYPE
    KEY_TWICE
    OVERFLOW
    DIVISION
    MODULUS
    CONVERSION
    TIME_RANGE
    TOO_LONG
    TOO_LARGE

cdef struct Value

cdef union Payload:
    int64_t number      # BOOL 0 or 1; INT; seconds of TIMESTAMP and DURATION; slot of ERROR
    double real         # DOUBLE
    const char* text    # STRING: UTF-8, `size` bytes, not terminated; ERROR: the key, if `size`
    Value* items        # LIST: `size` items; MAP: `size` pairs, each key before its value

cdef struct Value:
    int32_t kind        # a Kind
    int32_t nanos       # TIMESTAMP 0..999,999,999; DURATION: of the sign of its seconds; ERROR: a Failure
    Payload of
    int64_t size
    void* python        # STRING of a fact or a constant: its str, borrowed; else NULL

# What `order` answers besides -1, 0, 1.
cdef enum:
    UNORDERED = 2       # one of them is NaN
    INCOMPARABLE = 3    # of types that have no order, or none with each other

cdef inline Value failure(int32_t code) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.number, value.size, value.python = ERROR, code, 0, 0, NULL
    return value

cdef inline Value of_bool(bint number) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.number, value.size, value.python = BOOL, 0, number, 0, NULL
    return value

cdef inline Value of_int(int64_t number) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.number, value.size, value.python = INT, 0, number, 0, NULL
    return value

cdef inline Value of_double(double real) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.real, value.size, value.python = DOUBLE, 0, real, 0, NULL
    return value

cdef inline Value of_text(const char* text, int64_t size) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.text, value.size, value.python = STRING, 0, text, size, NULL
    return value

cdef inline Value of_items(int32_t kind, Value* items, int64_t size) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.items, value.size, value.python = kind, 0, items, size, NULL
    return value

cdef inline Value of_moment(int32_t kind, int64_t seconds, int32_t nanos) noexcept nogil:
    cdef Value value
    value.kind, value.nanos, value.of.number, value.size, value.python = kind, nanos, seconds, 0, NULL
    return value

cdef bint same(const Value* left, const Value* right) noexcept nogil
cdef int order(const Value* left, const Value* right) noexcept nogil
cdef int order_int_double(int64_t number, double real) noexcept nogil
cdef Value* find(const Value* map, const Value* key) noexcept nogil
cdef Value lookup(const Value* container, const Value* key) noexcept nogil
cdef Value contains(const Value* container, const Value* item) noexcept nogil
cdef int64_t characters(const Value* text) noexcept nogil
cdef int64_t position(const Value* text, const Value* part) noexcept nogil
