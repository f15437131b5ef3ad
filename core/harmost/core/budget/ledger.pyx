"""Balances and holds in memory: takes an amount from every counter of a path, all or nothing.

Knows no windows, documents, files or messages: a caller says which counters, and keeps them. The
ledger and a Router count with the same counters; the ledger's also lend (escrow.py), a Router's are
limited by what they were lent (leases.py).

Sources: escrow, O'Neil, "The Escrow Transactional Method", ACM TODS 11(4), 1986, section 3: what is
reserved counts as used until it is settled, so no order of settlements can pass the limit. Balegas
et al., "Extending Eventually Consistent Cloud Databases for Enforcing Numeric Invariants", 2015,
section 3: a bounded counter's rights can be lent, and are spent without asking.
"""

from libc.stdint cimport int64_t

cdef int64_t AMOUNT_MAX = 1_000_000_000_000_000_000
# What a counter may sum up to. Limit + debt stays below 2**63 because debt never exceeds settled.
cdef int64_t COUNTER_MAX = 4_000_000_000_000_000_000
BALANCE_MAX = COUNTER_MAX


cdef int64_t room(const Balance* balance) noexcept nogil:
    # What still fits: below the limit, and in either case below what a counter can hold.
    cdef int64_t physical = COUNTER_MAX - in_use(balance)
    cdef int64_t allowed = available(balance)
    return allowed if balance.hard and allowed < physical else physical


cdef int64_t in_use(const Balance* balance) noexcept nogil:
    # All but `settled` only grows into `room`: the sum stays below 2 * COUNTER_MAX, within int64.
    return balance.settled + balance.held + balance.leased + balance.suspense


cdef int64_t available(const Balance* balance) noexcept nogil:
    return balance.limit + balance.debt - in_use(balance)


cdef void note_hold(Balance* balance, int64_t amount) noexcept nogil:
    """Move the estimate of the 95th percentile of holds: up 19 steps or down one, 1 % of it each.

    Source: Ma, Muthukrishnan, Sandler, "Frugal Streaming for Estimating Quantiles", 2013.
    """
    cdef int64_t step = balance.hold_p95 // 100 + 1
    if balance.hold_p95 == 0:
        balance.hold_p95 = amount
    elif amount > balance.hold_p95:
        balance.hold_p95 = min(amount, balance.hold_p95 + 19 * step)
    elif amount < balance.hold_p95:
        balance.hold_p95 = max(amount, balance.hold_p95 - step)


