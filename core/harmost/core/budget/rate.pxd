from libc.stdint cimport int64_t

cdef struct Rate:
    int64_t level       # may be taken now; below 0: more was used than held
    int64_t level_max   # burst
    int64_t credit      # what open holds may still give back
    int64_t per_minute
    int64_t rest        # of a unit, in units * ns of a minute
    int64_t updated_ns  # monotonic

cdef int64_t rate_refill(Rate* rate, int64_t now_ns) noexcept nogil
cdef int64_t rate_burn(Rate* rate) noexcept nogil

cdef class RateShare:
    cdef Rate _rate
    cdef object _credits  # of what may be given back, by hold, the oldest first
    cdef int _burn(self, int64_t amount) except -1
