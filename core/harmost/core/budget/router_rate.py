"""One rate, as far as a Router may spend of it without asking; and how much of it the Router wants."""

from harmost.core.budget.lease import RateAsk, RateGrant
from harmost.core.budget.ledger import Hold
from harmost.core.budget.nodes import BudgetLimit
from harmost.core.budget.rate import RateShare
from harmost.core.budget.router_lease import (
    AMOUNT_MAX,
    BURN_S,
    BURN_WEIGHT,
    DENIED_NS,
    HOLDS,
    IDLE_NS,
    RateShort,
)

__all__ = ["RouterRate"]

MINUTE_NS = 60 * 10**9
DENIED_MIN_NS = 10**8  # a denial is believed so long at the least, and DENIED_NS at the most
ROOM_NS = 10**9  # others leave their room with their next message
GROWTH = 2  # so many times what is spent is wanted, so that a share can grow


class RouterRate:
    """A share of one rate. Amounts are in its unit, times on the Router's monotonic clock."""

    def __init__(self, limit: BudgetLimit, clock_ns: int) -> None:
        self.limit = limit
        self.name = limit.name
        self.bucket = RateShare(per_minute=0, burst=0, level=0, now_ns=clock_ns)
        self.until_ns = 0  # then the share is over
        self.denied_until_ns = 0
        self.needed = self.minimum = 0  # by attempts that wait
        self._grant = RateGrant(self.name, 0, 0, 0, 0, limit.limit)
        self._granted_ns = clock_ns
        self._returned = 0  # since the share began
        self._large = 0  # a large attempt
        self._spent = self._missed = self._demand_seen = 0
        self._burn_per_s = 0.0
        self._seen_ns = clock_ns
        self.busy_ns = clock_ns  # at its last attempt
        self.open = 0  # attempts

    def level(self, clock_ns: int) -> int:
        """What may be taken now, below 0: owed; nothing once the share is over."""
        level = self.bucket.level(clock_ns)
        return level if clock_ns < self.until_ns else min(level, 0)

    def take(self, hold: Hold, amount: int, clock_ns: int) -> None:
        """Take `amount`, which is there."""
        if not self.bucket.take(hold, amount, now_ns=clock_ns):
            raise ValueError(f"{amount} is taken and not there")
        self._spent += amount
        self.busy_ns = clock_ns
        self._large = max(amount, self._large - (self._large - amount) // 64)

    def close(self, hold: Hold, *, held: int, used: int) -> None:
        """An attempt has used `used` of what it held."""
        self.bucket.close(hold, held=held, used=used)
        self._spent += used - held

    def miss(self, amount: int) -> None:
        """An attempt was not admitted for want of `amount`."""
        self._missed += amount
        self._large = max(self._large, amount)

    def want(self, amount: int, minimum: int) -> None:
        """An attempt waits for `amount`, or for `minimum` if there is no more."""
        self.minimum = min(self.minimum, minimum) if self.needed else minimum
        self.needed = min(self.needed + amount, self.limit.limit)

    def short(self, least: int, clock_ns: int) -> RateShort:
        """How much is there, and when `least` of it will be."""
        if least > self.limit.limit:
            return RateShort(max(0, self.level(clock_ns)), -1)
        wait_ns = self._wait_ns(least, clock_ns)
        believed_ns = self.denied_until_ns - clock_ns
        if believed_ns > wait_ns:  # until then only what comes here by itself counts
            alone_ns = self.bucket.wait_ns(least, now_ns=clock_ns)
            wait_ns = min(believed_ns, alone_ns) if alone_ns >= 0 else believed_ns
        return RateShort(max(0, self.level(clock_ns)), max(1, wait_ns))

    def idle(self, clock_ns: int) -> bool:
        """No attempt for so long that what it has serves others better."""
        quiet = not self.needed and not self.open and self.bucket.level(clock_ns) >= 0
        return quiet and clock_ns - self.busy_ns > IDLE_NS

    def ask(self, clock_ns: int) -> RateAsk:
        """What the next message asks for."""
        self._look(clock_ns)
        self._lapse(clock_ns)
        if self._grant.exact and not self.needed:
            self._give_back(AMOUNT_MAX, clock_ns)
        level, credit = self.bucket.level(clock_ns), self.bucket.credit
        needed = max(0, self.needed - level) if self.needed else 0
        minimum = min(max(0, self.minimum - level), needed)
        target = max(int(self._burn_per_s * BURN_S), HOLDS * self._large)
        if self.needed:
            self.busy_ns = clock_ns
        self.needed = self.minimum = 0
        return RateAsk(
            self.name,
            per_minute=min(AMOUNT_MAX, int(GROWTH * 60 * self._burn_per_s)),
            burst=min(AMOUNT_MAX, target),
            level=level,
            credit=credit,
            hold=self._large,
            needed=needed,
            minimum=minimum,
            returned=self._returned,
        )

    def granted(self, grant: RateGrant, *, until_ns: int, clock_ns: int) -> None:
        """What the ledger answers. Of a share that it does not know any more nothing is left."""
        self._lapse(clock_ns)
        paid_before = self._grant.granted
        if grant.share != self._grant.share:
            self.bucket.empty(clock_ns)
            paid_before = self._returned = 0
        paid = grant.granted - paid_before
        # What the share has no room for any more is the ledger's again: it keeps room for it till then.
        self._give_back(self.bucket.level(clock_ns) + paid - grant.burst, clock_ns)
        self.bucket.share_to(per_minute=grant.per_minute, burst=grant.burst, now_ns=clock_ns)
        self.bucket.pay(paid, now_ns=clock_ns)
        self._grant, self._granted_ns, self.until_ns = grant, clock_ns, until_ns
        self.denied_until_ns = 0
        if grant.denied:
            soon_ns = self._wait_ns(self.bucket.level(clock_ns) + 1, clock_ns)
            self.denied_until_ns = clock_ns + min(DENIED_NS, max(DENIED_MIN_NS, soon_ns))

    def used_permille(self, clock_ns: int) -> int:
        """How much of a minute's worth is not there, of all Routers, as far as is known here."""
        whole = self._grant.limit
        there = self.level(clock_ns) + self._rest_level(clock_ns) + self._grant.others_level
        return (whole - min(there, whole)) * 1_000 // max(whole, 1)

    # --- How ------------------------------------------------------------------------------------------

    def _lapse(self, clock_ns: int) -> None:
        """Nothing is left of a share that is over: its rate may be somebody else's since."""
        if clock_ns >= self.until_ns:
            self.bucket.empty(clock_ns)
            self.bucket.share_to(per_minute=0, burst=0, now_ns=clock_ns)

    def _look(self, clock_ns: int) -> None:
        """Measure what was spent, or would have been, since the last look."""
        passed_s = (clock_ns - self._seen_ns) / 1e9
        if passed_s > 0:
            demand = self._spent + self._missed
            weight = min(1.0, BURN_WEIGHT * passed_s)
            wanted_per_s = max(0, demand - self._demand_seen) / passed_s
            self._burn_per_s += weight * (wanted_per_s - self._burn_per_s)
            self._demand_seen, self._seen_ns = demand, clock_ns

    def _give_back(self, amount: int, clock_ns: int) -> None:
        """So much of what is free is the ledger's again; said in the next message."""
        free = max(0, min(amount, self.bucket.level(clock_ns)))
        self.bucket.pay_out(free, now_ns=clock_ns)
        self._returned += free

    def _rest_level(self, clock_ns: int) -> int:
        """What is with nobody by now."""
        grant = self._grant
        earned = (clock_ns - self._granted_ns) * grant.rest_per_minute // MINUTE_NS
        return min(grant.limit, grant.rest_level + max(0, earned))

    def _wait_ns(self, amount: int, clock_ns: int) -> int:
        """Until `amount` is here, with what is with nobody, if none of it goes to others."""
        grant = self._grant
        here, rest = grant.per_minute, grant.rest_per_minute
        lacks = amount - self.level(clock_ns) - self._rest_level(clock_ns)
        # Each of the two buckets rounds down: what both lack is one more than what one lacks.
        ways = [
            (lacks, rest),
            (lacks + 1, here + rest),
            (lacks, 0 if here or rest else grant.limit),
        ]
        waits = [max(0, lack) * MINUTE_NS // rate + 1 for lack, rate in ways if rate]
        alone_ns = self.bucket.wait_ns(max(0, amount), now_ns=clock_ns)
        wait_ns = min(waits, default=MINUTE_NS)
        if amount - max(0, self.level(clock_ns)) > grant.rest_burst:
            wait_ns += ROOM_NS
        return min(wait_ns, alone_ns) if alone_ns >= 0 else wait_ns
