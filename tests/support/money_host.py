"""A ledger over the real core, on a disk that is a few dictionaries: what survives is what was committed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from harmost.core.budget import ledger
from harmost.core.budget.escrow import Escrow
from harmost.core.budget.lease import (
    Amounts,
    Evidence,
    LeaseName,
    Posting,
    Push,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.lending import Debt, LeaseKey, LeaseRow, RouterRow
from harmost.core.budget.nodes import BudgetLimit, BudgetLimits, BudgetPath
from harmost.core.budget.rates import MINUTE_NS, Rates
from harmost.core.budget.window import WindowBounds, window_bounds
from harmost.core.errors import BudgetExhausted, NotFound

__all__ = ["Account", "Disk", "LedgerHost"]

T = TypeVar("T")


@dataclass
class Account:
    """A counter in its window."""

    counter: Counter
    name: LeaseName
    bounds: WindowBounds


@dataclass
class Direct:
    """An attempt that a program reserved by itself."""

    attempt_id: str
    counters: tuple[int, ...]
    held: Amounts


@dataclass
class Disk:
    """What a restart finds."""

    balances: dict[int, tuple[LeaseName, WindowBounds, int, int, int, int, int]] = field(
        default_factory=dict
    )
    leases: dict[LeaseKey, LeaseRow] = field(default_factory=dict)
    routers: dict[str, RouterRow] = field(default_factory=dict)
    direct: dict[str, Direct] = field(default_factory=dict)
    postings: dict[str, Posting] = field(default_factory=dict)  # a ledger row each
    adjusted: dict[int, int] = field(default_factory=dict)

    def copy(self) -> "Disk":
        """As it is now."""
        return Disk(
            dict(self.balances),
            dict(self.leases),
            dict(self.routers),
            dict(self.direct),
            dict(self.postings),
            dict(self.adjusted),
        )


class _Counters:
    """Where the escrow finds counters."""

    def __init__(self, limits: BudgetLimits) -> None:
        self.limits = limits
        self.accounts: dict[int, Account] = {}
        self._ids: dict[tuple[LeaseName, int], int] = {}

    def named(self, name: LeaseName, at_ns: int) -> Account | None:
        limit = next((limit for limit in self.limits.all if _name(limit) == name), None)
        if limit is None:
            return None
        bounds = window_bounds(limit.window, at_ns, limit.calendar)
        id = self._ids.get((name, bounds.start_ns))
        if id is None:
            counter = Counter(
                max(self.accounts, default=0) + 1,
                unit=limit.unit,
                limit=limit.limit,
                hard=limit.hard,
            )
            self.add(Account(counter, name, bounds))
            id = counter.id
        return self.accounts[id]

    def account(self, id: int) -> Account:
        if id not in self.accounts:
            raise NotFound(f"counter `{id}` is not known")
        return self.accounts[id]

    def add(self, account: Account) -> None:
        self.accounts[account.counter.id] = account
        self._ids[account.name, account.bounds.start_ns] = account.counter.id


class LedgerHost:
    """The core on a `disk`. Every method is one transaction; `fail_commit` makes the next one fail.

    A crash is a `restart`: memory goes, the disk stays.
    """

    def __init__(
        self,
        limits: BudgetLimits,
        now_ns: Callable[[], int],
        clock_ns: Callable[[], int] | None = None,
    ) -> None:
        """`clock_ns` is monotonic; without it `now_ns` is."""
        self.disk = Disk()
        self.limits = limits
        self._now_ns = now_ns
        self._clock_ns = clock_ns or now_ns
        self.fail_commit = False
        self.debts: list[Debt] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew from the disk."""
        self.counters = _Counters(self.limits)
        for id, (name, bounds, settled, held, debt, leased, suspense) in self.disk.balances.items():
            limit = next(limit for limit in self.limits.all if _name(limit) == name)
            counter = Counter(
                id,
                unit=limit.unit,
                limit=limit.limit,
                hard=limit.hard,
                settled=settled,
                held=held,
                debt=debt,
                leased=leased,
                suspense=suspense,
            )
            self.counters.add(Account(counter, name, bounds))
        rested_ns = 0 if self.disk.routers else MINUTE_NS
        self.rates = Rates(rested_ns=rested_ns, now_ns=self._clock_ns())
        self.escrow = Escrow(self.counters, self.rates)
        self.escrow.restore(
            self.disk.routers.values(),
            self.disk.leases.values(),
            now_ns=self._now_ns(),
            clock_ns=self._clock_ns(),
        )
        self.rates.use(self.limits.rates, now_ns=self._clock_ns())
        self.holds: dict[str, Hold] = {
            row.attempt_id: ledger.restore(
                tuple(self.counters.accounts[id].counter for id in row.counters),
                usd_nanos=row.held.usd_nanos,
                tokens=row.held.tokens,
                requests=row.held.requests,
            )
            for row in self.disk.direct.values()
        }
        self._direct: dict[str, Direct | None] = {}
        self._posted: list[Posting] = []
        self._adjusted: dict[int, int] = {}

    # --- What a Router asks ---------------------------------------------------------------------------

    def register(self, router: str) -> int:
        return self._commit(lambda: self.escrow.register(router, now_ns=self._now_ns()))

    def sync(self, request: SyncRequest) -> SyncAnswer:
        rows = [*request.postings, *(row for proof in request.evidence for row in proof.postings)]
        known = self._known(rows)
        return self._commit(
            lambda: self.escrow.sync(
                request, now_ns=self._now_ns(), clock_ns=self._clock_ns(), posted=known
            )
        )

    def prove(self, router: str, evidence: Evidence) -> None:
        known = self._known(evidence.postings)
        self._commit(lambda: self.escrow.prove(router, evidence, posted=known))

    # --- What programs and people ask -----------------------------------------------------------------

    def reserve(self, attempt_id: str, where: BudgetPath, amounts: Amounts) -> tuple[int, ...]:
        """The ids of the counters that hold it now; BudgetExhausted."""

        def work() -> tuple[int, ...]:
            accounts = [
                self.counters.named(_name(limit), self._now_ns())
                for limit in self.limits.on_path(where)
                if not limit.rated
            ]
            clock_ns = self._clock_ns()
            rates = [
                (self.rates.rest(limit.name, now_ns=clock_ns), amounts[limit.unit - 1])
                for limit in self.limits.on_path(where)
                if limit.rated
            ]
            if any(amount > max(0, rate.level(clock_ns)) for rate, amount in rates):
                raise BudgetExhausted("too fast")
            counters = tuple(dict.fromkeys(found.counter for found in accounts if found))
            hold = ledger.reserve(
                counters,
                usd_nanos=amounts.usd_nanos,
                tokens=amounts.tokens,
                minimum_usd_nanos=amounts.usd_nanos,
                minimum_tokens=amounts.tokens,
            )
            if not isinstance(hold, Hold):
                raise BudgetExhausted("no more")
            for rate, amount in rates:
                rate.take(attempt_id, amount, now_ns=clock_ns)
            ids = tuple(counter.id for counter in counters)
            self.holds[attempt_id] = hold
            self._direct[attempt_id] = Direct(attempt_id, ids, amounts)
            return ids

        return self._commit(work)

    def settle(self, attempt_id: str, used: Amounts) -> None:
        """Close an attempt of a program; nothing used: void it."""

        def work() -> None:
            hold, row = self.holds.pop(attempt_id), self.disk.direct[attempt_id]
            if any(used):
                hold.settle(usd_nanos=used.usd_nanos, tokens=used.tokens)
            else:
                hold.void()
            for name in self.limits.rates:
                rate = self.rates.known(name)
                if rate is not None:  # of another path: it holds nothing of it
                    unit = name.unit - 1
                    rate.close(
                        attempt_id, held=row.held[unit], used=min(row.held[unit], used[unit])
                    )
            self._direct[attempt_id] = None
            self._posted.append(Posting(attempt_id, row.counters, row.held, used))
            self.escrow.freed(row.counters)

        self._commit(work)

    def adjust(self, id: int, delta: int) -> None:
        def work() -> None:
            self.counters.account(id).counter.adjust(delta)
            self._adjusted[id] = delta
            self.escrow.freed([id])

        self._commit(work)

    def use(self, limits: BudgetLimits) -> None:
        """From now on `limits` hold."""
        self.limits = self.counters.limits = limits
        self.rates.use(limits.rates, now_ns=self._clock_ns())
        by_name = {_name(limit): limit for limit in limits.all}
        for account in self.counters.accounts.values():
            limit = by_name[account.name]
            account.counter.limit_to(limit.limit, hard=limit.hard)
        self._commit(lambda: self.escrow.limits_changed(self.counters.accounts))

    def expire(self) -> None:
        self._commit(lambda: self.escrow.expire(now_ns=self._now_ns()))

    def pushes(self) -> tuple[Push, ...]:
        return self.escrow.pushes()

    # --- How ------------------------------------------------------------------------------------------

    def _known(self, rows: Iterable[Posting]) -> set[str]:
        return {row.attempt_id for row in rows if row.attempt_id in self.disk.postings}

    def _commit(self, work: Callable[[], T]) -> T:
        result = work()
        if self.fail_commit:
            self.fail_commit = False
            self.restart()
            raise OSError("the disk refused")
        self.write()
        return result

    def write(self) -> None:
        """Make what changed durable."""
        effects, disk = self.escrow.effects(), self.disk
        for id, account in self.counters.accounts.items():
            counter = account.counter
            if id not in effects.counters and id not in disk.balances and not counter.used:
                continue  # looked at, never used
            disk.balances[id] = (
                account.name,
                account.bounds,
                counter.settled,
                counter.held,
                counter.debt,
                counter.leased,
                counter.suspense,
            )
        disk.leases.update({row.key: row for row in effects.leases})
        for key in effects.forgotten:
            disk.leases.pop(key, None)
        disk.routers.update({row.router: row for row in effects.routers})
        for posting in (*effects.postings, *self._posted):
            assert posting.attempt_id not in disk.postings, "I7: an attempt closes once"
            disk.postings[posting.attempt_id] = posting
        self.debts += effects.debts
        self._posted.clear()
        for attempt_id, row in self._direct.items():
            if row is None:
                disk.direct.pop(attempt_id)
            else:
                disk.direct[attempt_id] = row
        self._direct.clear()
        for id, delta in self._adjusted.items():
            disk.adjusted[id] = disk.adjusted.get(id, 0) + delta
        self._adjusted.clear()


def _name(limit: BudgetLimit) -> LeaseName:
    return LeaseName(limit.budget, int(limit.unit), limit.window)
