"""A Router's leases and rates together: an attempt is held at every ceiling of its path, or at none.

What is a balance is lent (leases.py); what is a rate is shared (rate_shares.py), and taken here from
the Router's own bucket beside the counters, in the same step.
"""

import msgspec

from harmost.core.budget.lease import Amounts, RateAsk, RateGrant, SyncAnswer, SyncRequest
from harmost.core.budget.leases import TICK_NS, LeaseBook, Miss
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import Amount, BudgetLimit, BudgetLimits, BudgetPath
from harmost.core.budget.rate_shares import SHARE_NS
from harmost.core.budget.router_lease import held_amounts, in_unit
from harmost.core.budget.router_rate import RouterRate

__all__ = ["RatedBook"]

PATHS_MAX = 4_096  # remembered
RATES_MAX = 4_000  # of one Router, and of one message; the longest idle goes first


class RatedBook(LeaseBook):
    """All that one Router may spend in one epoch. One thread; nothing here awaits."""

    def __init__(self, router: str, *, epoch: int, jitter: float = 0.0) -> None:
        super().__init__(router, epoch=epoch, jitter=jitter)
        self._rates: dict[object, RouterRate] = {}
        self._rated: dict[BudgetPath, tuple[RouterRate, ...]] = {}
        self._taken: dict[Hold, tuple[RouterRate, ...]] = {}
        self._every: BudgetLimits | None = None
        self._asked_ns = 0  # when the message under way was first sent

    # --- Attempts -----------------------------------------------------------------------------------

    def use(self, limits: BudgetLimits) -> None:
        """From now on `limits` hold; what is held stays."""
        if limits is not self._every:
            self._every = limits
            self._rated.clear()
            super().use(limits.balanced())
            self._bind(rated=bool(limits.rates or self._taken))

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
        """A hold on every ceiling and rate of `where`, or why not: `LeaseBook.reserve`.

        Where a rate will never have so much, less is held, at the least `minimum`.
        """
        rates = self._on(where, clock_ns)
        fits = self._fit(rates, where, amount, minimum, requests, clock_ns) if rates else amount
        if isinstance(fits, Miss):
            return fits
        held = super().reserve(where, fits, minimum, clock_ns=clock_ns, requests=requests, own=own)
        if rates and isinstance(held, Hold):
            self._taken[held] = rates
            for rate in rates:
                rate.open += 1
                rate.take(held, held_amounts(held)[rate.name.unit - 1], clock_ns)
        return held

    def extend(self, hold: Hold, amount: Amount, *, clock_ns: int) -> bool:
        """Hold `amount` more, whole or not at all; where it is short, the next message asks for it."""
        rates = self._taken.get(hold, ())
        for rate in rates:
            wanted = in_unit(amount, 0, rate.name.unit)
            if wanted and wanted > rate.level(clock_ns):
                rate.want(wanted, wanted)
                self._waits = True
                return False
        if not super().extend(hold, amount, clock_ns=clock_ns):
            return False
        for rate in rates:
            rate.take(hold, in_unit(amount, 0, rate.name.unit), clock_ns)
        return True

    def settle(self, attempt_id: str, hold: Hold, used: Amounts, memo: bytes = b"") -> None:
        """Post what an attempt used, and tell the ledger in the next message. ValueError: closed."""
        super().settle(attempt_id, hold, used, memo)
        self._close_rates(hold, used)

    def void(self, attempt_id: str, hold: Hold, memo: bytes = b"") -> None:
        """Give a hold back: nothing was used. ValueError: closed."""
        super().void(attempt_id, hold, memo)
        self._close_rates(hold, Amounts())

    def rates_used(
        self, where: BudgetPath, *, clock_ns: int
    ) -> tuple[tuple[BudgetLimit, int], ...]:
        """The rates of `where`, and how much of a minute's worth is not there, in thousandths."""
        rates = self._rated.get(where, ())
        return tuple((rate.limit, rate.used_permille(clock_ns)) for rate in rates)

    def leave(self) -> None:
        """Give every share back with the next message: no attempt comes any more."""
        self._rates.clear()
        self._rated.clear()
        self._waits = True

    # --- Messages -----------------------------------------------------------------------------------

    def wants_message(self, clock_ns: int) -> bool:
        """Whether an attempt waits, or there is something to tell, or a term is to be renewed."""
        if super().wants_message(clock_ns):
            return True
        due = not self.fenced and clock_ns - self._looked_ns >= TICK_NS
        return due and any(not rate.idle(clock_ns - 2 * TICK_NS) for rate in self._rates.values())

    def request(self, *, clock_ns: int) -> SyncRequest:
        """The message to send now: the one that is under way, again, or the next."""
        under_way = self._under_way
        request = super().request(clock_ns=clock_ns)
        if under_way is None and self._rates:
            self._asked_ns = clock_ns
            request = msgspec.structs.replace(request, rates=self._asks(clock_ns))
            self._under_way = request
        return request

    def apply(self, answer: SyncAnswer, *, clock_ns: int) -> bool:
        """Take in an answer; False where it is not the one that is waited for: nothing changed."""
        applied = super().apply(answer, clock_ns=clock_ns)
        if applied and not self.fenced:
            for grant in answer.rates:
                self._share(grant, clock_ns)
        return applied

    # --- How ----------------------------------------------------------------------------------------

    def _bind(self, *, rated: bool) -> None:
        """Where nothing is a rate, nothing is asked of any: what is above costs 0.8 us an attempt."""
        for name in ("reserve", "extend", "settle", "void"):
            if rated:
                self.__dict__.pop(name, None)
            else:
                self.__dict__[name] = getattr(super(), name)

    def _on(self, where: BudgetPath, clock_ns: int) -> tuple[RouterRate, ...]:
        found = self._rated.get(where)
        if found is None:
            if len(self._rated) >= PATHS_MAX:
                self._rated.clear()
            limits: dict[object, BudgetLimit] = {}
            for limit in self._every.on_path(where) if self._every is not None else ():
                # Of several on one unit of one document the lowest holds.
                if limit.rated and limit.limit <= limits.get(limit.name, limit).limit:
                    limits[limit.name] = limit
            found = tuple(self._rate(limit, clock_ns) for limit in limits.values())
            self._rated[where] = found
        return found

    def _rate(self, limit: BudgetLimit, clock_ns: int) -> RouterRate:
        rate = self._rates.get(limit.name)
        if rate is None:
            rate = self._rates[limit.name] = RouterRate(limit, clock_ns)
        rate.limit = limit
        return rate

    def _fit(
        self,
        rates: tuple[RouterRate, ...],
        where: BudgetPath,
        amount: Amount,
        minimum: Amount,
        requests: int,
        clock_ns: int,
    ) -> Amount | Miss:
        """How much of `amount` every rate has, or which has too little."""
        fits = [amount.usd_nanos, amount.tokens, requests]
        miss: Miss | None = None
        for rate in rates:
            unit = rate.name.unit
            wanted = min(in_unit(amount, requests, unit), rate.limit.limit)
            least = in_unit(minimum, requests, unit)
            if not wanted and not least:
                continue  # nothing always fits
            level = 0 if self.fenced else rate.level(clock_ns)
            known = clock_ns < rate.denied_until_ns  # what is here is all that there is
            if least <= rate.limit.limit and level >= (least if known else wanted):
                fits[unit - 1] = min(fits[unit - 1], wanted, level)
            elif miss is None or not miss.denied:
                miss = self._short(rate, least, known, clock_ns)
                rate.miss(wanted)
        if miss is None:
            return amount._replace(usd_nanos=fits[0], tokens=fits[1])
        if not miss.denied:
            self._want(rates, amount, minimum, requests, clock_ns)
            if where not in self._paths:  # what else it needs is asked for in the same message
                self._path(where, minimum, requests, clock_ns)
            self._waits = True
        return miss

    def _short(self, rate: RouterRate, least: int, known: bool, clock_ns: int) -> Miss:
        limit, sequence = rate.limit, self._sequence + 1
        if clock_ns < self._unknown.get(rate.name, 0):
            return Miss(limit, None, True, sequence)
        denied = known or least > limit.limit
        return Miss(limit, None, denied, sequence, rate.short(least, clock_ns))

    def _want(
        self,
        rates: tuple[RouterRate, ...],
        amount: Amount,
        minimum: Amount,
        requests: int,
        clock_ns: int,
    ) -> None:
        for rate in rates:
            wanted = min(in_unit(amount, requests, rate.name.unit), rate.limit.limit)
            if rate.level(clock_ns) < wanted:
                rate.want(wanted, min(wanted, in_unit(minimum, requests, rate.name.unit)))

    def _close_rates(self, hold: Hold, used: Amounts) -> None:
        held = held_amounts(hold)
        for rate in self._taken.pop(hold, ()):
            unit = rate.name.unit - 1
            rate.open -= 1
            rate.close(hold, held=held[unit], used=used[unit])

    def _asks(self, clock_ns: int) -> tuple[RateAsk, ...]:
        over = [rate for rate in self._rates.values() if rate.idle(clock_ns)]
        if len(self._rates) - len(over) > RATES_MAX:
            over = sorted(self._rates.values(), key=lambda rate: rate.busy_ns)[:-RATES_MAX]
        for rate in over:
            del self._rates[rate.name]
        if over:
            self._rated.clear()
        return tuple(rate.ask(clock_ns) for rate in self._rates.values())

    def _share(self, grant: RateGrant, clock_ns: int) -> None:
        rate = self._rates.get(grant.name)
        if rate is not None:
            rate.granted(grant, until_ns=self._asked_ns + SHARE_NS, clock_ns=clock_ns)
