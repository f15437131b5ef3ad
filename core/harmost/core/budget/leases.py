"""A Router's half of the lease protocol: holds and settles from what it was lent, without asking.

Decides on balances in memory, what to say to the ledger next and what its answer changes; sends
nothing and knows no clock. `clock_ns` is monotonic; windows go by the ledger's own time, which each
answer tells, so a Router's wall clock decides nothing.

What was lent is spent until LEASE_NS after the last message that was answered was sent: then hard
ceilings deny. Soft ones admit for ever, and are reported when the ledger answers again.

Source: escrow.py's other half. The size of a lease: a few seconds of what is burnt, at the least a
few attempts; what is idle goes back.
"""

from collections import deque
from typing import TypeAlias

from harmost.core.budget import ledger
from harmost.core.budget.escrow import AHEAD_NS, LEASE_NS
from harmost.core.budget.lease import (
    Amounts,
    Evidence,
    LeaseAsk,
    LeaseName,
    Posting,
    Push,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.lease_table import LeaseTable, leased_path
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import Amount, BudgetLimit, BudgetLimits, BudgetPath, Unit
from harmost.core.budget.router_lease import (
    AMOUNT_MAX,
    DENIED_NS,
    HOLDS,
    Lease,
    LeasedPath,
    Miss,
    held_amounts,
    in_unit,
    leased_counters,
)

__all__ = ["LeaseBook", "Miss"]

TICK_NS = 10**9  # how often leases are looked at: a message a second while there are attempts
HEARTBEAT_NS = 10 * 10**9  # without any: often enough to keep the term
POSTINGS_MAX = 2_000  # of one message
LEASES_MAX = 4_000  # of one message, asks and reports each
PATHS_MAX = 4_096  # remembered


_Closed: TypeAlias = tuple[str, Hold, Amounts, bytes]
"""An attempt that the ledger is to be told of: its id, its hold, closed, what it used, its memo."""


class LeaseBook:
    """All leases of one Router in one epoch. One thread; nothing here awaits.

    A book that is `fenced` lends nothing more: register, and begin another with the new epoch. What
    the holds of the old one settle is `evidence` then, for the new one to `prove`.
    """

    def __init__(self, router: str, *, epoch: int, jitter: float = 0.0) -> None:
        """`jitter`, 0..1, spreads Routers over the time in which the next window is asked for."""
        self.router = router
        self.epoch = epoch
        self.fenced = False
        self._ahead_ns = int(AHEAD_NS * (0.4 + 0.4 * jitter))
        self._limits: BudgetLimits | None = None
        self._paths: dict[BudgetPath, LeasedPath] = {}
        self._beside: dict[BudgetPath, LeasedPath] = {}  # the same, without ceilings of money
        self._table = LeaseTable()
        self._leases = self._table.by_id
        self._unleased: dict[LeaseName, tuple[int, int]] = {}  # needed and minimum, to be asked for
        self._unknown: dict[LeaseName, int] = {}  # not in the ledger's documents, until
        self._outbox: deque[_Closed] = deque()
        self._proofs: list[Evidence] = []
        self._sequence = 0
        self._under_way: SyncRequest | None = None
        self._sent_ns = 0
        self._until_ns = 0
        self._ledger_ahead_ns = 0  # the ledger's clock less this one's
        self._looked_ns = 0
        self._waits = False  # an attempt, for the next message
        self._sent_again = False

    # --- Attempts -----------------------------------------------------------------------------------

    def use(self, limits: BudgetLimits) -> None:
        """From now on `limits` hold; what is held stays."""
        if limits is not self._limits:
            self._limits = limits
            self._forget_paths()

    def reserve(
        self,
        where: BudgetPath,
        amount: Amount,
        minimum: Amount,
        *,
        clock_ns: int,
        requests: int = 1,
        own: Counter | Hold | None = None,
    ) -> Hold | Miss | None:
        """A hold on every ceiling of `where`, or why not. O(ceilings), no await, no message.

        Holds `amount`, and less, down to `minimum`, only where the ledger said that there is no more,
        or `own` has no more: a counter of the caller's, with id 0, that the ledger never hears of, or
        what `carve` held, whose part it becomes. None where that has not even the minimum.
        """
        if isinstance(own, Hold):
            return self._part(own, where, amount, minimum, requests, clock_ns)
        path = self._paths.get(where)
        if path is None or clock_ns >= path.until_ns:
            found = self._path(where, minimum, requests, clock_ns)
            if isinstance(found, Miss):
                return found
            path = found
        if path.hard and clock_ns >= self._until_ns:
            return self._miss(path, amount, minimum, requests, clock_ns)
        if own is not None and own.available < in_unit(amount, requests, own.unit):
            # Its end is known here: what fits in it is all that is asked for.
            least = in_unit(minimum, requests, own.unit)
            if own.unit != Unit.USD_NANOS or own.available < least:
                return None
            amount = amount._replace(usd_nanos=own.available)
        counters = path.counters if own is None else (*path.counters, own)
        held = ledger.reserve(
            counters,
            usd_nanos=amount.usd_nanos,
            tokens=amount.tokens,
            minimum_usd_nanos=amount.usd_nanos,
            minimum_tokens=amount.tokens,
            requests=requests,
        )
        if isinstance(held, Hold):
            return held
        return self._less(path, counters, amount, minimum, requests, clock_ns)

    def carve(self, where: BudgetPath, usd_nanos: int, *, clock_ns: int) -> Hold | Miss:
        """Hold money alone, all of it, at every ceiling of `where`, for attempts that are parts of it.

        To be closed with `void`; the ledger is not told: what parts use, it hears of them.
        """
        whole = Amount(usd_nanos, 0)
        path = self._path(where, whole, 0, clock_ns)
        if isinstance(path, Miss):
            return path
        money = tuple(each for each in path.counters if each.unit == Unit.USD_NANOS)
        if clock_ns < self._until_ns or not any(counter.hard for counter in money):
            held = ledger.reserve(
                money,
                usd_nanos=usd_nanos,
                tokens=0,
                minimum_usd_nanos=usd_nanos,
                minimum_tokens=0,
                requests=0,
            )
            if isinstance(held, Hold):
                return held
        return self._miss(path, whole, whole, 0, clock_ns)

    def _part(
        self,
        whole: Hold,
        where: BudgetPath,
        amount: Amount,
        minimum: Amount,
        requests: int,
        clock_ns: int,
    ) -> Hold | Miss | None:
        usd_nanos = min(amount.usd_nanos, whole.usd_nanos)
        if usd_nanos < minimum.usd_nanos:
            return None
        path = self._path_beside(where, minimum, requests, clock_ns)
        if isinstance(path, Miss):
            return path
        # The money was lent before: it is spent whoever answers now. The rest may not be.
        if not path.hard or clock_ns < self._until_ns:
            held = whole.part(
                path.counters,
                usd_nanos=usd_nanos,
                tokens=amount.tokens,
                minimum_tokens=self._least(path, amount, minimum, requests, clock_ns).tokens,
                requests=requests,
            )
            if isinstance(held, Hold):
                return held
        return self._miss(path, amount, minimum, requests, clock_ns)

    def extend(self, hold: Hold, amount: Amount, *, clock_ns: int) -> bool:
        """Hold `amount` more, whole or not at all; where it is short, the next message asks for it."""
        leased = leased_counters(hold)
        if hold.whole is not None:  # nothing is asked of the ceilings of its money
            leased = tuple(each for each in leased if each.unit != Unit.USD_NANOS)
        lent = clock_ns < self._until_ns or not any(counter.hard for counter in leased)
        if lent and hold.extend(usd_nanos=amount.usd_nanos, tokens=amount.tokens):
            return True
        for counter in leased:
            wanted, lease = in_unit(amount, 0, counter.unit), self._leases.get(counter.id)
            if lease is not None and lease.short_of(wanted, clock_ns):
                self._waits = True
        return False

    def settle(self, attempt_id: str, hold: Hold, used: Amounts, memo: bytes = b"") -> None:
        """Post what an attempt used, and tell the ledger in the next message. ValueError: closed."""
        hold.settle(usd_nanos=used[0], tokens=used[1], requests=used[2])
        self._outbox.append((attempt_id, hold, used, memo))

    def void(self, attempt_id: str, hold: Hold, memo: bytes = b"") -> None:
        """Give a hold back: nothing was used. ValueError: closed."""
        hold.void()
        self._outbox.append((attempt_id, hold, Amounts(), memo))

    @property
    def owed(self) -> int:
        """Attempts that have closed and of which the ledger has not said that it knows."""
        under_way = len(self._under_way.postings) if self._under_way is not None else 0
        return len(self._outbox) + under_way

    def leases(self, where: BudgetPath) -> tuple[tuple[BudgetLimit, Lease], ...]:
        """The ceilings of `where` as known here: of what `reserve` last charged."""
        path = self._paths.get(where)
        return tuple(zip(path.limits, path.leases, strict=True)) if path is not None else ()

    def asking(self, where: BudgetPath) -> tuple[tuple[BudgetLimit, Lease, int], ...]:
        """Those of them that ask for something before they deny, and from which share on, permille."""
        path = self._paths.get(where)
        return path.asking if path is not None else ()

    def every_lease(self) -> tuple[Lease, ...]:
        """Every lease, past windows' too."""
        return tuple(self._leases.values())

    # --- Messages -----------------------------------------------------------------------------------

    def prove(self, evidence: Evidence) -> None:
        """Say in the next message what the journal proves of an earlier epoch."""
        self._proofs.append(evidence)

    def evidence(self) -> Evidence:
        """What a book that is over knows, POSTINGS_MAX attempts at a time: again until `done`."""
        under_way, self._under_way = self._under_way, None
        postings = under_way.postings if under_way is not None else ()
        postings = postings or self._packed()
        outstanding = {id: lease.counter.held for id, lease in self._leases.items()}
        for _, hold, used, _ in self._outbox:
            held = held_amounts(hold)
            for counter in leased_counters(hold):
                unit = counter.unit - 1
                outstanding[counter.id] += min(held[unit], used[unit])
        return Evidence(self.epoch, postings, tuple(outstanding.items()))

    @property
    def done(self) -> bool:
        """Nothing is held and nothing is owed."""
        return not self.owed and all(lease.quiet for lease in self._leases.values())

    def wants_message(self, clock_ns: int) -> bool:
        """Whether an attempt waits, or there is something to tell, or the term is to be renewed."""
        if self.fenced:
            return False
        passed_ns = clock_ns - self._looked_ns
        return (
            self._waits
            or passed_ns >= HEARTBEAT_NS
            or len(self._outbox) >= POSTINGS_MAX // 2
            or (
                passed_ns >= TICK_NS
                and (bool(self._outbox) or self._table.stirs(clock_ns - 2 * TICK_NS))
            )
        )

    def request(self, *, clock_ns: int) -> SyncRequest:
        """The message to send now: the one that is under way, again, or the next."""
        if self._under_way is None:
            self._sequence += 1
            postings = self._packed()
            reports, asks = self._reports_and_asks(clock_ns)
            touched = {id for posting in postings for id in posting.counters}
            reports |= touched & self._leases.keys()
            self._under_way = SyncRequest(
                router=self.router,
                epoch=self.epoch,
                sequence=self._sequence,
                reports=tuple(self._table.report(id) for id in sorted(reports)),
                asks=tuple(asks),
                postings=postings,
                evidence=tuple(self._proofs),
            )
            self._proofs.clear()
            self._waits = self._sent_again = False
        else:
            self._sent_again = True
        self._sent_ns = clock_ns
        return self._under_way

    def apply(self, answer: SyncAnswer, *, clock_ns: int) -> bool:
        """Take in an answer; False where it is not the one that is waited for: nothing changed."""
        under_way = self._under_way
        if answer.status != "applied":
            # A ledger that forgot what it answered is not the one that lent: a backup, perhaps.
            acked = self._sequence - (under_way is not None)
            if answer.status == "fenced" or answer.sequence < acked:
                self.fenced, self._until_ns = True, 0
            return self.fenced
        if under_way is None or answer.sequence != under_way.sequence:
            return False
        self._under_way = None
        self._until_ns = self._sent_ns + LEASE_NS
        if not (self._sent_again and self._ledger_ahead_ns):  # else it is not known when it came
            self._ledger_ahead_ns = answer.now_ns - self._sent_ns
        self._table.forget_closed()
        for grant in answer.grants:
            if self._table.take(grant, clock_ns):
                self._forget_paths()
        for name in answer.unknown:
            self._unknown[name] = clock_ns + DENIED_NS
        return True

    def told(self, push: Push) -> None:
        """Take in what the ledger says unasked."""
        lease = self._leases.get(push.counter)
        if lease is not None:
            if push.kind == "recall":
                lease.recalled = True
            else:
                lease.denied_until_ns = 0

    # --- How ----------------------------------------------------------------------------------------

    def _path(
        self, where: BudgetPath, minimum: Amount, requests: int, clock_ns: int
    ) -> LeasedPath | Miss:
        limits = self._limits.on_path(where) if self._limits is not None else ()
        return self._leased(self._paths, where, limits, minimum, requests, clock_ns)

    def _path_beside(
        self, where: BudgetPath, minimum: Amount, requests: int, clock_ns: int
    ) -> LeasedPath | Miss:
        """Of the ceilings that an attempt meets whose money is held already."""
        path = self._beside.get(where)
        if path is not None and clock_ns < path.until_ns:
            return path
        limits = self._limits.on_path(where) if self._limits is not None else ()
        others = tuple(limit for limit in limits if limit.unit is not Unit.USD_NANOS)
        return self._leased(self._beside, where, others, minimum, requests, clock_ns)

    def _leased(
        self,
        paths: dict[BudgetPath, LeasedPath],
        where: BudgetPath,
        limits: tuple[BudgetLimit, ...],
        minimum: Amount,
        requests: int,
        clock_ns: int,
    ) -> LeasedPath | Miss:
        now_ns = clock_ns + self._ledger_ahead_ns
        leases: list[Lease] = []
        miss: Miss | None = None
        for limit in limits:
            name = LeaseName(limit.budget, int(limit.unit), limit.window)
            lease = self._table.current(name, now_ns)
            if lease is not None:
                leases.append(lease)
            else:
                self._ask_first(name, in_unit(minimum, requests, limit.unit))
                denied = clock_ns < self._unknown.get(name, 0)
                if miss is None or denied:
                    miss = Miss(limit, None, denied, self._sequence + 1)
        if miss is not None:
            return miss
        if len(paths) >= PATHS_MAX:
            paths.clear()
        ahead_ns = self._ledger_ahead_ns
        path = paths[where] = leased_path(limits, leases, now_ns=now_ns, ahead_ns=ahead_ns)
        return path

    def _less(
        self,
        path: LeasedPath,
        counters: tuple[Counter, ...],
        amount: Amount,
        minimum: Amount,
        requests: int,
        clock_ns: int,
    ) -> Hold | Miss:
        least = self._least(path, amount, minimum, requests, clock_ns)
        if least is minimum:
            held = ledger.reserve(
                counters,
                usd_nanos=amount.usd_nanos,
                tokens=amount.tokens,
                minimum_usd_nanos=minimum.usd_nanos,
                minimum_tokens=minimum.tokens,
                requests=requests,
            )
            if isinstance(held, Hold):
                return held
        return self._miss(path, amount, minimum, requests, clock_ns)

    def _least(
        self, path: LeasedPath, amount: Amount, minimum: Amount, requests: int, clock_ns: int
    ) -> Amount:
        """What is taken if there is no more: all of it, until the ledger said that there is less."""
        for lease in path.leases:
            wanted = in_unit(amount, requests, lease.counter.unit)
            short = lease.counter.hard and lease.counter.available < wanted
            if short and not lease.denied(wanted, clock_ns):
                return amount
        return minimum

    def _miss(
        self, path: LeasedPath, amount: Amount, minimum: Amount, requests: int, clock_ns: int
    ) -> Miss:
        first: Miss | None = None
        for limit, lease in zip(path.limits, path.leases, strict=True):
            counter = lease.counter
            wanted = in_unit(amount, requests, counter.unit)
            least = in_unit(minimum, requests, counter.unit)
            if not counter.hard or counter.available >= wanted:
                continue
            denied = counter.available < least and lease.denied(least, clock_ns)
            if first is None or denied:
                first = Miss(limit, lease, denied, self._sequence + 1)
            if denied:
                break  # nothing to wait for: the others need not be asked
        if first is not None and first.denied:
            return first
        for lease in dict.fromkeys(path.leases):
            counter = lease.counter
            wanted = in_unit(amount, requests, counter.unit)
            if counter.hard and counter.available < wanted:
                lease.want(wanted, in_unit(minimum, requests, counter.unit))
        self._waits = True
        if first is None:  # all is there, but the term is over: any message renews it
            first = Miss(path.limits[0], path.leases[0], False, self._sequence + 1)
        return first

    def _forget_paths(self) -> None:
        self._paths.clear()
        self._beside.clear()

    def _ask_first(self, name: LeaseName, amount: int) -> None:
        needed, minimum = self._unleased.get(name, (0, amount))
        self._unleased[name] = (min(AMOUNT_MAX, needed + amount), min(minimum, amount))
        self._waits = True

    def _packed(self) -> tuple[Posting, ...]:
        postings: list[Posting] = []
        while self._outbox and len(postings) < POSTINGS_MAX:
            attempt_id, hold, used, memo = self._outbox.popleft()
            leased = leased_counters(hold)
            ids = tuple(counter.id for counter in leased)
            for counter in leased:
                self._leases[counter.id].posted += used[counter.unit - 1]
            postings.append(Posting(attempt_id, ids, held_amounts(hold), used, memo))
        return tuple(postings)

    def _reports_and_asks(self, clock_ns: int) -> tuple[set[int], list[LeaseAsk]]:
        tick = clock_ns - self._looked_ns >= TICK_NS
        if tick:
            self._looked_ns = clock_ns
        reports: set[int] = set()
        asks = [
            LeaseAsk(name, min(AMOUNT_MAX, HOLDS * needed), needed, minimum)
            for name, (needed, minimum) in self._unleased.items()
        ][:LEASES_MAX]
        self._unleased.clear()
        now_ns = clock_ns + self._ledger_ahead_ns
        for id, lease in self._leases.items():
            if len(reports) >= LEASES_MAX or len(asks) >= LEASES_MAX:
                break
            if lease.end_ns <= now_ns:
                spoken = self._table.wind_up(lease)
            elif lease.needed:
                lease.look(clock_ns)
                if lease.recalled:  # of several that each have too little, one shall have enough
                    lease.give_back(max(0, lease.counter.available))
                    lease.recalled = False
                asks.append(lease.ask())
                spoken = True
            else:
                due = lease.recalled or (tick and lease.start_ns <= now_ns)
                spoken = due and self._table.resize(lease, clock_ns, asks)
            if spoken:
                reports.add(id)
            if tick and 0 < lease.end_ns - now_ns <= self._ahead_ns:
                self._table.ask_ahead(lease, clock_ns, asks)
        if self._table.closing:
            self._forget_paths()
        return reports, asks
