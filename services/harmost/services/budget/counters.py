"""The counters that are in memory: those of current windows, and past ones that are still held.

Their balances come from the file on first use, so a window that is returned to is found as left.
"""

from collections.abc import Container, Iterable
from typing import NamedTuple

from harmost.core.budget.lease import LeaseName
from harmost.core.budget.ledger import Counter
from harmost.core.budget.nodes import BudgetLimit, BudgetLimits, BudgetPath, Unit
from harmost.core.budget.window import (
    UTC_CALENDAR,
    Calendar,
    Window,
    WindowBounds,
    window_bounds,
)
from harmost.core.errors import NotFound
from harmost.services.budget.ledger import Ledger
from harmost.services.budget.rows import BalanceRow, CounterKey

__all__ = ["Account", "Charge", "Counters"]

# Below this, what past windows leave is not worth a sweep.
SWEEP_MIN = 1_024
# Paths whose counters are remembered: 1 KB each, and 10 us saved each time.
CHARGES_MAX = 4_096
NEVER = 2**63 - 1


class Account:
    """One counter in memory, and what it is kept by."""

    __slots__ = ("bounds", "counter", "key")

    def __init__(self, key: CounterKey, counter: Counter, calendar: Calendar) -> None:
        self.key = key
        self.counter = counter
        # Where the calendar is another now, the window began when it did and ends by the new one.
        start_ns = key[3]
        self.bounds = WindowBounds(start_ns, window_bounds(key[2], start_ns, calendar).end_ns)

    @property
    def name(self) -> LeaseName:
        """What it counts, in whichever window."""
        budget, unit, window, _ = self.key
        return LeaseName(budget, unit, window)

    @property
    def resets_at_ns(self) -> int:
        """When the window ends; 0: never."""
        return 0 if self.key[2] == "total" else self.bounds.end_ns


class Charge(NamedTuple):
    """What one path is charged to from `start_ns` to just before `end_ns`.

    One account for each limit; two limits of one document may share one. `counters` has each once.
    """

    limits: tuple[BudgetLimit, ...]
    accounts: tuple[Account, ...]
    warns_from: tuple[int, ...]
    counters: tuple[Counter, ...]
    ids: tuple[int, ...]
    start_ns: int
    end_ns: int