cdef Py_ssize_t reserve_all(
    Balance** balances,
    Py_ssize_t count,
    const int64_t* amounts,
    const int64_t* minimums,
    int64_t* held,
) noexcept nogil:
    """Hold the most, up to `amounts`, that fits everywhere; -1, or which counter has too little."""
    # INVARIANT: for each hard counter, settled + held + leased + suspense <= limit + debt, unless
    # its limit was lowered or an adjustment took more: nothing is added until it fits again.
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
        int64_t leased=0,
        int64_t suspense=0,
    ):
        if not 1 <= unit <= UNITS:
            raise ValueError(f"unit must be in 1..{UNITS}: {unit}")
        cdef bint fit = 0 <= debt <= settled <= COUNTER_MAX and 0 <= held <= COUNTER_MAX
        fit = fit and 0 <= leased <= COUNTER_MAX - held
        if not fit or not 0 <= suspense <= COUNTER_MAX - held - leased:
            raise ValueError(
                f"balances do not fit: settled {settled}, held {held}, debt {debt}, "
                f"leased {leased}, suspense {suspense}"
            )
        self.id = id
        self._balance = Balance(0, settled, held, debt, leased, suspense, 0, 0, unit - 1, hard)
        self.limit_to(limit, hard=hard)

    def limit_to(self, int64_t limit, *, bint hard) -> None:
        """Change the ceiling; what is used stays. `limit` is 0..10**18."""
        if not 0 <= limit <= AMOUNT_MAX:
            raise ValueError(f"limit must be in 0..{AMOUNT_MAX}: {limit}")
        self._balance.limit = limit
        self._balance.hard = hard

    def adjust(self, int64_t delta) -> int:
        """Add `delta` to what is settled; returns the change of debt, which is repaid first.

        ValueError, and nothing changed, where settled would leave 0..4 * 10**18.
        """
        cdef Balance* balance = &self._balance
        if not -balance.settled <= delta <= COUNTER_MAX - in_use(balance):
            raise ValueError(f"settled is {balance.settled}: {delta} cannot be added to it")
        cdef int64_t repaid = min(balance.debt, -delta) if delta < 0 else 0
        balance.settled += delta
        balance.debt -= repaid
        return -repaid

    def lend(self, int64_t amount) -> None:
        """Move `amount` from what is available to what is leased; ValueError where there is less."""
        if not 0 <= amount <= available(&self._balance):
            raise ValueError(f"{available(&self._balance)} is available: {amount} cannot be lent")
        self._balance.leased += amount

    def suspend(self, int64_t amount) -> None:
        """Move `amount` from leased to suspense: whoever has it may have spent it."""
        take(amount, &self._balance.leased)
        self._balance.suspense += amount

    def revive(self, int64_t amount) -> None:
        """Move `amount` from suspense to leased: whoever has it is heard of again."""
        take(amount, &self._balance.suspense)
        self._balance.leased += amount

    def take_back(self, int64_t amount, *, bint suspended) -> None:
        """Make `amount` of what was lent available again: there is evidence that it is unspent."""
        take(amount, &self._balance.suspense if suspended else &self._balance.leased)

    def post(self, *, int64_t used, int64_t lent, int64_t debt, bint suspended) -> None:
        """Settle `used`, which takes `lent` of what was lent and is `debt` above what was held.

        Each is 0..10**18. OverflowError, and nothing changed, beyond 4 * 10**18.
        """
        if not 0 <= debt <= used <= AMOUNT_MAX:
            raise ValueError(f"amounts must be in 0..{AMOUNT_MAX}: used {used}, debt {debt}")
        if used > COUNTER_MAX - self._balance.settled:
            raise OverflowError("a counter would pass 4 * 10**18")
        take(lent, &self._balance.suspense if suspended else &self._balance.leased)
        self._balance.settled += used
        self._balance.debt += debt

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
    def leased(self) -> int:
        return self._balance.leased

    @property
    def suspense(self) -> int:
        return self._balance.suspense

    @property
    def hold_p95(self) -> int:
        return self._balance.hold_p95

    @property
    def open_holds(self) -> int:
        return self._balance.open_holds

    @property
    def used(self) -> int:
        return in_use(&self._balance)

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

    @property
    def requests(self) -> int:
        return self._held[2]

    def settle(self, *, int64_t usd_nanos, int64_t tokens, int64_t requests=1) -> None:
        """Post what was used, each 0..10**18; above the hold it also becomes debt. O(counters).

        ValueError if closed already; OverflowError, and nothing changed, beyond 4 * 10**18.
        """
        cdef int64_t used[UNITS]
        fill(used, usd_nanos, tokens, requests)
        close(self, used)

    def void(self) -> None:
        """Give the hold back; ValueError if closed already. O(counters)."""
        cdef int64_t used[UNITS]
        fill(used, 0, 0, 0)
        close(self, used)

    def extend(self, *, int64_t usd_nanos, int64_t tokens) -> bool:
        """Hold so much more at every counter; False: nothing more, one has too little.

        A part takes its money from its whole. ValueError if closed already.
        """
        cdef int64_t more[UNITS]
        cdef int64_t held[UNITS]
        cdef Balance* balances[COUNTERS_MAX]
        cdef Py_ssize_t count
        fill(more, usd_nanos, tokens, 0)
        check_open(self)
        if self.whole is not None:
            if not self.whole.open or self.whole._held[0] < usd_nanos:
                return False
            more[0] = 0  # it is held at every counter already
        count = gather(self.counters, balances)
        if reserve_all(balances, count, more, more, held) >= 0:
            return False
        self._held[0] += usd_nanos
        self._held[1] += tokens
        if self.whole is not None:
            self.whole._held[0] -= usd_nanos
        return True

    def part(
        self,
        tuple beside,
        *,
        int64_t usd_nanos,
        int64_t tokens,
        int64_t minimum_tokens,
        int64_t requests=1,
    ) -> Hold | Counter | None:
        """A hold whose money comes out of this one, and all else from the counters `beside` it.

        Those count no money. None where this one has too little left, the counter where that has;
        then nothing is held. ValueError if closed already, or if this holds more than money.
        """
        cdef int64_t amounts[UNITS]
        cdef int64_t minimums[UNITS]
        cdef Balance* balances[COUNTERS_MAX]
        cdef Py_ssize_t i, denier
        cdef Hold part = Hold.__new__(Hold)
        fill(amounts, usd_nanos, tokens, requests)
        fill(minimums, 0, minimum_tokens, requests)
        if minimum_tokens > tokens:
            raise ValueError("a minimum must not be negative or above what is asked")
        check_open(self)
        if self.whole is not None or self._held[1] or self._held[2]:
            raise ValueError("only a hold of money alone has parts")
        if self._held[0] < usd_nanos:
            return None
        amounts[0] = 0
        cdef Py_ssize_t count = gather(beside, balances)
        for i in range(count):
            if balances[i].unit == 0:
                raise ValueError("a part's money comes out of its whole: name no counter of money")
        denier = reserve_all(balances, count, amounts, minimums, part._held)
        if denier >= 0:
            return beside[denier]
        for i in range(count):
            note_hold(balances[i], part._held[balances[i].unit])
        self._held[0] -= usd_nanos
        part._held[0] = usd_nanos
        part.whole = self
        begin(part, self.counters + beside)
        return part


