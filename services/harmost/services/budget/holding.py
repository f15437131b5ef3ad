"""What a program's attempt takes: from every balance of its path and every rate, or from none.

Programs spend of rates what no Router has (core/budget/rates.py).
"""

from collections.abc import Iterable

from harmost.core.budget import denial, ledger
from harmost.core.budget.lease import Amounts, LeaseName
from harmost.core.budget.nodes import Amount, BudgetLimit, Unit
from harmost.core.budget.rate_shares import FORGET_NS
from harmost.core.budget.rates import MINUTE_NS, Rates
from harmost.core.errors import NotPossibleNow
from harmost.services.budget.counters import Charge
from harmost.services.budget.ledger import Ledger
from harmost.services.budget.requests import BudgetWarning, Reservation
from harmost.services.budget.rows import EntryQuestion

__all__ = ["close_rates", "hold", "rested_ns", "take_rates", "warnings_of"]

# Where Routers have the room that is needed: they leave it as they ask, which is every second.
ROOM_NS = 2 * 10**9


def rested_ns(file: Ledger, now_ns: int) -> int:
    """For how long before a start nobody can have spent anything; of a new ledger, for ever."""
    answers = [row.answer for row in file.routers()]
    # A share holds for a while after it was told; a Router that just began may have had another.
    told_ns = [answer.now_ns + FORGET_NS if answer is not None else now_ns for answer in answers]
    rows, _ = file.page(EntryQuestion(newest_first=True), after=0, rows_max=1)
    return max(0, now_ns - max([*told_ns, *(row.created_ns for row in rows)], default=0))


def hold(wanted: Reservation, charge: Charge, rates: Rates, *, clock_ns: int) -> ledger.Hold:
    """A hold on every counter of `charge`, for which every rate has enough; of those, see `take_rates`.

    Raises BudgetExhausted, or RateLimited where it would do to wait; then nothing is held.
    """
    amount, least = wanted.amount, wanted.minimum or wanted.amount
    if amount.price_unknown:
        _check_no_money(wanted, charge)
        amount, least = amount._replace(usd_nanos=0), least._replace(usd_nanos=0)
    if len(charge.counters) > ledger.COUNTERS_MAX:
        raise NotPossibleNow(
            f"`{len(charge.counters)}` limits meet `{wanted.path.tenant}`: "
            f"keep at most {ledger.COUNTERS_MAX}"
        )
    amount = _within_rates(amount, least, charge, rates, clock_ns)
    held = ledger.reserve(
        charge.counters,
        usd_nanos=amount.usd_nanos,
        tokens=amount.tokens,
        minimum_usd_nanos=least.usd_nanos,
        minimum_tokens=least.tokens,
    )
    if isinstance(held, ledger.Hold):
        return held
    denying = [
        (limit, account)
        for limit, account in zip(charge.limits, charge.accounts, strict=True)
        if account.counter is held
    ]
    # The hard one, where a soft ceiling shares its counter.
    limit, account = max(denying, key=lambda pair: pair[0].hard)
    raise denial.exhausted(
        limit,
        available=account.counter.available,
        requested=denial.in_unit(least, limit.unit),
        resets_at_ns=account.resets_at_ns,
    )


def take_rates(
    attempt_id: str, held: Amounts, charge: Charge, rates: Rates, *, clock_ns: int
) -> tuple[LeaseName, ...]:
    """Take what `hold` found to be there from every rate; which these are."""
    names = tuple(dict.fromkeys(limit.name for limit in charge.limits if limit.rated))
    for name in names:
        rates.rest(name, now_ns=clock_ns).take(attempt_id, held[name.unit - 1], now_ns=clock_ns)
    return names


def close_rates(
    attempt_id: str, names: Iterable[LeaseName], rates: Rates, *, held: Amounts, used: Amounts
) -> None:
    """Give back what an attempt did not use, or take what it used beyond its hold."""
    for name in names:
        rest = rates.known(name)
        if rest is not None:
            rest.close(attempt_id, held=held[name.unit - 1], used=used[name.unit - 1])


def _check_no_money(wanted: Reservation, charge: Charge) -> None:
    for limit, account in zip(charge.limits, charge.accounts, strict=True):
        if limit.hard and limit.unit is Unit.USD_NANOS:
            raise denial.price_unknown(
                wanted.model,
                limit,
                available=account.counter.available,
                resets_at_ns=account.resets_at_ns,
            )


def _within_rates(
    amount: Amount, least: Amount, charge: Charge, rates: Rates, clock_ns: int
) -> Amount:
    """As much of `amount` as every rate has."""
    fits = [amount.usd_nanos, amount.tokens, 1]
    for limit in charge.limits:
        if limit.rated:
            level = rates.rest(limit.name, now_ns=clock_ns).level(clock_ns)
            needed, unit = denial.in_unit(least, limit.unit), limit.unit - 1
            if needed > max(0, level):
                raise _too_fast(limit, needed, level, rates, clock_ns)
            fits[unit] = min(fits[unit], max(0, level))
    return amount._replace(usd_nanos=fits[0], tokens=fits[1])


def _too_fast(
    limit: BudgetLimit, needed: int, level: int, rates: Rates, clock_ns: int
) -> Exception:
    per_minute = rates.per_minute(limit.name)
    if needed > per_minute:
        return denial.too_fast(limit, available=level, requested=needed, wait_ns=-1)
    wait_ns = rates.rest(limit.name, now_ns=clock_ns).wait_ns(needed, now_ns=clock_ns)
    if wait_ns < 0:
        rates.claim(limit.name, needed, now_ns=clock_ns)
        wait_ns = max(ROOM_NS, (needed - level) * MINUTE_NS // per_minute)
    return denial.too_fast(limit, available=level, requested=needed, wait_ns=wait_ns)


def warnings_of(charge: Charge) -> tuple[BudgetWarning, ...]:
    """The budgets of `charge` that warn."""
    return tuple(
        BudgetWarning(
            limit.budget,
            account.counter.used * 1_000 // max(limit.limit, 1),
            account.resets_at_ns,
        )
        for limit, account, warns_from in zip(
            charge.limits, charge.accounts, charge.warns_from, strict=True
        )
        if account.counter.used >= warns_from
    )
