"""A share of so much a minute, spent without asking: any interval t admits at most burst + rate * t.

Reads no clock: `now_ns` is monotonic. Nothing of it is kept on disk: what is not used of a minute is
gone, so a share that is forgotten costs a minute at the most.

Source: generic cell rate algorithm, ITU-T I.371, annex A, in its form as a bucket that fills; whole
units, with the rest of a division carried on, so nothing is lost or granted early.
"""

from libc.stdint cimport int64_t

cdef extern from *:
    """typedef __int128 harmost_wide;"""
    ctypedef long long wide "harmost_wide"

cdef int64_t MINUTE_NS = 60_000_000_000
cdef int64_t AMOUNT_MAX = 1_000_000_000_000_000_000


cdef int64_t rate_earned(const Rate* rate, int64_t elapsed_ns) noexcept nogil:
    """What is earned in so long a time, at the most AMOUNT_MAX: all that can have been taken."""
    # Wide: 10**18 a minute times a minute in nanoseconds leave int64.
    cdef wide earned = <wide> elapsed_ns * rate.per_minute // MINUTE_NS
    return <int64_t> earned if earned < AMOUNT_MAX else AMOUNT_MAX


cdef void rate_refill(Rate* rate, int64_t now_ns) noexcept nogil:
    """Add what was earned until `now_ns`; a clock that goes back earns nothing."""
    # INVARIANT: 0 <= level <= level_max, 0 <= rest < MINUTE_NS.
    cdef int64_t elapsed_ns = now_ns - rate.updated_ns
    cdef wide earned
    if elapsed_ns <= 0:
        return
    rate.updated_ns = now_ns
    earned = <wide> elapsed_ns * rate.per_minute + rate.rest
    if earned // MINUTE_NS >= rate.level_max - rate.level:
        rate.level, rate.rest = rate.level_max, 0
        return
    rate.level += <int64_t> (earned // MINUTE_NS)
    rate.rest = <int64_t> (earned % MINUTE_NS)


cdef class RateShare:
    """One Router's share of a rate; `take` is O(1)."""

    def __init__(self, *, int64_t per_minute, int64_t burst, int64_t level, int64_t now_ns):
        check(per_minute)
        check(burst)
        check(level)
        self._rate = Rate(min(level, burst), burst, per_minute, 0, now_ns)

    @property
    def per_minute(self) -> int:
        return self._rate.per_minute

    @property
    def burst(self) -> int:
        return self._rate.level_max

    def level(self, int64_t now_ns) -> int:
        """What may be taken at `now_ns`."""
        rate_refill(&self._rate, now_ns)
        return self._rate.level

    def take(self, int64_t amount, *, int64_t now_ns) -> bool:
        """Take `amount`, 0..10**18; False, and nothing taken, if less is there."""
        check(amount)
        rate_refill(&self._rate, now_ns)
        if self._rate.level < amount:
            return False
        self._rate.level -= amount
        return True

    def give_back(self, int64_t amount, *, int64_t taken_ns, int64_t now_ns) -> None:
        """Return `amount` of what was taken at `taken_ns` and not used.

        Only what the bucket has not filled up with since: no more than if it had never been taken.
        """
        check(amount)
        rate_refill(&self._rate, now_ns)
        cdef int64_t elapsed_ns = max(now_ns - taken_ns, 0)
        cdef int64_t filled = rate_earned(&self._rate, elapsed_ns)
        # One more: the rest of a division may have filled it with a part of a unit.
        cdef int64_t back = amount - filled - 1 if elapsed_ns else amount
        if back > 0:
            self._rate.level = min(self._rate.level_max, self._rate.level + back)

    def wait_ns(self, int64_t amount, *, int64_t now_ns) -> int:
        """How long until `amount` may be taken if nothing else is; -1: never, it exceeds the burst."""
        check(amount)
        rate_refill(&self._rate, now_ns)
        if amount <= self._rate.level:
            return 0
        if amount > self._rate.level_max or self._rate.per_minute == 0:
            return -1
        lacks = (amount - self._rate.level) * int(MINUTE_NS) - self._rate.rest
        return -(-lacks // self._rate.per_minute)

    def share_to(self, *, int64_t per_minute, int64_t burst, int64_t now_ns) -> None:
        """Change the share; what is there stays, up to the new burst, and nothing is added."""
        check(per_minute)
        check(burst)
        rate_refill(&self._rate, now_ns)
        self._rate.per_minute, self._rate.level_max = per_minute, burst
        self._rate.level, self._rate.rest = min(self._rate.level, burst), 0


cdef int check(int64_t amount) except -1:
    if not 0 <= amount <= AMOUNT_MAX:
        raise ValueError(f"amounts must be in 0..{AMOUNT_MAX}: {amount}")
    return 0
