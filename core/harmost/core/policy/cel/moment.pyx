"""Timestamps and durations: read, written, added, subtracted. Whole nanoseconds, no clock, no zones.

Timestamps are of the years 1 to 9999. Durations are at most 10,000 years as literals; sums, differences
and the time between two timestamps are at most 2**63 nanoseconds, about 292 years, as in cel-go and
cel-cpp.

Source: cel-spec, langdef.md, "Timestamp", "Duration"; RFC 3339, section 5.6; days from civil dates as in
H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
"""

from libc.stdio cimport snprintf

from harmost.core.policy.cel.value cimport (
    CONVERSION,
    DURATION,
    TIME_RANGE,
    TIMESTAMP,
    failure,
    of_moment,
)

cdef int64_t NANOS_PER_S = 1_000_000_000
cdef int64_t SECONDS_MIN = -62_135_596_800      # 0001-01-01T00:00:00Z
cdef int64_t SECONDS_MAX = 253_402_300_799      # 9999-12-31T23:59:59Z
cdef int64_t SPAN_SECONDS_MAX = 315_576_000_000  # of google.protobuf.Duration
cdef int64_t SUM_SECONDS_MAX = 9_223_372_036    # in 2**63 - 1 nanoseconds, with
cdef int64_t SUM_NANOS_MAX = 854_775_807
cdef int64_t WHOLE_MAX = 922_337_203_685_477_579  # another digit still fits an int64
cdef int64_t SCALE_MAX = 1_000_000_000_000_000    # decimals of hours beyond these say no nanosecond

cdef extern from *:
    ctypedef long long int128_t "__int128_t"


cdef Value timestamp_of(int64_t seconds, int64_t nanos) noexcept nogil:
    """`nanos` in 0..999,999,999."""
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        return failure(TIME_RANGE)
    return of_moment(TIMESTAMP, seconds, <int32_t>nanos)


cdef Value duration_of(int64_t seconds, int64_t nanos) noexcept nogil:
    """Any `nanos` within a few seconds; `seconds` far from overflow. Gives both the same sign."""
    seconds += nanos // NANOS_PER_S
    nanos %= NANOS_PER_S
    if seconds > 0 and nanos < 0:
        seconds, nanos = seconds - 1, nanos + NANOS_PER_S
    elif seconds < 0 and nanos > 0:
        seconds, nanos = seconds + 1, nanos - NANOS_PER_S
    if not -SPAN_SECONDS_MAX <= seconds <= SPAN_SECONDS_MAX:
        return failure(TIME_RANGE)
    return of_moment(DURATION, seconds, <int32_t>nanos)


cdef Value shifted(const Value* moment, const Value* span, int sign) noexcept nogil:
    """`moment` + `sign` * `span`."""
    cdef int64_t seconds = moment.of.number + sign * span.of.number
    cdef int64_t nanos = moment.nanos + sign * span.nanos
    if nanos < 0:
        seconds, nanos = seconds - 1, nanos + NANOS_PER_S
    elif nanos >= NANOS_PER_S:
        seconds, nanos = seconds + 1, nanos - NANOS_PER_S
    return timestamp_of(seconds, nanos)


cdef Value sum_of(const Value* left, const Value* right, int sign) noexcept nogil:
    """`left` + `sign` * `right`, both durations."""
    if not _summable(left) or not _summable(right):
        return failure(TIME_RANGE)
    return _bounded(
        left.of.number + sign * right.of.number, <int64_t>left.nanos + sign * <int64_t>right.nanos
    )


cdef Value between(const Value* later, const Value* earlier) noexcept nogil:
    """`later` - `earlier`."""
    return _bounded(later.of.number - earlier.of.number, <int64_t>later.nanos - earlier.nanos)


cdef Value _bounded(int64_t seconds, int64_t nanos) noexcept nogil:
    cdef Value span = duration_of(seconds, nanos)
    return span if _summable(&span) else failure(TIME_RANGE)


cdef bint _summable(const Value* span) noexcept nogil:
    # -2**63 ns itself has one nanosecond more than this says; so do cel-go and cel-cpp.
    cdef int64_t seconds = span.of.number if span.of.number >= 0 else -span.of.number
    cdef int64_t nanos = span.nanos if span.nanos >= 0 else -span.nanos
    if span.kind != DURATION:
        return False
    if seconds == SUM_SECONDS_MAX:
        return nanos <= SUM_NANOS_MAX + (span.of.number < 0)
    return seconds < SUM_SECONDS_MAX


