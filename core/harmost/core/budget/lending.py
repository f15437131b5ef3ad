"""What the ledger keeps of leases, and which messages about them cannot be. Changes no balance."""

from collections import defaultdict
from collections.abc import Container, Iterable
from typing import NamedTuple, Protocol

import msgspec

from harmost.core.budget.lease import (
    Evidence,
    LeaseName,
    Posting,
    RateAsk,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.ledger import BALANCE_MAX, Counter
from harmost.core.budget.window import WindowBounds
from harmost.core.errors import InvalidInput
from harmost.core.limits import USD_NANOS_MAX

__all__ = [
    "Debt",
    "Effects",
    "EscrowCounter",
    "EscrowCounters",
    "Lease",
    "LeaseKey",
    "LeaseRow",
    "Router",
    "RouterRow",
    "Shared",
    "Total",
    "check_evidence",
    "check_sync",
    "totals",
]


class EscrowCounter(Protocol):
    """A counter in its window, as whoever keeps it hands it out."""

    @property
    def counter(self) -> Counter:
        """Its balances."""
        ...

    @property
    def name(self) -> LeaseName:
        """Which ceiling it is of."""
        ...

    @property
    def bounds(self) -> WindowBounds:
        """Its window."""
        ...


class EscrowCounters(Protocol):
    """Where counters are found. One object for each id for as long as it is in memory."""

    def named(self, name: LeaseName, at_ns: int) -> EscrowCounter | None:
        """The counter of `name` in the window that holds `at_ns`; None where no limit is so named."""
        ...

    def account(self, id: int) -> EscrowCounter:
        """The counter `id`; raises NotFound where there is none."""
        ...


class LeaseKey(NamedTuple):
    """One counter, lent to one Router in one epoch."""

    router: str
    epoch: int
    counter: int


class LeaseRow(msgspec.Struct, frozen=True, array_like=True):
    """A lease as it is kept: sums since the epoch began, in the counter's unit.

    INVARIANT: granted >= spent + returned; what is left counts as suspense where `suspended`, else
    as leased. `posted` is all that the Router settled, also what no lease covered.
    """

    key: LeaseKey
    granted: int
    spent: int
    returned: int
    posted: int
    suspended: bool

    @property
    def left(self) -> int:
        """Neither spent nor given back."""
        return self.granted - self.spent - self.returned


class RouterRow(msgspec.Struct, frozen=True, array_like=True):
    """A Router as it is kept: its epoch, and its last message with the answer to it."""

    router: str
    epoch: int
    sequence: int
    answer: SyncAnswer | None


class Debt(NamedTuple):
    """An attempt that used more of a counter than it may. Alarmed.

    `above_hold`: its provider did not honour its cap; that much is debt now. `not_lent`: it was held,
    but no lease covers it: the ceiling was soft when it began, or the Router is in error.
    """

    attempt_id: str
    counter: int
    above_hold: int
    not_lent: int


class Effects(NamedTuple):
    """What changed since the last time: to be durable, together, before any answer leaves.

    `forgotten` leases have nothing left and nothing more to say. `postings` are the attempts that
    were closed here for the first time, in order: a ledger row each.
    """

    counters: frozenset[int]
    leases: tuple[LeaseRow, ...]
    forgotten: tuple[LeaseKey, ...]
    routers: tuple[RouterRow, ...]
    postings: tuple[Posting, ...]
    debts: tuple[Debt, ...]


class Lease:
    """A lease in memory: a row that changes."""

    __slots__ = ("granted", "key", "posted", "returned", "spent", "suspended")

    def __init__(self, row: LeaseRow) -> None:
        self.key = row.key
        self.granted = row.granted
        self.spent = row.spent
        self.returned = row.returned
        self.posted = row.posted
        self.suspended = row.suspended

    @property
    def left(self) -> int:
        """Neither spent nor given back."""
        return self.granted - self.spent - self.returned

    def row(self) -> LeaseRow:
        """As it is kept."""
        return LeaseRow(
            self.key, self.granted, self.spent, self.returned, self.posted, self.suspended
        )


class Router:
    """A Router in memory; its leases by epoch and counter."""

    __slots__ = ("answer", "epoch", "leases", "name", "seen_ns", "sequence")

    def __init__(self, row: RouterRow, seen_ns: int) -> None:
        self.name = row.router
        self.epoch = row.epoch
        self.sequence = row.sequence
        self.answer = row.answer
        self.seen_ns = seen_ns
        self.leases: dict[tuple[int, int], Lease] = {}

    def row(self) -> RouterRow:
        """As it is kept."""
        return RouterRow(self.name, self.epoch, self.sequence, self.answer)


class Shared:
    """Who wants some of one counter: when each Router last asked, and who was denied since."""

    __slots__ = ("asked", "denied", "end_ns")

    def __init__(self, end_ns: int) -> None:
        self.end_ns = end_ns
        self.asked: dict[str, int] = {}
        self.denied: dict[str, None] = {}

    def routers(self, since_ns: int) -> int:
        """How many asked since then; the others are forgotten."""
        self.asked = {name: asked for name, asked in self.asked.items() if asked >= since_ns}
        return max(1, len(self.asked))


class Total:
    """Attempts that were held at the same counters, and what they used there, in every unit.

    `covered` is of each what it used, at the most what it held.
    """

    __slots__ = ("covered", "postings", "used")

    def __init__(self) -> None:
        self.postings: list[Posting] = []
        self.used = [0, 0, 0]
        self.covered = [0, 0, 0]

    def add(self, posting: Posting) -> None:
        """Count one more."""
        self.postings.append(posting)
        for unit in range(3):
            used = posting.used[unit]
            self.used[unit] += used
            self.covered[unit] += min(used, posting.held[unit])


def totals(postings: Iterable[Posting]) -> dict[tuple[int, ...], Total]:
    """The totals by counters: most attempts of a message meet the same. O(postings)."""
    found: dict[tuple[int, ...], Total] = {}
    for posting in postings:
        total = found.get(posting.counters)
        if total is None:
            total = found[posting.counters] = Total()
        total.add(posting)
    return found


def check_sync(
    counters: EscrowCounters, router: Router, request: SyncRequest, posted: Container[str]
) -> None:
    """InvalidInput or NotFound where the message does not fit its own rows or what was lent."""
    check_evidence(counters, router, request.evidence, posted)
    _check_postings(counters, request.postings, posted)
    if len({posting.attempt_id for posting in request.postings}) != len(request.postings):
        raise InvalidInput("an attempt is closed twice in one message: once will do")
    said: dict[int, int] = defaultdict(int)
    left = {id: lease.left for (epoch, id), lease in router.leases.items() if epoch == router.epoch}
    for ids, total in totals(request.postings).items():
        for id in ids:
            unit = counters.account(id).counter.unit - 1
            said[id] += total.used[unit]
            left[id] = max(0, left.get(id, 0) - total.covered[unit])
    reported: set[int] = set()
    for report in request.reports:
        counters.account(report.counter)
        lease = router.leases.get((router.epoch, report.counter))
        before, returned = (lease.posted, lease.returned) if lease is not None else (0, 0)
        if report.counter in reported:
            raise InvalidInput(f"counter `{report.counter}` is reported twice: once will do")
        reported.add(report.counter)
        if report.posted != before + said[report.counter]:
            raise InvalidInput(
                f"`{report.posted}` is said to be posted to counter `{report.counter}` and its rows "
                f"make `{before + said[report.counter]}`: register again"
            )
        if report.returned - returned > left.get(report.counter, 0):
            raise InvalidInput(
                f"`{report.returned - returned}` of counter `{report.counter}` is given back and "
                f"`{left.get(report.counter, 0)}` is left: register again"
            )
    for ask in request.asks:
        if not 0 <= ask.minimum <= ask.needed <= ask.amount <= USD_NANOS_MAX:
            raise InvalidInput(
                f"`{ask.amount}` is asked for, `{ask.needed}` needed, at the least `{ask.minimum}`: "
                f"state 0 to {USD_NANOS_MAX}, none more than the one before"
            )
    _check_rates(request.rates)


def check_evidence(
    counters: EscrowCounters,
    router: Router,
    evidence: Iterable[Evidence],
    posted: Container[str],
) -> None:
    """InvalidInput or NotFound where the evidence cannot be."""
    for proof in evidence:
        if not 0 < proof.epoch < router.epoch:
            raise InvalidInput(
                f"epoch `{proof.epoch}` of `{router.name}` has not ended: it is `{router.epoch}` now"
            )
        if any(amount < 0 for _, amount in proof.outstanding):
            raise InvalidInput("less than nothing is said to be outstanding: state 0 or more")
        _check_postings(counters, proof.postings, posted)


def _check_rates(asks: Iterable[RateAsk]) -> None:
    asked: set[LeaseName] = set()
    for ask in asks:
        amounts = (ask.per_minute, ask.burst, ask.credit, ask.needed, ask.minimum, abs(ask.level))
        if not 0 <= min(amounts) <= max(amounts) <= USD_NANOS_MAX or ask.minimum > ask.needed:
            raise InvalidInput(
                f"an amount of the rate of `{ask.name.budget}` is not in 0..{USD_NANOS_MAX}, or more "
                "is of use than is needed: correct it"
            )
        if ask.name in asked:
            raise InvalidInput(f"the rate of `{ask.name.budget}` is asked for twice: once will do")
        asked.add(ask.name)


def _check_postings(
    counters: EscrowCounters, rows: Iterable[Posting], posted: Container[str]
) -> None:
    fresh: list[Posting] = []
    for posting in rows:
        if (
            min(*posting.held, *posting.used) < 0
            or max(*posting.held, *posting.used) > USD_NANOS_MAX
        ):
            raise InvalidInput(
                f"an amount of attempt `{posting.attempt_id}` is not in 0..{USD_NANOS_MAX}"
            )
        if posting.attempt_id not in posted:
            fresh.append(posting)
    used: dict[int, int] = defaultdict(int)
    for ids, total in totals(fresh).items():
        last = total.postings[-1].attempt_id
        if len(set(ids)) != len(ids):
            raise InvalidInput(f"attempt `{last}` names a counter twice")
        for id in ids:
            counter = counters.account(id).counter
            used[id] += total.used[counter.unit - 1]
            if used[id] > BALANCE_MAX - counter.settled:
                raise InvalidInput(f"attempt `{last}` is more than a balance can hold: settle less")