class Counters:
    """Finds counters by what they are kept by. One object for each, as long as it is in memory."""

    def __init__(self, file: Ledger, last_id: int) -> None:
        self._file = file
        self._last_id = last_id
        self._by_key: dict[CounterKey, Account] = {}
        self._by_id: dict[int, Account] = {}
        self._changed: set[int] = set()
        self._bounds: dict[tuple[Window, Calendar], WindowBounds] = {}
        self._limits: BudgetLimits | None = None
        self._charges: dict[BudgetPath, Charge] = {}
        self._ceilings: dict[tuple[str, Unit, Window], BudgetLimit] = {}
        self._sweep_at = SWEEP_MIN

    def use(self, limits: BudgetLimits) -> list[int]:
        """From now on `limits` hold; the ids of counters in memory whose ceiling is another now.

        A counter whose budget is gone stays as it is.
        """
        self._limits = limits
        self._charges.clear()
        self._ceilings = {}
        for limit in limits.all:
            other = self._ceilings.setdefault((limit.budget, limit.unit, limit.window), limit)
            # Of a hard and a soft ceiling on one counter the hard one bounds it.
            if (limit.hard, -limit.limit) > (other.hard, -other.limit):
                self._ceilings[limit.budget, limit.unit, limit.window] = limit
        changed: list[int] = []
        for account in self._by_id.values():
            ceiling, counter = self._ceiling(account.key), account.counter
            if ceiling is None or (ceiling.limit, _denies(ceiling)) == (
                counter.limit,
                counter.hard,
            ):
                continue
            counter.limit_to(ceiling.limit, hard=_denies(ceiling))
            changed.append(counter.id)
        return changed

    def tenant_of(self, budget: str) -> str:
        """Whose budget it is; "": there is none of that name any more."""
        limits = self._limits.of(budget) if self._limits is not None else ()
        return limits[0].tenant if limits else ""

    def named(self, name: LeaseName, at_ns: int) -> Account | None:
        """The counter of `name` in the window that holds `at_ns`; None where no limit is so named."""
        limit = self._ceilings.get((name.budget, Unit(name.unit), name.window))
        return self.current(limit, at_ns) if limit is not None else None

    def charge(self, path: BudgetPath, now_ns: int) -> Charge:
        """What `path` is charged to at `now_ns`, under the limits in use."""
        charge = self._charges.get(path)
        if charge is None or not charge.start_ns <= now_ns < charge.end_ns:
            if len(self._charges) >= CHARGES_MAX:
                self._charges.clear()
            charge = self._charges[path] = self._new_charge(path, now_ns)
        return charge

    def current(self, limit: BudgetLimit, now_ns: int) -> Account:
        """The counter of `limit`, which is in use, in the window that holds `now_ns`."""
        key = self._key(limit, now_ns)
        account = self._by_key.get(key)
        if account is None:
            # A new counter has its id now and its row when it first changes.
            account = self._read(key, id=self._last_id + 1)
            self._last_id = max(self._last_id, account.counter.id)
            self._keep(account)
        return account

    def peek(self, limit: BudgetLimit, now_ns: int) -> Account:
        """The same for a reader: nothing is kept in memory that was not."""
        key = self._key(limit, now_ns)
        return self._by_key.get(key) or self._read(key, id=0)

    def account(self, id: int) -> Account:
        """The counter `id`; raises NotFound where there is none."""
        account = self._by_id.get(id)
        if account is None:
            row = self._file.balance_of(id)
            if row is None:
                raise NotFound(f"counter `{id}` is not known: ask for a lease first")
            account = self._keep(self._account(row))
        return account

    def knows(self, id: int) -> bool:
        """Whether there is a counter `id`, now in memory."""
        try:
            return bool(self.account(id))
        except NotFound:
            return False

    def changed(self, ids: Iterable[int]) -> None:
        """Note which counters the next `save` writes."""
        self._changed.update(ids)

    def save(self) -> None:
        """Write what changed."""
        accounts = [self._by_id[id] for id in sorted(self._changed)]
        self._file.save(
            BalanceRow(
                counter.id,
                account.key,
                counter.settled,
                counter.held,
                counter.debt,
                counter.leased,
                counter.suspense,
            )
            for account in accounts
            for counter in (account.counter,)
        )
        self._changed.clear()

    @property
    def untidy(self) -> bool:
        """Whether a sweep is due: seldom, for it visits every counter."""
        return len(self._by_id) >= self._sweep_at

    def tidy(self, now_ns: int, in_use: Container[int]) -> None:
        """Forget the counters of other windows, but for the ids `in_use` by open holds."""
        for account in list(self._by_id.values()):
            start_ns, end_ns = account.bounds
            if account.counter.id not in in_use and not start_ns <= now_ns < end_ns:
                del self._by_id[account.counter.id], self._by_key[account.key]
        self._charges.clear()  # they may hold what was forgotten
        self._sweep_at = max(SWEEP_MIN, 2 * len(self._by_id))

    def _new_charge(self, path: BudgetPath, now_ns: int) -> Charge:
        limits = self._limits.on_path(path) if self._limits is not None else ()
        accounts = tuple(self.current(limit, now_ns) for limit in limits)
        counters = tuple(dict.fromkeys(account.counter for account in accounts))
        return Charge(
            limits=limits,
            accounts=accounts,
            warns_from=tuple(_warns_from(limit) for limit in limits),
            counters=counters,
            ids=tuple(counter.id for counter in counters),
            start_ns=max((account.bounds.start_ns for account in accounts), default=0),
            end_ns=min((account.bounds.end_ns for account in accounts), default=2**63),
        )

    def _key(self, limit: BudgetLimit, now_ns: int) -> CounterKey:
        which = limit.window, limit.calendar
        bounds = self._bounds.get(which)
        if bounds is None or not bounds.start_ns <= now_ns < bounds.end_ns:
            bounds = self._bounds[which] = window_bounds(limit.window, now_ns, limit.calendar)
        return limit.budget, int(limit.unit), limit.window, bounds.start_ns

    def _read(self, key: CounterKey, *, id: int) -> Account:
        return self._account(self._file.balance(key) or BalanceRow(id, key, 0, 0, 0))

    def _keep(self, account: Account) -> Account:
        self._by_key[account.key] = self._by_id[account.counter.id] = account
        return account

    def _ceiling(self, key: CounterKey) -> BudgetLimit | None:
        budget, unit, window, _ = key
        return self._ceilings.get((budget, Unit(unit), window))

    def _account(self, row: BalanceRow) -> Account:
        ceiling = self._ceiling(row.key)
        counter = Counter(
            row.id,
            unit=row.key[1],
            limit=ceiling.limit if ceiling is not None else 0,
            hard=_denies(ceiling) if ceiling is not None else True,
            settled=row.settled,
            held=row.held,
            debt=row.debt,
            leased=row.leased,
            suspense=row.suspense,
        )
        return Account(row.key, counter, ceiling.calendar if ceiling is not None else UTC_CALENDAR)


def _denies(limit: BudgetLimit) -> bool:
    """Whether its balance does. That of a rate tells what its minute used, and no more."""
    return limit.hard and not limit.rated


def _warns_from(limit: BudgetLimit) -> int:
    """What must be used for `limit` to warn: its threshold, or more than a soft ceiling."""
    threshold = (
        -(-limit.limit * limit.warn_at_permille // 1_000) if limit.warn_at_permille else NEVER
    )
    return threshold if limit.hard else min(threshold, limit.limit + 1)
