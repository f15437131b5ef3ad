"""The counters that are in memory: those of current windows, and past ones that are still held.

Their balances come from the file on first use, so a window that is returned to is found as left.
"""

from collections.abc import Iterable, Sequence

from harmost.core.budget.ledger import Counter
from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.budget.window import Window, WindowBounds, window_bounds
from harmost.services.budget.ledger_file import BalanceRow, CounterKey, LedgerFile

__all__ = ["Account", "Counters"]

# Below this, what past windows leave is not worth a sweep.
SWEEP_MIN = 1_024


class Account:
    """One counter in memory, and what it is kept by."""

    __slots__ = ("bounds", "counter", "key")

    def __init__(self, key: CounterKey, counter: Counter) -> None:
        self.key = key
        self.counter = counter
        self.bounds = window_bounds(key[2], key[3])

    @property
    def used(self) -> int:
        """Settled and held together."""
        return self.counter.settled + self.counter.held

    @property
    def resets_at_ns(self) -> int:
        """When the window ends; 0: never."""
        return 0 if self.key[2] == "total" else self.bounds.end_ns


class Counters:
    """Finds counters by what they are kept by. One object for each, as long as it is in memory."""

    def __init__(self, file: LedgerFile, last_id: int) -> None:
        self._file = file
        self._last_id = last_id
        self._by_key: dict[CounterKey, Account] = {}
        self._by_id: dict[int, Account] = {}
        self._changed: set[int] = set()
        self._bounds: dict[Window, WindowBounds] = {}
        self._ceilings: dict[tuple[str, Unit, Window], BudgetLimit] = {}
        self._sweep_at = SWEEP_MIN

    def use(self, limits: Iterable[BudgetLimit]) -> None:
        """From now on `limits` hold. A counter whose budget is gone stays as it is."""
        self._ceilings = {}
        for limit in limits:
            other = self._ceilings.setdefault((limit.budget, limit.unit, limit.window), limit)
            # Of a hard and a soft ceiling on one counter the hard one bounds it.
            if (limit.hard, -limit.limit) > (other.hard, -other.limit):
                self._ceilings[limit.budget, limit.unit, limit.window] = limit
        for account in self._by_id.values():
            ceiling = self._ceiling(account.key)
            if ceiling is not None:
                account.counter.limit_to(ceiling.limit, hard=ceiling.hard)

    def current(self, limits: Sequence[BudgetLimit], now_ns: int) -> tuple[Account, ...]:
        """The counter of each of `limits`, which are in use, in the window that holds `now_ns`."""
        return tuple(self._current(limit, now_ns) for limit in limits)

    def peek(self, limit: BudgetLimit, now_ns: int) -> Account:
        """The same for a reader: nothing is kept in memory that was not."""
        key = self._key(limit, now_ns)
        return self._by_key.get(key) or self._read(key, id=0)

    def account(self, id: int) -> Account:
        """The counter `id`, which the file has."""
        account = self._by_id.get(id)
        if account is None:
            account = self._keep(self._account(self._file.balance_of(id)))
        return account

    def changed(self, ids: Iterable[int]) -> None:
        """Note which counters the next `save` writes."""
        self._changed.update(ids)

    def save(self) -> None:
        """Write what changed."""
        accounts = [self._by_id[id] for id in sorted(self._changed)]
        self._file.save(
            BalanceRow(counter.id, account.key, counter.settled, counter.held, counter.debt)
            for account in accounts
            for counter in (account.counter,)
        )
        self._changed.clear()

    def tidy(self, now_ns: int) -> None:
        """Forget counters of other windows that nothing holds. O(counters), but seldom."""
        if len(self._by_id) < self._sweep_at:
            return
        for account in list(self._by_id.values()):
            start_ns, end_ns = account.bounds
            if account.counter.held == 0 and not start_ns <= now_ns < end_ns:
                del self._by_id[account.counter.id], self._by_key[account.key]
        self._sweep_at = max(SWEEP_MIN, 2 * len(self._by_id))

    def _current(self, limit: BudgetLimit, now_ns: int) -> Account:
        key = self._key(limit, now_ns)
        account = self._by_key.get(key)
        if account is None:
            # A new counter has its id now and its row when it first changes.
            account = self._read(key, id=self._last_id + 1)
            self._last_id = max(self._last_id, account.counter.id)
            self._keep(account)
        return account

    def _key(self, limit: BudgetLimit, now_ns: int) -> CounterKey:
        bounds = self._bounds.get(limit.window)
        if bounds is None or not bounds.start_ns <= now_ns < bounds.end_ns:
            bounds = self._bounds[limit.window] = window_bounds(limit.window, now_ns)
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
            hard=ceiling.hard if ceiling is not None else True,
            settled=row.settled,
            held=row.held,
            debt=row.debt,
        )
        return Account(row.key, counter)
