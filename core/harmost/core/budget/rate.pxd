from libc.stdint cimport int64_t

cdef struct Rate:
    int64_t level       # may be taken now
    int64_t level_max   # burst
    int64_t per_minute
    int64_t rest        # of a unit, in units * ns of a minute
    int64_t updated_ns  # monotonic

cdef void rate_refill(Rate* rate, int64_t now_ns) noexcept nogil
cdef int64_t rate_earned(const Rate* rate, int64_t elapsed_ns) noexcept nogil

cdef class RateShare:
    cdef Rate _rate
