"""A bucket that fills with so much a minute: any interval t uses at most burst + rate * t of it.

Reads no clock: `now_ns` is monotonic. An attempt takes its hold when it is admitted, and gives back
at its end what it did not use, as far as the bucket would not have been full without it: what open
holds may give back is *credit*, which room in the bucket is kept for; where the bucket fills up
nevertheless, the oldest credit is burnt.

INVARIANT: level + credit <= burst. So what is there, and what may yet come back, is no more than in a
bucket from which each attempt took what it used in the end, and no more, at its admission.

Source: generic cell rate algorithm, ITU-T I.371, annex A, in its form as a bucket that fills; whole
units, with the rest of a division carried on, so nothing is lost or granted early.
"""

from collections import OrderedDict

from libc.stdint cimport int64_t

cdef extern from *:
    """typedef __int128 harmost_wide;"""
    ctypedef long long wide "harmost_wide"

cdef int64_t MINUTE_NS = 60_000_000_000
cdef int64_t AMOUNT_MAX = 1_000_000_000_000_000_000


cdef int64_t rate_refill(Rate* rate, int64_t now_ns) noexcept nogil:
    """Add what was earned until `now_ns`; a clock that goes back earns nothing. What it burns."""
    # INVARIANT: -4 * AMOUNT_MAX <= level <= level_max, 0 <= rest < MINUTE_NS.
    cdef int64_t elapsed_ns = now_ns - rate.updated_ns
    cdef wide earned
    if elapsed_ns <= 0:
        return 0
    rate.updated_ns = now_ns
    # Wide: 10**18 a minute times any time in nanoseconds leave int64.
    earned = <wide> elapsed_ns * rate.per_minute + rate.rest
    if earned // MINUTE_NS >= rate.level_max - rate.level:
        rate.level, rate.rest = rate.level_max, 0
    else:
        rate.level += <int64_t> (earned // MINUTE_NS)
        rate.rest = <int64_t> (earned % MINUTE_NS)
    return rate_burn(rate)


cdef int64_t rate_burn(Rate* rate) noexcept nogil:
    """Take from credit what is more than fits beside the level; how much."""
    # A part of a unit counts as one: it may be whole before anything is given back.
    cdef int64_t over = rate.level + rate.credit + (rate.rest > 0) - rate.level_max
    if over <= 0:
        return 0
    rate.credit -= over
    return over


cdef class RateShare:
    """A share of a rate. `take`, `close` and the others are O(1), but for credit that is burnt."""

    def __init__(self, *, int64_t per_minute, int64_t burst, int64_t level, int64_t now_ns):
        check(per_minute)
        check(burst)
        check(level)
        self._rate = Rate(min(level, burst), burst, 0, per_minute, 0, now_ns)
        self._credits = OrderedDict()

    @property
    def per_minute(self) -> int:
        return self._rate.per_minute

    @property
    def burst(self) -> int:
        return self._rate.level_max

    @property
    def credit(self) -> int:
        return self._rate.credit

    def level(self, int64_t now_ns) -> int:
        """What may be taken at `now_ns`; below 0: that much more was used than held."""
        self._burn(rate_refill(&self._rate, now_ns))
        return self._rate.level

    def take(self, hold: object, int64_t amount, *, int64_t now_ns) -> bool:
        """Take `amount`, 0..10**18, more for `hold`; False, and nothing taken, if less is there."""
        check(amount)
        self._burn(rate_refill(&self._rate, now_ns))
        if amount and self._rate.level < amount:
            return False
        self._rate.level -= amount
        self._rate.credit += amount
        self._credits[hold] = self._credits.get(hold, 0) + amount
        return True

    def close(self, hold: object, *, int64_t held, int64_t used) -> None:
        """Give back what `hold` did not use, or take what it used beyond `held`. O(1)."""
        check(held)
        check(used)
        cdef int64_t credit = self._credits.pop(hold, 0)
        self._rate.credit -= credit
        if used > held:
            self._rate.level = max(self._rate.level - (used - held), -AMOUNT_MAX)
        elif credit > used:
            self._rate.level += credit - used

    def pay(self, int64_t amount, *, int64_t now_ns) -> None:
        """Add `amount` that another bucket gave, as far as it fits."""
        check(amount)
        self._burn(rate_refill(&self._rate, now_ns))
        if amount >= self._rate.level_max - self._rate.level:
            self._rate.level, self._rate.rest = self._rate.level_max, 0
        else:
            self._rate.level += amount
        self._burn(rate_burn(&self._rate))

    def pay_out(self, int64_t amount, *, int64_t now_ns) -> None:
        """Take `amount` for another bucket; ValueError where less is there."""
        check(amount)
        self._burn(rate_refill(&self._rate, now_ns))
        if amount and amount > self._rate.level:
            raise ValueError(f"{self._rate.level} is there: {amount} cannot be given")
        self._rate.level -= amount

    def share_to(self, *, int64_t per_minute, int64_t burst, int64_t now_ns) -> None:
        """Change the share; what is there stays, up to the new burst, and nothing is added."""
        check(per_minute)
        check(burst)
        self._burn(rate_refill(&self._rate, now_ns))
        self._rate.per_minute, self._rate.level_max = per_minute, burst
        if self._rate.level >= burst:
            self._rate.level, self._rate.rest = burst, 0
        self._burn(rate_burn(&self._rate))

    def wait_ns(self, int64_t amount, *, int64_t now_ns) -> int:
        """How long until `amount` may be taken if nothing else is; -1: never, it exceeds the burst."""
        check(amount)
        self._burn(rate_refill(&self._rate, now_ns))
        if amount <= self._rate.level or amount == 0:
            return 0
        if amount > self._rate.level_max or self._rate.per_minute == 0:
            return -1
        lacks = (amount - self._rate.level) * int(MINUTE_NS) - self._rate.rest
        return -(-lacks // self._rate.per_minute)

    def empty(self, int64_t now_ns) -> None:
        """Forget what is there and what may come back, but not what is owed."""
        self._burn(rate_refill(&self._rate, now_ns))
        self._burn(self._rate.credit)
        self._rate.credit = 0
        self._rate.level, self._rate.rest = min(self._rate.level, 0), 0

    cdef int _burn(self, int64_t amount) except -1:
        """Note which holds lost `amount` of credit: the oldest."""
        cdef int64_t credit
        while amount > 0:
            hold, found = self._credits.popitem(last=False)
            credit = found
            if credit > amount:
                self._credits[hold] = credit - amount
                self._credits.move_to_end(hold, last=False)
                return 0
            amount -= credit
        return 0


cdef int check(int64_t amount) except -1:
    if not 0 <= amount <= AMOUNT_MAX:
        raise ValueError(f"amounts must be in 0..{AMOUNT_MAX}: {amount}")
    return 0
