"""What the attempts of one Router's message are charged to, before anything is posted."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from harmost.core.budget.lease import Amounts, Posting
from harmost.core.budget.ledger import BALANCE_MAX
from harmost.services.budget.counters import Account, Charge, Counters
from harmost.services.budget.requests import Closing

__all__ = ["Charged", "Intake"]

log = logging.getLogger(__name__)

NOTHING = Amounts()


class Charged(NamedTuple):
    """An attempt on its way into the ledger: `leased` is what it used leases of, `soft` the rest."""

    closing: Closing
    leased: tuple[int, ...]
    soft: tuple[Account, ...]
    used: Amounts
    debt: Amounts


class _Route(NamedTuple):
    """What attempts of one path and lease meet; `room` is left in the fullest balance of each unit.

    `charge` stands here so that it lives: routes are found by which object it is.
    """

    charge: Charge
    leased: tuple[int, ...]
    soft: tuple[Account, ...]
    room: Amounts


class Intake:
    """One message's attempts by id, and those that no balance can hold, each with why."""

    def __init__(self, counters: Counters, now_ns: int) -> None:
        self.charged: dict[str, Charged] = {}
        self.refused: list[tuple[str, str]] = []
        self._counters = counters
        self._now_ns = now_ns
        self._routes: dict[tuple[int, tuple[int, ...]], _Route] = {}
        self._used = [0] * len(NOTHING)

    def postings(self, closings: Iterable[Closing]) -> tuple[Posting, ...]:
        """The attempts as the escrow takes them. A void is nothing to it."""
        return tuple(self._posting(closing) for closing in closings if not closing.void)

    def _posting(self, closing: Closing) -> Posting:
        charge = self._counters.charge(closing.path, closing.admitted_ns or self._now_ns)
        route = self._routes.get((id(charge), closing.counters))
        if route is None:
            route = self._routes[id(charge), closing.counters] = self._route(closing, charge)
        _, leased, soft, room = route
        spent = closing.held if closing.amount.price_unknown else closing.amount
        used = Amounts(spent.usd_nanos, closing.amount.tokens, 1)
        held = Amounts(closing.held.usd_nanos, closing.held.tokens, 1)
        if self._takes(used, room):
            debt = NOTHING
            if used[0] > held[0] or used[1] > held[1]:
                debt = Amounts(
                    *(max(0, more - less) for more, less in zip(used, held, strict=True))
                )
        else:
            why = "the amount is more than a balance can hold"
            self.refused.append((closing.attempt_id, why))
            leased, soft, used, debt = (), (), NOTHING, NOTHING
        self.charged[closing.attempt_id] = Charged(closing, leased, soft, used, debt)
        return Posting(closing.attempt_id, leased, held, used)

    def _takes(self, used: Amounts, room: Amounts) -> bool:
        """Count `used`, unless a balance would be passed by all that the message has used so far."""
        sums = self._used
        if sums[0] + used[0] > room[0] or sums[1] + used[1] > room[1]:
            return False
        for unit, amount in enumerate(used):
            sums[unit] += amount
        return True

    def _route(self, closing: Closing, charge: Charge) -> _Route:
        known = self._counters
        leased = tuple(each for each in dict.fromkeys(closing.counters) if known.knows(each))
        if len(leased) < len(closing.counters):
            log.error("attempt %s used leases of an unknown ledger", closing.attempt_id)
        # Soft limits bind no one, so a Router need not have heard of their counters. By name: one
        # that it did charge may be of another window than the Router's clock tells.
        told = {known.account(each).name for each in leased}
        soft = tuple(
            account
            for account in dict.fromkeys(charge.accounts)
            if not account.counter.hard and account.name not in told
        )
        room = [BALANCE_MAX] * len(NOTHING)
        for account in (*(known.account(each) for each in leased), *soft):
            unit = account.counter.unit - 1
            room[unit] = min(room[unit], BALANCE_MAX - account.counter.settled)
        return _Route(charge, leased, soft, Amounts(*room))
