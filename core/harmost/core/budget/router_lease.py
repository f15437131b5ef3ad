"""One ceiling in one window, as far as a Router may use it; and how much of it the Router wants."""

from typing import NamedTuple

from harmost.core.budget.lease import Amounts, LeaseAsk, LeaseGrant
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import Amount, BudgetLimit
from harmost.core.limits import USD_NANOS_MAX

__all__ = [
    "AMOUNT_MAX",
    "DENIED_NS",
    "HOLDS",
    "Lease",
    "LeasedPath",
    "Miss",
    "RateShort",
    "held_amounts",
    "in_unit",
    "leased_counters",
]

BURN_S = 8  # of what is burnt is kept at hand
HOLDS = 6  # large attempts, at the least
BURN_WEIGHT = 0.3  # of the newest second in the average
IDLE_NS = 30 * 10**9  # without an attempt, after which a lease is given back
DENIED_NS = 10**9  # a denial is not asked for again so long
AMOUNT_MAX = USD_NANOS_MAX  # of one ask


class Lease:
    """One ceiling in one window, as far as this Router may use it.

    `counter.limit` is what was granted and not given back. `limit` and `used` are the ledger's, of
    all Routers together, when it last said.
    """

    __slots__ = (
        "burn_per_s",
        "busy_ns",
        "counter",
        "denied_until_ns",
        "end_ns",
        "granted",
        "holds_before",
        "limit",
        "minimum",
        "name",
        "needed",
        "posted",
        "recalled",
        "returned",
        "seen_ns",
        "settled_seen",
        "start_ns",
        "used",
    )

    def __init__(self, grant: LeaseGrant, before: "Lease | None", clock_ns: int) -> None:
        """`before`, of the window before, tells what to expect."""
        self.name = grant.name
        self.start_ns, self.end_ns = grant.start_ns, grant.end_ns
        self.counter = Counter(grant.counter, unit=grant.name.unit, limit=0, hard=grant.hard)
        self.granted = self.returned = self.posted = 0
        self.limit = self.used = 0
        self.denied_until_ns = 0
        self.needed = self.minimum = 0  # by attempts that wait
        self.recalled = False
        self.burn_per_s: float = before.burn_per_s if before is not None else 0.0
        self.holds_before = before.hold_p95 if before is not None else 0
        self.settled_seen = 0
        self.seen_ns = self.busy_ns = clock_ns

    @property
    def used_permille(self) -> int:
        """The share of the limit that is used, as far as is known here."""
        here = self.counter.settled - self.posted if not self.counter.hard else 0
        return (self.used + here) * 1_000 // max(self.limit, 1)

    @property
    def hold_p95(self) -> int:
        """A large attempt: in this window, or in the one before as long as this had none."""
        return self.counter.hold_p95 or self.holds_before

    @property
    def target(self) -> int:
        """What it should have at hand while there are attempts."""
        return min(AMOUNT_MAX, max(int(self.burn_per_s * BURN_S), HOLDS * self.hold_p95))

    @property
    def quiet(self) -> bool:
        """No hold is open, one of nothing neither, and the ledger knows all that was settled."""
        return not self.counter.open_holds and self.posted == self.counter.settled

    def denied(self, amount: int, clock_ns: int) -> bool:
        """Whether the ledger said of late that it has less than `amount`, with all that is here."""
        known = self.counter.available + max(0, self.limit - self.used)
        return clock_ns < self.denied_until_ns and amount > known

    def idle(self, clock_ns: int) -> bool:
        """No attempt for so long that what it has serves others better."""
        return clock_ns - self.busy_ns > IDLE_NS

    def look(self, clock_ns: int) -> None:
        """Measure what was burnt since the last look."""
        counter = self.counter
        burnt = counter.settled - self.settled_seen
        passed_s = (clock_ns - self.seen_ns) / 1e9
        if passed_s > 0:
            weight = min(1.0, BURN_WEIGHT * passed_s)
            self.burn_per_s += weight * (burnt / passed_s - self.burn_per_s)
        if burnt or counter.open_holds:
            self.busy_ns = clock_ns
        self.settled_seen, self.seen_ns = counter.settled, clock_ns

    def want(self, amount: int, minimum: int) -> None:
        """Note that an attempt waits for `amount`, or for `minimum` if there is no more."""
        self.minimum = min(self.minimum, minimum) if self.needed else minimum
        self.needed = min(AMOUNT_MAX, self.needed + amount)

    def ask(self) -> LeaseAsk:
        """What to ask the ledger for now; what waited is asked for."""
        free = max(0, self.counter.available)
        needed = max(0, self.needed - free)
        minimum = min(max(0, self.minimum - free), needed)
        self.needed = self.minimum = 0
        # As much again as waits: as many attempts come while the answer is under way.
        wanted = min(AMOUNT_MAX, max(2 * needed, self.target - free))
        return LeaseAsk(self.name, wanted, needed, minimum)

    def short_of(self, amount: int, clock_ns: int) -> bool:
        """Note that an answer under way needs `amount`; whether asking for it may help."""
        counter = self.counter
        if not counter.hard or counter.available >= amount or self.denied(amount, clock_ns):
            return False
        self.minimum = min(self.minimum, amount) if self.needed else amount
        self.needed = max(self.needed, amount)
        return True

    def give_back(self, amount: int) -> None:
        """Make `amount` of what is free the ledger's again; said in the next report."""
        self.returned += amount
        self.counter.limit_to(self.granted - self.returned, hard=self.counter.hard)

    def take(self, grant: LeaseGrant, clock_ns: int) -> None:
        """What the ledger says of it now."""
        self.granted = max(self.granted, grant.granted)
        self.counter.limit_to(self.granted - self.returned, hard=grant.hard)
        self.limit, self.used = grant.limit, grant.used
        self.denied_until_ns = clock_ns + DENIED_NS if grant.denied else 0


class LeasedPath(NamedTuple):
    """What one path is charged to, until `until_ns` on the monotonic clock."""

    limits: tuple[BudgetLimit, ...]
    leases: tuple[Lease, ...]
    counters: tuple[Counter, ...]
    hard: bool
    until_ns: int
    # Those that ask for something before they deny, and from which share on.
    asking: tuple[tuple[BudgetLimit, Lease, int], ...]


class RateShort(NamedTuple):
    """A rate has `available` for now. After `wait_ns` there is enough, if nobody else takes it; -1: never."""

    available: int
    wait_ns: int


class Miss(NamedTuple):
    """Nothing is held. `lease` is short, or `rate` is, or None where `limit` is not leased here at all.

    `denied`: the ledger said within the last second that there is no more. Else the answer to the
    message `sequence` of this Router decides: wait for it, and try once more.
    """

    limit: BudgetLimit
    lease: Lease | None
    denied: bool
    sequence: int
    rate: RateShort | None = None


def leased_counters(hold: Hold) -> tuple[Counter, ...]:
    """Its counters that the ledger knows: without the caller's own."""
    counters = hold.counters
    return counters[:-1] if counters and not counters[-1].id else counters


def held_amounts(hold: Hold) -> Amounts:
    """What `hold` has reserved."""
    return Amounts(hold.usd_nanos, hold.tokens, hold.requests)


def in_unit(amount: Amount, requests: int, unit: int) -> int:
    """What it takes of a ceiling in `unit`."""
    return (amount.usd_nanos, amount.tokens, requests)[unit - 1]