def reserve(
    tuple counters,
    *,
    int64_t usd_nanos,
    int64_t tokens,
    int64_t minimum_usd_nanos,
    int64_t minimum_tokens,
    int64_t requests=1,
) -> Hold | Counter:
    """A hold on every counter, or the counter that has too little; then nothing is held.

    Takes `requests`, and of money and tokens the most that fits up to what is asked, if at least
    the minimum of each. Amounts are 0..10**18; no counter twice. O(counters), one allocation.
    """
    cdef int64_t amounts[UNITS]
    cdef int64_t minimums[UNITS]
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t i, denier
    fill(amounts, usd_nanos, tokens, requests)
    fill(minimums, minimum_usd_nanos, minimum_tokens, requests)
    if minimum_usd_nanos > usd_nanos or minimum_tokens > tokens:
        raise ValueError("a minimum must not be negative or above what is asked")
    cdef Py_ssize_t count = gather(counters, balances)
    cdef Hold hold = Hold.__new__(Hold)
    denier = reserve_all(balances, count, amounts, minimums, hold._held)
    if denier >= 0:
        return counters[denier]
    for i in range(count):
        note_hold(balances[i], hold._held[balances[i].unit])
        balances[i].open_holds += 1
    hold.counters = counters
    hold.open = True
    return hold


def restore(tuple counters, *, int64_t usd_nanos, int64_t tokens, int64_t requests=1) -> Hold:
    """The hold of an attempt that was reserved before a restart; its counters include it already."""
    cdef Hold hold = Hold.__new__(Hold)
    fill(hold._held, usd_nanos, tokens, requests)
    begin(hold, counters)
    return hold


def spin(tuple counters, *, Py_ssize_t rounds) -> int:
    """Reserve and settle `rounds` times without Python between: what a benchmark measures."""
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t count = gather(counters, balances)
    cdef int64_t amounts[UNITS]
    cdef int64_t used[UNITS]
    cdef int64_t held[UNITS]
    cdef Py_ssize_t denied = 0
    cdef Py_ssize_t i
    fill(amounts, 1_000, 10, 1)
    fill(used, 500, 5, 1)
    with nogil:
        while rounds > 0:
            rounds -= 1
            if reserve_all(balances, count, amounts, amounts, held) >= 0:
                denied += 1
                continue
            for i in range(count):
                note_hold(balances[i], held[balances[i].unit])
            if close_all(balances, count, held, used) >= 0:
                denied += 1
    return denied


cdef int close(Hold hold, const int64_t* used) except -1:
    cdef int64_t closing[UNITS]
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t count, i
    cdef int unit
    check_open(hold)
    for unit in range(UNITS):
        closing[unit] = hold._held[unit]
    if hold.whole is not None and hold.whole.open:
        # What money a part does not use stays held, by its whole.
        closing[0] = min(used[0], hold._held[0])
    count = gather(hold.counters, balances)
    if close_all(balances, count, closing, used) >= 0:
        raise OverflowError("a counter would pass 4 * 10**18")
    for i in range(count):
        balances[i].open_holds -= 1
    if hold.whole is not None:
        hold.whole._held[0] += hold._held[0] - closing[0]
    hold.open = False
    return 0


cdef int begin(Hold hold, tuple counters) except -1:
    cdef Balance* balances[COUNTERS_MAX]
    cdef Py_ssize_t count = gather(counters, balances)
    cdef Py_ssize_t i
    for i in range(count):
        balances[i].open_holds += 1
    hold.counters = counters
    hold.open = True
    return 0


cdef int take(int64_t amount, int64_t* balance) except -1:
    if not 0 <= amount <= balance[0]:
        raise ValueError(f"{balance[0]} is lent: {amount} cannot be taken from it")
    balance[0] -= amount
    return 0


cdef int check_open(Hold hold) except -1:
    if not hold.open:
        raise ValueError("the hold is closed already")
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


cdef int fill(int64_t* amounts, int64_t usd_nanos, int64_t tokens, int64_t requests) except -1:
    amounts[0], amounts[1], amounts[2] = usd_nanos, tokens, requests
    cdef int unit
    for unit in range(UNITS):
        if not 0 <= amounts[unit] <= AMOUNT_MAX:
            raise ValueError(
                f"amounts must be in 0..{AMOUNT_MAX}: {usd_nanos}, {tokens}, {requests}"
            )
    return 0
