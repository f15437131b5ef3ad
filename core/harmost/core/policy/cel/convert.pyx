"""Conversions between CEL types: `int("1")`, `string(1.5)`, `timestamp(0)`.

Doubles as text are the digits of Python's repr, with an exponent below 1e-4 and from 1e6 on, as
cel-cpp writes them. Text of numbers may stand between ASCII spaces.

Source: cel-spec, langdef.md, "Type Conversions"; where it is silent, cel-cpp.
"""

from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from harmost.core.policy.cel.moment cimport (
    MOMENT_CHARS_MAX,
    read_duration,
    read_timestamp,
    timestamp_of,
    write_duration,
    write_timestamp,
)
from harmost.core.policy.cel.scratch cimport take
from harmost.core.policy.cel.value cimport (
    BOOL,
    CONVERSION,
    DOUBLE,
    DURATION,
    ERROR,
    INT,
    NO_OVERLOAD,
    OVERFLOW,
    STRING,
    TIMESTAMP,
    TOO_LARGE,
    failure,
    of_bool,
    of_double,
    of_int,
    of_text,
)

cdef double TWO_TO_63 = 9223372036854775808.0
cdef int DOUBLE_CHARS_MAX = 32  # sign, 17 digits, point, exponent
cdef int NUMBER_CHARS_MAX = 400  # a double's shortest exact decimals need fewer


cdef Value to_bool(const Value* value) noexcept nogil:
    if value.kind == BOOL:
        return value[0]
    if value.kind != STRING:
        return failure(NO_OVERLOAD)
    if _is(value, b"true") or _is(value, b"True") or _is(value, b"TRUE"):
        return of_bool(True)
    if _is(value, b"false") or _is(value, b"False") or _is(value, b"FALSE"):
        return of_bool(False)
    if _is(value, b"t") or _is(value, b"1"):
        return of_bool(True)
    if _is(value, b"f") or _is(value, b"0"):
        return of_bool(False)
    return failure(CONVERSION)


cdef bint _is(const Value* value, const char* text) noexcept nogil:
    """Whether the STRING is `text`, which ends with a zero byte."""
    cdef int64_t index
    for index in range(value.size):
        if text[index] == 0 or text[index] != value.of.text[index]:
            return False
    return text[value.size] == 0


cdef Value to_int(const Value* value) noexcept nogil:
    cdef double real
    if value.kind == INT:
        return value[0]
    if value.kind == DOUBLE:
        real = value.of.real
        # The bounds are excluded though -2**63 is an int64: so the spec's cases have it.
        if -TWO_TO_63 < real < TWO_TO_63:
            return of_int(<int64_t>real)
        return failure(OVERFLOW)
    if value.kind == STRING:
        return _read_int(value)
    if value.kind == TIMESTAMP:
        return of_int(value.of.number)
    return failure(NO_OVERLOAD)


cdef Value _read_int(const Value* value) noexcept nogil:
    cdef Value text = _stripped(value)
    cdef uint64_t number = 0, most = 9223372036854775807
    cdef int64_t index = 0
    cdef bint negative = False
    cdef int digit
    if text.size and (text.of.text[0] == b"-" or text.of.text[0] == b"+"):
        negative, index = text.of.text[0] == b"-", 1
    if index == text.size:
        return failure(CONVERSION)
    most += negative
    while index < text.size:
        digit = text.of.text[index] - c"0"
        if not 0 <= digit <= 9 or number > (most - <uint64_t>digit) // 10:
            return failure(CONVERSION)
        number, index = number * 10 + <uint64_t>digit, index + 1
    return of_int(<int64_t>(0 - number) if negative else <int64_t>number)


cdef Value _stripped(const Value* value) noexcept nogil:
    """The STRING without ASCII white space around it."""
    cdef const char* text = value.of.text
    cdef int64_t start = 0, end = value.size
    while start < end and _is_space(text[start]):
        start += 1
    while end > start and _is_space(text[end - 1]):
        end -= 1
    return of_text(text + start, end - start)