cdef Value read_timestamp(const char* text, int64_t size) noexcept nogil:
    """RFC 3339 with any number of decimals, those after nine dropped."""
    cdef int64_t year, month, day, hour, minute, second, nanos = 0, scale = NANOS_PER_S
    cdef int64_t at = 19, seconds
    if size < 20 or text[4] != b"-" or text[7] != b"-" or text[13] != b":" or text[16] != b":":
        return failure(CONVERSION)
    if text[10] != b"T" and text[10] != b"t":
        return failure(CONVERSION)
    year, month, day = _digits(text, 4), _digits(text + 5, 2), _digits(text + 8, 2)
    hour, minute, second = _digits(text + 11, 2), _digits(text + 14, 2), _digits(text + 17, 2)
    if min(year, month, day) < 0 or min(hour, minute, second) < 0:
        return failure(CONVERSION)
    if not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month):
        return failure(CONVERSION)
    if hour > 23 or minute > 59 or second > 59:
        return failure(CONVERSION)
    if text[at] == b".":
        at += 1
        if at == size or not _is_digit(text[at]):
            return failure(CONVERSION)
        while at < size and _is_digit(text[at]):
            scale //= 10
            nanos += scale * (text[at] - c"0")
            at += 1
    seconds = _days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    return _with_offset(seconds, nanos, text + at, size - at)


cdef Value _with_offset(int64_t seconds, int64_t nanos, const char* text, int64_t size) noexcept nogil:
    """A timestamp of local `seconds`, where `text` is what is left: Z, or the offset of the zone."""
    cdef int64_t hour, minute
    if size == 1 and (text[0] == b"Z" or text[0] == b"z"):
        return timestamp_of(seconds, nanos)
    if size != 6 or (text[0] != b"+" and text[0] != b"-") or text[3] != b":":
        return failure(CONVERSION)
    hour, minute = _digits(text + 1, 2), _digits(text + 4, 2)
    if not 0 <= hour <= 23 or not 0 <= minute <= 59:
        return failure(CONVERSION)
    seconds += (hour * 3600 + minute * 60) * (-1 if text[0] == b"+" else 1)
    return timestamp_of(seconds, nanos)


cdef int64_t _digits(const char* text, int count) noexcept nogil:
    """The number in the first `count` characters, -1 if they are not all digits."""
    cdef int64_t number = 0
    cdef int index
    for index in range(count):
        if not _is_digit(text[index]):
            return -1
        number = number * 10 + (text[index] - c"0")
    return number


cdef bint _is_digit(char letter) noexcept nogil:
    return c"0" <= letter <= c"9"


