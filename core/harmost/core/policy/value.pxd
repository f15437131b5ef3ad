"""C face of value.pyx: one CEL value of 32 bytes, which owns nothing it points to."""

from libc.stdint cimport int32_t, int64_t

cdef enum Kind:
    ERROR = 0
    NULL_VALUE = 1
    BOOL = 2
    INT = 3
    DOUBLE = 4
    STRING = 5
    LIST = 6
    MAP = 7
    TIMESTAMP = 8
    DURATION = 9

cdef struct Value

cdef union Payload:
    int64_t number            # BOOL 0 or 1; INT; seconds of TIMESTAMP and DURATION
    double real               # DOUBLE
    const char* text          # STRING: UTF-8, `size` bytes, not terminated
    Value* items              # LIST: `size` items; MAP: `size` keys, each before its value

cdef struct Value:
    int32_t kind
    int32_t nanos             # of TIMESTAMP (0..999,999,999) and DURATION (sign of the seconds); code of ERROR
    Payload of
    int64_t size
    void* python              # STRING of a fact or constant: the str, borrowed; else NULL