cdef bint _is_space(char letter) noexcept nogil:
    return letter == c" " or 9 <= letter <= 13


cdef Value to_double(const Value* value) noexcept nogil:
    cdef Value text
    if value.kind == DOUBLE:
        return value[0]
    if value.kind == INT:
        return of_double(<double>value.of.number)
    if value.kind == STRING:
        text = _stripped(value)
        return _read_double(text.of.text, text.size)
    return failure(NO_OVERLOAD)


cdef Value to_string(const Value* value, Scratch* scratch) noexcept nogil:
    cdef char text[64]
    cdef int64_t size
    if value.kind == STRING:
        return value[0]
    if value.kind == BOOL:
        return of_text(b"true", 4) if value.of.number else of_text(b"false", 5)
    if value.kind == INT:
        size = snprintf(text, MOMENT_CHARS_MAX, b"%lld", <long long>value.of.number)
    elif value.kind == DOUBLE:
        size = _write_double(value.of.real, text)
    elif value.kind == TIMESTAMP:
        size = write_timestamp(value, text)
    elif value.kind == DURATION:
        size = write_duration(value, text)
    else:
        return failure(NO_OVERLOAD)
    return _copied(text, size, scratch)


cdef Value _copied(const char* text, int64_t size, Scratch* scratch) noexcept nogil:
    cdef char* copy = <char*>take(scratch, size)
    if copy == NULL or size < 0:
        return failure(TOO_LARGE)
    memcpy(copy, text, size)
    return of_text(copy, size)


cdef Value to_timestamp(const Value* value) noexcept nogil:
    if value.kind == TIMESTAMP:
        return value[0]
    if value.kind == INT:
        return timestamp_of(value.of.number, 0)
    if value.kind == STRING:
        return read_timestamp(value.of.text, value.size)
    return failure(NO_OVERLOAD)


cdef Value to_duration(const Value* value) noexcept nogil:
    if value.kind == DURATION:
        return value[0]
    if value.kind == STRING:
        return read_duration(value.of.text, value.size)
    return failure(NO_OVERLOAD)


# Exact decimals of doubles are Python's own: no C function gives them without a locale.
cdef Value _read_double(const char* text, int64_t size) noexcept with gil:
    cdef bytes digits
    if size > NUMBER_CHARS_MAX:
        return failure(CONVERSION)
    digits = text[:size]
    if b"_" in digits:
        return failure(CONVERSION)
    try:
        return of_double(float(digits))
    except ValueError:
        return failure(CONVERSION)


cdef int64_t _write_double(double real, char* to) noexcept with gil:
    cdef bytes text
    try:
        text = _double_text(real)
    except MemoryError:
        return -1
    memcpy(to, <char*>text, len(text))
    return len(text)


cdef bytes _double_text(double real):
    """As cel-cpp: `1`, `123.456`, `1.5e+06`, `inf`."""
    if not isfinite(real):
        return b"nan" if real != real else b"inf" if real > 0 else b"-inf"
    sign = "-" if str(real).startswith("-") else ""
    mantissa, _, power = repr(abs(real)).partition("e")
    whole, _, decimals = mantissa.partition(".")
    digits = (whole + decimals).lstrip("0")
    exponent = len(whole) - 1 + int(power or 0)
    exponent -= len(whole + decimals) - len(digits)
    digits = digits.rstrip("0")
    if not digits:
        return (sign + "0").encode()
    if -5 < exponent < 6:
        if exponent < 0:
            return (sign + "0." + "0" * (-exponent - 1) + digits).encode()
        digits = digits.ljust(exponent + 1, "0")
        point = "." if len(digits) > exponent + 1 else ""
        return (sign + digits[: exponent + 1] + point + digits[exponent + 1 :]).encode()
    point = "." if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}{digits[1:]}e{exponent:+03d}".encode()