cdef int64_t _days_in(int64_t year, int64_t month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef int64_t _days(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days since 1970-01-01, for years from 0 on."""
    cdef int64_t era, of_era, of_year
    year -= month <= 2
    # Years start in March; in year 0 that is the year -1.
    era = (year if year >= 0 else year - 399) // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


cdef int64_t write_timestamp(const Value* moment, char* to) noexcept nogil:
    """RFC 3339 in UTC with 0, 3, 6 or 9 decimals; how many characters. `to` has MOMENT_CHARS_MAX."""
    cdef int64_t days, of_day, shifted_days, era, of_era, years, of_year, month, day, year, size
    of_day = moment.of.number % 86_400
    if of_day < 0:
        of_day += 86_400
    days = (moment.of.number - of_day) // 86_400
    shifted_days = days + 719_468  # since 0000-03-01: not negative for years from 1 on
    era = shifted_days // 146_097
    of_era = shifted_days - era * 146_097
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    year = years + era * 400 + (month <= 2)
    size = snprintf(
        to, MOMENT_CHARS_MAX, b"%04d-%02d-%02dT%02d:%02d:%02d",
        <int>year, <int>month, <int>day,
        <int>(of_day // 3600), <int>(of_day // 60 % 60), <int>(of_day % 60),
    )
    size += _write_decimals(moment.nanos, to + size)
    to[size] = c"Z"
    return size + 1


cdef int64_t _write_decimals(int32_t nanos, char* to) noexcept nogil:
    if nanos == 0:
        return 0
    if nanos % 1_000_000 == 0:
        return snprintf(to, 16, b".%03d", <int>(nanos // 1_000_000))
    if nanos % 1000 == 0:
        return snprintf(to, 16, b".%06d", <int>(nanos // 1000))
    return snprintf(to, 16, b".%09d", <int>nanos)


cdef int64_t write_duration(const Value* span, char* to) noexcept nogil:
    """Seconds with 0, 3, 6 or 9 decimals and an `s`; how many characters."""
    cdef bint negative = span.of.number < 0 or span.nanos < 0
    cdef int64_t seconds = -span.of.number if negative else span.of.number
    cdef int64_t size
    size = snprintf(to, MOMENT_CHARS_MAX, b"%s%lld", b"-" if negative else b"", <long long>seconds)
    size += _write_decimals(-span.nanos if negative else span.nanos, to + size)
    to[size] = c"s"
    return size + 1


cdef Value read_duration(const char* text, int64_t size) noexcept nogil:
    """Numbers with units (h, m, s, ms, us, ns) in any order, one sign before all; `0` needs no unit."""
    cdef int64_t at = 0, seconds = 0, nanos = 0
    cdef int sign = 1
    if size > 0 and (text[0] == b"-" or text[0] == b"+"):
        sign, at = -1 if text[0] == b"-" else 1, 1
    if size - at == 1 and text[at] == b"0":
        return of_moment(DURATION, 0, 0)
    if at == size:
        return failure(CONVERSION)
    while at < size:
        at = _read_part(text, at, size, &seconds, &nanos)
        if at < 0:
            return failure(CONVERSION)
        if seconds > SPAN_SECONDS_MAX:
            return failure(TIME_RANGE)
    return duration_of(sign * seconds, sign * nanos)


cdef int64_t _read_part(
    const char* text, int64_t at, int64_t size, int64_t* seconds, int64_t* nanos
) noexcept nogil:
    """Add the number and unit at `at`; where the next begins, or -1. `nanos` stays below a second."""
    cdef int64_t whole = 0, decimals = 0, scale = 1, unit_nanos = 0, digits = 0
    while at < size and _is_digit(text[at]):
        if whole > WHOLE_MAX:
            return -1
        whole = whole * 10 + (text[at] - c"0")
        at, digits = at + 1, digits + 1
    if at < size and text[at] == b".":
        at += 1
        while at < size and _is_digit(text[at]):
            if scale < SCALE_MAX:
                decimals, scale = decimals * 10 + (text[at] - c"0"), scale * 10
            at, digits = at + 1, digits + 1
    if digits == 0 or at == size:
        return -1
    at = _read_unit(text, at, size, &unit_nanos)
    if at < 0:
        return -1
    _add_part(whole, decimals, scale, unit_nanos, seconds, nanos)
    return at


cdef int64_t _read_unit(const char* text, int64_t at, int64_t size, int64_t* nanos) noexcept nogil:
    cdef char second = text[at + 1] if at + 1 < size else 0
    if second == c"s" and (text[at] == c"m" or text[at] == c"u" or text[at] == c"n"):
        nanos[0] = 1_000_000 if text[at] == c"m" else 1000 if text[at] == c"u" else 1
        return at + 2
    if text[at] == c"h":
        nanos[0] = 3600 * NANOS_PER_S
    elif text[at] == c"m":
        nanos[0] = 60 * NANOS_PER_S
    elif text[at] == c"s":
        nanos[0] = NANOS_PER_S
    else:
        return -1
    return at + 1


cdef void _add_part(
    int64_t whole, int64_t decimals, int64_t scale, int64_t unit_nanos,
    int64_t* seconds, int64_t* nanos,
) noexcept nogil:
    """`whole` + `decimals` / `scale` units. What is out of range stays so, without overflow."""
    cdef int64_t units_per_s = max(NANOS_PER_S // unit_nanos, 1)
    cdef int64_t seconds_per_unit = max(unit_nanos // NANOS_PER_S, 1)
    seconds[0] += min(whole // units_per_s, 2 * SPAN_SECONDS_MAX) * seconds_per_unit
    nanos[0] += whole % units_per_s * unit_nanos
    nanos[0] += <int64_t>(<int128_t>decimals * unit_nanos // scale)
    seconds[0] += nanos[0] // NANOS_PER_S
    nanos[0] %= NANOS_PER_S
