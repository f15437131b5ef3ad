"""Decides what may be held and posts what was used. One thread, no clock, inside a transaction.

INVARIANT: memory equals the file after each commit. A transaction that fails is followed by new
accounts from the file; nothing is undone by hand.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from harmost.core.budget import denial, ledger
from harmost.core.budget.lease import Amounts, LeaseName
from harmost.core.budget.nodes import Amount, BudgetLimit, BudgetLimits, BudgetPath, Unit
from harmost.core.budget.rates import Rates
from harmost.core.errors import (
    BudgetExhausted,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NotPossibleNow,
    RateLimited,
)
from harmost.core.tenants import visible
from harmost.services.budget.counters import Counters
from harmost.services.budget.holding import close_rates, hold, rested_ns, take_rates, warnings_of
from harmost.services.budget.leases import Leases
from harmost.services.budget.ledger import Ledger
from harmost.services.budget.report import Position, SumPage, SumQuestion
from harmost.services.budget.requests import (
    Adjusted,
    Adjustment,
    BudgetState,
    BudgetWarning,
    Closing,
    Held,
    LeaseSync,
    Posted,
    RateState,
    Reservation,
    Settlement,
    Synced,
    fingerprint,
)
from harmost.services.budget.rows import Books, Entry, EntryKind, EntryQuestion, HoldRow

__all__ = ["Accounts"]

log = logging.getLogger(__name__)

# Each takes about 1 KB of memory; attempts that never close are a caller's fault.
OPEN_HOLDS_MAX = 500_000

_decode_warnings = msgspec.json.Decoder(tuple[BudgetWarning, ...]).decode


class _Open(NamedTuple):
    """An attempt that has not closed, and its row."""

    hold: ledger.Hold
    row: HoldRow
    rates: tuple[LeaseName, ...]

    @property
    def entry(self) -> Entry:
        """Its RESERVE."""
        return self.row.entry


class Accounts:
    """Balances and open holds of one ledger. Every method may raise apsw.Error: the disk's trouble.

    `within` is the tenant of who asks: what is not at or below it does not exist for them.
    """

    def __init__(
        self, file: Ledger, *, now_ns: int, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`clock_ns` is monotonic: what comes too fast is measured by it."""
        self._file = file
        self._clock_ns = clock_ns
        self._sequence, last_counter_id = file.last_ids()
        self._counters = Counters(file, last_counter_id)
        self._limits: BudgetLimits | None = None
        self._open: dict[str, _Open] = {}
        self._expiring: dict[str, _Open] = {}
        for row in file.open_holds():
            self._keep_open(self._restored(row.entry), row, self._rates_of(row.entry))
        self._rates = Rates(rested_ns=rested_ns(file, now_ns), now_ns=clock_ns())
        self.leases = Leases(
            file,
            self._counters,
            self._append,
            self._next_sequence,
            self._rates,
            now_ns=now_ns,
            clock_ns=clock_ns,
        )

    def use(self, limits: BudgetLimits | None) -> None:
        """From now on `limits` hold; what is settled, held and lent stays."""
        if limits is not None and limits is not self._limits:
            self._limits = limits
            self._rates.use(limits.rates, now_ns=self._clock_ns())
            self.leases.limits_changed(self._counters.use(limits))

    def reserve(self, wanted: Reservation, *, within: str, now_ns: int) -> Held:
        """Hold the worst case at every level, or nothing: BudgetExhausted. O(counters)."""
        if not visible(within, wanted.path.tenant):
            raise Forbidden(
                f"the key belongs to `{within}`: it cannot reserve for `{wanted.path.tenant}`"
            )
        mark = fingerprint(wanted)
        first = self._file.entries_of(wanted.attempt_id)
        if first:
            return self._reserved_before(first[0], wanted.attempt_id, mark)
        if self._limits is None:
            raise NotPossibleNow("no snapshot of the budgets has arrived yet: try again")
        if len(self._open) >= OPEN_HOLDS_MAX:
            raise RateLimited(
                f"`{OPEN_HOLDS_MAX}` attempts are open: settle or void those that have ended",
                retry_after_s=5,
            )
        charge = self._counters.charge(wanted.path, now_ns)
        clock_ns = self._clock_ns()
        try:
            held = hold(wanted, charge, self._rates, clock_ns=clock_ns)
        except BudgetExhausted:
            self.leases.recall(charge.ids)  # what is idle with Routers may do the next time
            raise
        amounts = Amounts(held.usd_nanos, held.tokens, held.requests)
        rates = take_rates(wanted.attempt_id, amounts, charge, self._rates, clock_ns=clock_ns)
        warnings = warnings_of(charge)
        entry = Entry(
            sequence=self._next_sequence(),
            kind=EntryKind.RESERVE,
            key=wanted.attempt_id,
            fingerprint=mark,
            created_ns=now_ns,
            path=wanted.path,
            model=wanted.model,
            price_unknown=wanted.amount.price_unknown,
            held_usd_nanos=held.usd_nanos,
            held_tokens=held.tokens,
            held_requests=1,
            counters=charge.ids,
            warnings=msgspec.json.encode(warnings) if warnings else b"",
            price_version=wanted.price_version,
        )
        self._append(entry)
        expires_ns = now_ns + wanted.lifetime_ns if wanted.lifetime_ns else 0
        row = HoldRow(entry, within, expires_ns)
        self._file.open_hold(row)
        self._keep_open(held, row, rates)
        return _held(entry)

    def settle(self, used: Settlement, *, within: str, now_ns: int) -> Posted:
        """Replace a hold by what was used. An unknown price settles what was held: never free."""
        mark = fingerprint(used)
        opened = self._closable(used.attempt_id, within)
        if opened is None:
            return self._closed_before(EntryKind.SETTLE, used.attempt_id, mark, within)
        hold = opened.hold
        spent = hold.usd_nanos if used.amount.price_unknown else used.amount.usd_nanos
        try:
            hold.settle(usd_nanos=spent, tokens=used.amount.tokens)
        except OverflowError:
            raise InvalidInput("the amount is more than a balance can hold: settle less") from None
        debt = Amount(max(0, spent - hold.usd_nanos), max(0, used.amount.tokens - hold.tokens))
        entry = Entry(
            sequence=self._next_sequence(),
            kind=EntryKind.SETTLE,
            key=used.attempt_id,
            fingerprint=mark,
            created_ns=now_ns,
            path=opened.entry.path,
            model=opened.entry.model,
            price_unknown=opened.entry.price_unknown and used.amount.price_unknown,
            held_usd_nanos=-hold.usd_nanos,
            held_tokens=-hold.tokens,
            held_requests=-1,
            settled_usd_nanos=spent,
            settled_tokens=used.amount.tokens,
            settled_requests=1,
            debt_usd_nanos=debt.usd_nanos,
            debt_tokens=debt.tokens,
            counters=opened.entry.counters,
            usage=used.usage,
            reason=used.evidence,
            price_version=used.price_version or opened.entry.price_version,
        )
        if debt.usd_nanos or debt.tokens:
            log.warning(
                "attempt %s settled %d nanodollars and %d tokens above its hold: "
                "the provider of %s did not honour its cap",
                *(used.attempt_id, debt.usd_nanos, debt.tokens, opened.entry.model),
            )
        self._close(entry)
        return Posted(entry.sequence, debt.usd_nanos)

    def void(self, attempt_id: str, *, within: str, now_ns: int) -> Posted:
        """Give a hold back."""
        opened = self._closable(attempt_id, within)
        if opened is None:
            return self._closed_before(EntryKind.VOID, attempt_id, b"", within)
        opened.hold.void()
        entry = Entry(
            sequence=self._next_sequence(),
            kind=EntryKind.VOID,
            key=attempt_id,
            fingerprint=b"",
            created_ns=now_ns,
            path=opened.entry.path,
            model=opened.entry.model,
            price_unknown=opened.entry.price_unknown,
            held_usd_nanos=-opened.hold.usd_nanos,
            held_tokens=-opened.hold.tokens,
            held_requests=-1,
            counters=opened.entry.counters,
            price_version=opened.entry.price_version,
        )
        self._close(entry)
        return Posted(entry.sequence)

    def adjust(self, wanted: Adjustment, *, within: str, now_ns: int) -> Adjusted:
        """Correct what is settled in the current window by a row of its own."""
        mark = fingerprint(wanted)
        limit = self._adjustable(wanted, within)
        for first in self._file.entries_of(wanted.idempotency_key):
            if first.kind is not EntryKind.ADJUST or first.fingerprint != mark:
                raise Conflict(
                    f"`{wanted.idempotency_key}` was used for something else: "
                    "use a key of its own for each correction"
                )
            return Adjusted(first.sequence, self._state(limit, now_ns))
        account = self._counters.current(limit, now_ns)
        try:
            debt = account.counter.adjust(wanted.delta)
        except ValueError:
            settled = denial.amount_text(limit.unit, account.counter.settled)
            raise InvalidInput(
                f"budget `{wanted.budget}` has settled {settled} and "
                f"`{denial.amount_text(limit.unit, wanted.delta)}` cannot be added to it: "
                "correct by no more than is settled, nor beyond what a balance can hold"
            ) from None
        in_money, in_tokens = limit.unit is Unit.USD_NANOS, limit.unit is Unit.TOKENS
        entry = Entry(
            sequence=self._next_sequence(),
            kind=EntryKind.ADJUST,
            key=wanted.idempotency_key,
            fingerprint=mark,
            created_ns=now_ns,
            path=BudgetPath(limit.tenant),
            settled_usd_nanos=wanted.delta if in_money else 0,
            settled_tokens=wanted.delta if in_tokens else 0,
            settled_requests=wanted.delta if limit.unit is Unit.REQUESTS else 0,
            debt_usd_nanos=debt if in_money else 0,
            debt_tokens=debt if in_tokens else 0,
            counters=(account.counter.id,),
            budget=wanted.budget,
            author=wanted.author,
            reason=wanted.reason,
        )
        self._append(entry)
        self.leases.freed(entry.counters)
        return Adjusted(entry.sequence, self._state(limit, now_ns))

    def sync(self, said: LeaseSync, *, now_ns: int) -> Synced:
        """Take in a Router's message and lend it what it asks for.

        An attempt that was reserved before leases were is closed as that. InvalidInput or NotFound
        where the message cannot be; then no lease has changed.
        """
        if self._limits is None:
            raise NotPossibleNow("no snapshot of the budgets has arrived yet: try again")

        def leased(closings: tuple[Closing, ...]) -> tuple[Closing, ...]:
            return tuple(each for each in closings if not self._close_reserved(each, now_ns))

        said = said._replace(
            attempts=leased(said.attempts),
            proofs=tuple(proof._replace(attempts=leased(proof.attempts)) for proof in said.proofs),
        )
        return self.leases.sync(said, now_ns=now_ns)

    def states(self, limits: Iterable[BudgetLimit], *, now_ns: int) -> list[BudgetState]:
        """Each of `limits` with its balances in its current window."""
        return [self._state(limit, now_ns) for limit in limits]

    def entries(
        self, question: EntryQuestion, *, after: int, rows_max: int, attempt_id: str = ""
    ) -> tuple[list[Entry], int]:
        """Rows after one, and where to go on; 0: no more. Of an attempt only the tenant is asked."""
        if not attempt_id:
            return self._file.page(question, after=after, rows_max=rows_max)
        rows = [
            entry
            for entry in self._file.entries_of(attempt_id)
            if entry.kind is not EntryKind.ADJUST
            and entry.sequence > after
            and visible(question.tenant, entry.path.tenant)
        ]
        page = rows[:rows_max]
        return page, page[-1].sequence if len(rows) > len(page) else 0

    def sums(self, question: SumQuestion, *, after: Position) -> SumPage:
        """A page of rows, summed."""
        return self._file.sum_page(question, after=after)

    @property
    def last_sequence(self) -> int:
        """The newest row's; 0: there is none."""
        return self._sequence

    def books(self) -> Books:
        """Every balance, open hold and lease as this transaction leaves them. O(all of them)."""
        self.save()
        return Books(self._file.balances(), self._file.open_holds(), self._file.leases())

    def verify(self) -> None:
        """Add up every row; raises NotPossibleNow, naming the file, where one does not fit. O(rows).

        Sees the file as of the last commit and what this transaction appended: call it first.
        """
        self._file.verify()
        held = {row.entry.key for row in self._file.open_holds()}
        assert held == self._open.keys()  # INVARIANT: memory equals the file

    def save(self) -> None:
        """Write the balances that changed; before the commit."""
        self._counters.save()

    def tidy(self, now_ns: int) -> None:
        """Forget what only past windows need; after the commit."""
        if self._counters.untidy:
            # By reference, not by balance: a hold may be of nothing in a counter's unit.
            in_use = {id for opened in self._open.values() for id in opened.entry.counters}
            in_use |= self.leases.counter_ids()
            self._counters.tidy(now_ns, in_use)

    def _restored(self, entry: Entry) -> ledger.Hold:
        counters = tuple(self._counters.account(id).counter for id in entry.counters)
        return ledger.restore(counters, usd_nanos=entry.held_usd_nanos, tokens=entry.held_tokens)

    def _rates_of(self, entry: Entry) -> tuple[LeaseName, ...]:
        names = (self._counters.account(id).name for id in entry.counters)
        return tuple(name for name in names if name.window == "minute")

    def _keep_open(self, held: ledger.Hold, row: HoldRow, rates: tuple[LeaseName, ...]) -> None:
        opened = self._open[row.entry.key] = _Open(held, row, rates)
        if row.expires_ns:
            self._expiring[row.entry.key] = opened

    def _close_reserved(self, closing: Closing, now_ns: int) -> bool:
        """Close an attempt that Reserve opened; False where it opened none."""
        if closing.attempt_id not in self._open:
            return False
        if closing.void:
            self.void(closing.attempt_id, within="", now_ns=now_ns)
        else:
            used = Settlement(
                closing.attempt_id,
                closing.amount,
                closing.usage,
                price_version=closing.price_version,
            )
            self.settle(used, within="", now_ns=now_ns)
        return True

    def _closable(self, attempt_id: str, within: str) -> _Open | None:
        """The attempt, if it is open and can be seen; raises Forbidden for who may not close it."""
        opened = self._open.get(attempt_id)
        if opened is None or not visible(within, opened.entry.path.tenant):
            return None
        # Who makes the attempt says what it used: its caller, who pays for it, must not.
        if not visible(within, opened.row.holder):
            raise Forbidden(
                f"attempt `{attempt_id}` is not for a key of `{within}` to close: "
                "only who reserved it, or stands above, settles or voids it"
            )
        return opened

    def _reserved_before(self, first: Entry, attempt_id: str, mark: bytes) -> Held:
        if first.fingerprint != mark or first.kind is not EntryKind.RESERVE:
            raise Conflict(
                f"attempt `{attempt_id}` was reserved otherwise: use a new id for each attempt"
            )
        if attempt_id not in self._open:
            raise Conflict(f"attempt `{attempt_id}` has closed: use a new id for each attempt")
        return _held(first)

    def _closed_before(self, kind: EntryKind, attempt_id: str, mark: bytes, within: str) -> Posted:
        rows = self._file.entries_of(attempt_id)
        if len(rows) != 2 or not visible(within, rows[0].path.tenant):
            raise NotFound(f"attempt `{attempt_id}` is not known: reserve it first")
        closed = rows[1]
        if closed.kind is not kind:
            done = "settled" if closed.kind is EntryKind.SETTLE else "voided"
            raise Conflict(f"attempt `{attempt_id}` was {done} before: it closes only once")
        if closed.fingerprint != mark:
            raise Conflict(
                f"attempt `{attempt_id}` was settled with another amount: it settles only once"
            )
        return Posted(closed.sequence, closed.debt_usd_nanos)

    def _append(self, entry: Entry) -> None:
        self._file.append(entry)
        self._counters.changed(entry.counters)

    def _close(self, entry: Entry) -> None:
        self._append(entry)
        self._close_rates(entry)
        self._file.close_hold(entry.key)
        del self._open[entry.key]
        self._expiring.pop(entry.key, None)
        self.leases.freed(entry.counters)

    def _close_rates(self, entry: Entry) -> None:
        rates = self._open[entry.key].rates
        if rates:
            held = (-entry.held_usd_nanos, -entry.held_tokens, -entry.held_requests)
            used = (entry.settled_usd_nanos, entry.settled_tokens, entry.settled_requests)
            close_rates(entry.key, rates, self._rates, held=Amounts(*held), used=Amounts(*used))

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _adjustable(self, wanted: Adjustment, within: str) -> BudgetLimit:
        if self._limits is None:
            raise NotPossibleNow("no snapshot of the budgets has arrived yet: try again")
        limits = [
            limit for limit in self._limits.of(wanted.budget) if visible(within, limit.tenant)
        ]
        if not limits:
            raise NotFound(f"budget `{wanted.budget}` does not exist: see `harmost budget show`")
        meant = [
            limit
            for limit in limits
            if wanted.unit in (None, limit.unit) and wanted.window in (None, limit.window)
        ]
        if meant and all(limit.rated for limit in meant):
            raise InvalidInput(
                f"budget `{wanted.budget}` limits how much a minute: it fills by itself, "
                "there is nothing to correct"
            )
        meant = [limit for limit in meant if not limit.rated]
        counters = {(limit.unit, limit.window) for limit in meant}
        if len(counters) != 1:
            raise InvalidInput(
                f"budget `{wanted.budget}` has {len(limits)} limits and {len(meant)} are meant: "
                "name the unit and the window of one"
            )
        return meant[0]

    def _state(self, limit: BudgetLimit, now_ns: int) -> BudgetState:
        account = self._counters.peek(limit, now_ns)
        counter = account.counter
        expired = sum(
            (opened.hold.usd_nanos, opened.hold.tokens, 1)[counter.unit - 1]
            for opened in self._expiring.values()
            if opened.row.expires_ns <= now_ns and counter.id in opened.entry.counters
        )
        # What Routers said some time ago cannot be more than what they have.
        held = min(self.leases.held_of(counter.id), counter.leased)
        return BudgetState(
            limit,
            account.bounds,
            settled=counter.settled,
            held=counter.held - expired + held,
            debt=counter.debt,
            leased=counter.leased - held,
            suspense=counter.suspense + expired,
            rate=self._rate(limit),
        )

    def _rate(self, limit: BudgetLimit) -> RateState | None:
        if not limit.rated:
            return None
        return RateState(*self._rates.state(limit.name, now_ns=self._clock_ns()))


def _held(entry: Entry) -> Held:
    amount = Amount(entry.held_usd_nanos, entry.held_tokens, entry.price_unknown)
    return Held(amount, _decode_warnings(entry.warnings) if entry.warnings else ())
