"""Every lease of a Router: by number, by ceiling in the order of their windows; and its size, kept up.

Which attempts they are held for is not known here: leases.py.
"""

from collections.abc import Iterable, Iterator

from harmost.core.budget.lease import LeaseAsk, LeaseGrant, LeaseName, LeaseReport
from harmost.core.budget.nodes import BudgetLimit
from harmost.core.budget.router_lease import Lease, LeasedPath
from harmost.core.budget.thresholds import asks_from_permille

__all__ = ["LeaseTable", "leased_path"]

# How soon a newer window is looked for, where a soft ceiling's last one goes on.
SOFT_AGAIN_NS = 10**9


class LeaseTable:
    """Those that may be charged, and those that are being closed: found by number alone."""

    def __init__(self) -> None:
        self.by_id: dict[int, Lease] = {}
        self.closing: set[int] = set()  # those that the message under way says are closed
        self._named: dict[LeaseName, list[Lease]] = {}

    def __iter__(self) -> Iterator[Lease]:
        return iter(self.by_id.values())

    def newest(self, name: LeaseName) -> Lease | None:
        """That of the latest window which is known."""
        named = self._named.get(name)
        return named[-1] if named else None

    def take(self, grant: LeaseGrant, clock_ns: int) -> bool:
        """Take in what the ledger says of one ceiling; whether it is a lease not known before."""
        lease = self.by_id.get(grant.counter)
        new = lease is None
        if lease is None:
            lease = Lease(grant, self.newest(grant.name), clock_ns)
            self.by_id[grant.counter] = lease
            named = self._named.setdefault(grant.name, [])
            named.append(lease)
            named.sort(key=lambda other: other.start_ns)
        lease.take(grant, clock_ns)
        return new

    def stirs(self, since_ns: int) -> bool:
        """Whether attempts hold any lease, or did since then, or one is wanted back."""
        return any(
            lease.recalled or lease.counter.open_holds or not lease.idle(since_ns) for lease in self
        )

    def current(self, name: LeaseName, now_ns: int) -> Lease | None:
        """What a ceiling is charged to now, by the ledger's clock; None: nothing is known of it."""
        named = self._named.get(name, [])
        for lease in named:
            if lease.start_ns <= now_ns < lease.end_ns:
                return lease
        # No ledger has told of this window: a soft ceiling's last one goes on.
        soft = [lease for lease in named if not lease.counter.hard and lease.end_ns <= now_ns]
        return soft[-1] if soft else None

    def resize(self, lease: Lease, clock_ns: int, asks: list[LeaseAsk]) -> bool:
        """Ask for more or give some back; whether there is something to report."""
        lease.look(clock_ns)
        idle = lease.idle(clock_ns)
        target = 0 if idle or lease.recalled else lease.target
        lease.recalled = False
        free = lease.counter.available
        if lease.granted and free > 2 * target:
            lease.give_back(free - target)
        elif lease.counter.hard and free < target // 2 and clock_ns >= lease.denied_until_ns:
            asks.append(lease.ask())
        elif not idle:
            return False
        if idle and lease.quiet:
            self._close(lease)
        return True

    def ask_ahead(self, lease: Lease, clock_ns: int, asks: list[LeaseAsk]) -> None:
        """Ask for as much in the next window."""
        if self.newest(lease.name) is lease and not lease.idle(clock_ns):
            asks.append(LeaseAsk(lease.name, lease.target, following=True))

    def wind_up(self, lease: Lease) -> bool:
        """Give back what an ended window did not use; whether there is something to report."""
        free = lease.counter.available
        if lease.granted and free > 0:
            lease.give_back(free)
        goes_on = not lease.counter.hard and self.newest(lease.name) is lease
        if lease.quiet and not goes_on:
            self._close(lease)
            return True
        return lease.granted > 0 and free > 0

    def report(self, id: int) -> LeaseReport:
        """What to say of a lease now."""
        lease = self.by_id[id]
        return LeaseReport(id, lease.posted, lease.returned, id in self.closing)

    def forget_closed(self) -> None:
        """The ledger knows that they are closed."""
        for id in self.closing:
            del self.by_id[id]
        self.closing.clear()

    def _close(self, lease: Lease) -> None:
        """Say that it is over; from here on nothing new is charged to it."""
        self.closing.add(lease.counter.id)
        named = self._named[lease.name]
        named.remove(lease)
        if not named:
            del self._named[lease.name]


def leased_path(
    limits: Iterable[BudgetLimit], leases: Iterable[Lease], *, now_ns: int, ahead_ns: int
) -> LeasedPath:
    """What is charged to `leases`; the ledger's clock, `now_ns`, is `ahead_ns` of the caller's."""
    limits, leases = tuple(limits), tuple(leases)
    counters = tuple(dict.fromkeys(lease.counter for lease in leases))
    ends_ns = (
        lease.end_ns if lease.end_ns > now_ns else now_ns + SOFT_AGAIN_NS for lease in leases
    )
    return LeasedPath(
        limits=limits,
        leases=leases,
        counters=counters,
        hard=any(counter.hard for counter in counters),
        until_ns=min((end_ns - ahead_ns for end_ns in ends_ns), default=2**62),
        asking=tuple(
            (limit, lease, at)
            for limit, lease in zip(limits, leases, strict=True)
            if (at := asks_from_permille(limit)) is not None
        ),
    )
