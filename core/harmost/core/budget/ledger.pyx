"""Balances and holds in memory: takes an amount from every counter of a path, all or nothing.

Knows no windows, documents or files: a caller says which counters, and keeps them on disk.

Source: escrow, O'Neil, "The Escrow Transactional Method", ACM TODS 11(4), 1986, section 3: what is
reserved counts as used until it is settled, so no order of settlements can pass the limit.
"""

from libc.stdint cimport int64_t

cdef int64_t AMOUNT_MAX = 1_000_000_000_000_000_000
# What a counter may sum up to. Limit + debt stays below 2**63 because debt never exceeds settled.
cdef int64_t COUNTER_MAX = 4_000_000_000_000_000_000


cdef int64_t room(const Balance* balance) noexcept nogil:
    # What still fits: below the limit, and in either case below what a counter can hold.
    cdef int64_t physical = COUNTER_MAX - balance.settled - balance.held
    cdef int64_t allowed = available(balance)
    return allowed if balance.hard and allowed < physical else physical


cdef int64_t available(const Balance* balance) noexcept nogil:
    return balance.limit + balance.debt - balance.settled - balance.held


cdef Py_ssize_t reserve_all(
    Balance** balances,
    Py_ssize_t count,
    const int64_t* amounts,
    const int64_t* minimums,
    int64_t* held,
) noexcept nogil:
    """Hold the most, up to `amounts`, that fits everywhere; -1, or which counter has too little."""
    # INVARIANT: for each hard counter, settled + held <= limit + debt, unless its limit was
    # lowered or an adjustment took more: then nothing is added until it fits again.
    cdef Py_ssize_t tightest[UNITS]
    cdef Py_ssize_t i
    cdef int unit
    cdef int64_t fits
    for unit in range(UNITS):
        held[unit] = amounts[unit]
        tightest[unit] = -1
    for i in range(count):
        unit = balances[i].unit
        if amounts[unit] == 0:
            continue  # nothing always fits, even below a counter that is overdrawn
        fits = room(balances[i])
        if fits < held[unit]:
            held[unit] = fits
            tightest[unit] = i
    for unit in range(UNITS):
        if held[unit] < minimums[unit]:
            return tightest[unit]
    for i in range(count):
        balances[i].held += held[balances[i].unit]
    return -1


cdef Py_ssize_t close_all(
    Balance** balances, Py_ssize_t count, const int64_t* held, const int64_t* used
) noexcept nogil:
    """Replace a hold by what was used; -1, or which counter would overflow (nothing is changed)."""
    # INVARIANT: held >= the sum of the open holds >= this one; 0 <= debt <= settled.
    cdef Py_ssize_t i
    cdef int unit
    for i in range(count):
        if used[balances[i].unit] > COUNTER_MAX - balances[i].settled:
            return i
    for i in range(count):
        unit = balances[i].unit
        balances[i].held -= held[unit]
        balances[i].settled += used[unit]
        if used[unit] > held[unit]:
            balances[i].debt += used[unit] - held[unit]
    return -1


cdef class Counter:
    """Balances of one ceiling in one window. `id` is the caller's own number for it."""

    def __init__(
        self,
        int64_t id,
        *,
        int unit,
        int64_t limit,
        bint hard,
        int64_t settled=0,
        int64_t held=0,
        int64_t debt=0,
    ):
        if not 1 <= unit <= UNITS:
            raise ValueError(f"unit must be in 1..{UNITS}: {unit}")
        if not 0 <= debt <= settled <= COUNTER_MAX or not 0 <= held <= COUNTER_MAX:
            raise ValueError(f"balances do not fit: settled {settled}, held {held}, debt {debt}")
        self.id = id
        self._balance = Balance(0, settled, held, debt, unit - 1, hard)
        self.limit_to(limit, hard=hard)

    def limit_to(self, int64_t limit, *, bint hard) -> None:
        """Change the ceiling; what is settled and held stays. `limit` is 0..10**18."""
        if not 0 <= limit <= AMOUNT_MAX:
            raise ValueError(f"limit must be in 0..{AMOUNT_MAX}: {limit}")
        self._balance.limit = limit
        self._balance.hard = hard

    def adjust(self, int64_t delta) -> int:
        """Add `delta` to what is settled; returns the change of debt, which is repaid first.

        ValueError, and nothing changed, where settled would leave 0..4 * 10**18.
        """
        cdef Balance* balance = &self._balance
        if not -balance.settled <= delta <= COUNTER_MAX - balance.settled - balance.held:
            raise ValueError(f"settled is {balance.settled}: {delta} cannot be added to it")
        cdef int64_t repaid = min(balance.debt, -delta) if delta < 0 else 0
        balance.settled += delta
        balance.debt -= repaid
        return -repaid

    @property
    def unit(self) -> int:
        return self._balance.unit + 1

    @property
    def hard(self) -> bool:
        return self._balance.hard

    @property
    def limit(self) -> int:
        return self._balance.limit

    @property
    def settled(self) -> int:
        return self._balance.settled

    @property
    def held(self) -> int:
        return self._balance.held

    @property
    def debt(self) -> int:
        return self._balance.debt

    @property
    def used(self) -> int:
        return self._balance.settled + self._balance.held

    @property
    def available(self) -> int:
        return available(&self._balance)


cdef class Hold:
    """What one attempt has reserved; closed once, by `settle` or by `void`."""

    @property
    def usd_nanos(self) -> int:
        return self._held[0]

    @property
    def tokens(self) -> int:
        return self._held[1]

    def settle(self, *, int64_t usd_nanos, int64_t tokens) -> None:
        """Post what was used, each 0..10**18; above the hold it also becomes debt. O(counters).

        ValueError if closed already; OverflowError, and nothing changed, beyond 4 * 10**18.
        """
        check(usd_nanos, tokens)
        cdef int64_t used[UNITS]
        used[0], used[1], used[2] = usd_nanos, tokens, 1
        close(self, used)

    def void(self) -> None:
        """Give the hold back; ValueError if closed already. O(counters)."""
        cdef int64_t used[UNITS]
        used[0], used[1], used[2] = 0, 0, 0
        close(self, used)


def reserve(
    tuple counters,
    *,
    int64_t usd_nanos,
    int64_t tokens,
    int64_t minimum_usd_nanos,
    int64_t minimum_tokens,
) -> Hold | Counter:
    """A hold on every counter, or the counter that has too little; then nothing is held.

    Takes one request, and of money and tokens the most that fits up to what is asked, if at least
    the minimum of each. Amounts are 0..10**18; no counter twice. O(counters), one allocation.
    """
    check(usd_nanos, tokens)
    if not 0 <= minimum_usd_nanos <= usd_nanos or not 0 <= minimum_tokens <= tokens:
        raise ValueError("a minimum must not be negative or above what is asked")
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t count = gather(counters, balances)
    cdef int64_t amounts[UNITS]
    cdef int64_t minimums[UNITS]
    amounts[0], amounts[1], amounts[2] = usd_nanos, tokens, 1
    minimums[0], minimums[1], minimums[2] = minimum_usd_nanos, minimum_tokens, 1
    cdef Hold hold = Hold.__new__(Hold)
    cdef Py_ssize_t denier = reserve_all(balances, count, amounts, minimums, hold._held)
    if denier >= 0:
        return counters[denier]
    hold.counters = counters
    hold.open = True
    return hold


def restore(tuple counters, *, int64_t usd_nanos, int64_t tokens) -> Hold:
    """The hold of an attempt that was reserved before a restart; its counters include it already."""
    check(usd_nanos, tokens)
    cdef Balance* balances[COUNTERS_MAX]
    gather(counters, balances)
    cdef Hold hold = Hold.__new__(Hold)
    hold._held[0], hold._held[1], hold._held[2] = usd_nanos, tokens, 1
    hold.counters = counters
    hold.open = True
    return hold


def spin(tuple counters, *, Py_ssize_t rounds) -> int:
    """Reserve and settle `rounds` times without Python between: what a benchmark measures."""
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t count = gather(counters, balances)
    cdef int64_t amounts[UNITS]
    cdef int64_t used[UNITS]
    cdef int64_t held[UNITS]
    cdef Py_ssize_t denied = 0
    amounts[0], amounts[1], amounts[2] = 1_000, 10, 1
    used[0], used[1], used[2] = 500, 5, 1
    with nogil:
        while rounds > 0:
            rounds -= 1
            if reserve_all(balances, count, amounts, amounts, held) >= 0:
                denied += 1
            elif close_all(balances, count, held, used) >= 0:
                denied += 1
    return denied


cdef int close(Hold hold, const int64_t* used) except -1:
    if not hold.open:
        raise ValueError("the hold is closed already")
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t count = gather(hold.counters, balances)
    if close_all(balances, count, hold._held, used) >= 0:
        raise OverflowError("a counter would pass 4 * 10**18")
    hold.open = False
    return 0


cdef Py_ssize_t gather(tuple counters, Balance** balances) except -1:
    # The tuple keeps the counters alive for as long as the pointers are used.
    cdef Py_ssize_t count = len(counters)
    cdef Py_ssize_t i
    cdef Counter counter
    if count > COUNTERS_MAX:
        raise ValueError(f"more than {COUNTERS_MAX} counters: {count}")
    for i in range(count):
        counter = counters[i]
        balances[i] = &counter._balance
    return count


cdef int check(int64_t usd_nanos, int64_t tokens) except -1:
    if not 0 <= usd_nanos <= AMOUNT_MAX or not 0 <= tokens <= AMOUNT_MAX:
        raise ValueError(f"amounts must be in 0..{AMOUNT_MAX}: {usd_nanos}, {tokens}")
    return 0
