"""Who may spend how much of one rate: a bucket with each Router, and one here. Knows no clock, no disk.

A Router refills its own bucket at its share of the rate. What is with nobody refills the one here, and
is paid out to who asks, and to programs.

INVARIANT: rates and bursts of all buckets, and what is on its way from one to the other, add up to no
more than the whole. Each bucket lets at most burst + rate * t through, so all of them together do. A
share may expire, as a lease of money may not: what is not used of a minute is gone anyway.

Source: ITU-T I.371, annex A (rate.pyx); shares that expire: Google's Doorman, doc/design.md.
"""

import msgspec

from harmost.core.budget.lease import RateAsk, RateGrant
from harmost.core.budget.rate import RateShare

__all__ = ["FORGET_NS", "SHARE_NS", "RateShares"]

SHARE_NS = 10 * 10**9  # a Router stops so long after it sent the message that asked
GRACE_NS = 2 * 10**9  # and is believed to spend so much longer: clocks do not run alike
FORGET_NS = SHARE_NS + GRACE_NS
# Room is kept so long for one who waits for it: others leave it as they ask, which is every second.
CLAIM_NS = 3 * 10**9
# Of all that there is, Routers have at the most so much for what does not wait yet.
LENT_PARTS, PARTS = 3, 4
# A share for fewer large attempts is none: what it has of one is of no use to anybody.
SHARE_HOLDS = 4
ROUTERS_MAX = 4_096


class _Share:
    """What one Router may be spending, and what was paid to it."""

    __slots__ = (
        "burst",
        "granted",
        "id",
        "level",
        "most_burst",
        "most_per_minute",
        "per_minute",
        "returned",
        "until_ns",
    )

    def __init__(self, id: int) -> None:
        self.id = id
        self.per_minute = self.burst = self.until_ns = 0
        self.granted = self.returned = 0
        self.level = 0  # as it told, with what was paid since
        # Before it is known that an answer came, the share before it may be in use.
        self.most_per_minute = self.most_burst = 0


class RateShares:
    """One rate of `per_minute`, with bursts of a minute of it. One thread, one caller."""

    def __init__(self, per_minute: int, *, level: int, now_ns: int) -> None:
        """`level` may be spent at once."""
        self.per_minute = per_minute
        self.rest = RateShare(per_minute=per_minute, burst=per_minute, level=level, now_ns=now_ns)
        self._shares: dict[str, _Share] = {}
        self._claimer, self._claimed, self._claimed_until_ns = "", 0, 0

    def ask(self, router: str, ask: RateAsk, *, number: int, now_ns: int) -> RateGrant:
        """The share of a Router from now on. O(Routers).

        That it asks tells that every answer before this came. `number`, of the message, names a
        share that begins.
        """
        self._expire(now_ns)
        share = self._shares.get(router)
        if share is None:
            if len(self._shares) >= ROUTERS_MAX:
                return RateGrant(ask.name, 0, 0, 0, 0, self.per_minute, denied=True)
            share = self._shares[router] = _Share(number)
            ask = _anew(ask)
        self._heard(share, ask.returned, now_ns)
        lent = self._lent_but(router, now_ns)
        free, lendable = max(0, self.per_minute - lent), self.per_minute * LENT_PARTS // PARTS
        part = lendable // len(self._shares)
        exact = part < SHARE_HOLDS * ask.hold
        burst = ask.credit if exact else min(ask.burst + ask.credit, part)
        burst = max(0, min(burst, lendable - lent))
        paid, burst = self._payment(ask, burst, free, router, now_ns)
        per_minute = 0
        if burst and not exact:  # without room it would be lost there
            others = (each for name, each in self._shares.items() if name != router)
            free_rate = self.per_minute - sum(each.most_per_minute for each in others)
            per_minute = max(0, min(ask.per_minute, part, free_rate))
        share.most_per_minute = max(share.per_minute, per_minute)
        # Until the answer is there: one that does not refill itself has no more than it told.
        before = (
            share.burst if share.per_minute else min(share.burst, max(0, ask.level) + ask.credit)
        )
        share.most_burst = max(before + paid, burst)
        share.per_minute, share.burst = per_minute, burst
        share.granted += paid
        share.level = min(ask.level + paid, burst)
        share.until_ns = now_ns + FORGET_NS
        self.rest.pay_out(paid, now_ns=now_ns)
        self._keep_rest(now_ns)
        denied = paid < ask.needed
        if router == self._claimer and not denied:
            self._claimed_until_ns = 0
        return self._grant(ask, share, denied=denied, exact=exact, now_ns=now_ns)

    def again(self, router: str, *, now_ns: int) -> None:
        """The last answer is told once more: the share holds for another while."""
        share = self._shares.get(router)
        if share is not None:
            share.until_ns = now_ns + FORGET_NS

    def give_back(self, router: str, *, now_ns: int) -> None:
        """The Router has dropped its share."""
        if self._shares.pop(router, None) is not None:
            self._keep_rest(now_ns)

    def restore(self, router: str, grant: RateGrant, *, now_ns: int) -> None:
        """Take up a share that was told before a restart: perhaps just now."""
        share = self._shares[router] = _Share(grant.share)
        share.per_minute, share.burst = grant.per_minute, grant.burst
        share.granted, share.returned = grant.granted, grant.returned
        share.most_per_minute, share.most_burst = grant.most_per_minute, grant.most_burst
        share.until_ns = now_ns + FORGET_NS
        self._keep_rest(now_ns)

    def limit_to(self, per_minute: int, *, now_ns: int) -> None:
        """Another rate from now on; Routers hear of it at their next asking."""
        self.rest.level(now_ns)
        self.per_minute = per_minute
        self._keep_rest(now_ns)

    def claim(self, amount: int, *, now_ns: int) -> None:
        """A program waits for so much: Routers shall leave it room."""
        self._claim("", amount, now_ns)

    def lent(self, now_ns: int) -> tuple[int, int]:
        """How much a minute, and how much at once, Routers may be spending."""
        self._expire(now_ns)
        shares = self._shares.values()
        return sum(each.most_per_minute for each in shares), sum(each.most_burst for each in shares)

    def level(self, now_ns: int) -> int:
        """What is there to be spent, here and, as they told, with Routers; below 0: owed."""
        self._expire(now_ns)
        return self.rest.level(now_ns) + sum(each.level for each in self._shares.values())

    def rested(self, now_ns: int) -> bool:
        """Whether it is as if nobody had ever spent of it."""
        return not any(self.lent(now_ns)) and self.rest.level(now_ns) == self.rest.burst

    def _claim(self, claimer: str, amount: int, now_ns: int) -> None:
        """Keep room for who waits for `amount`: for one at a time."""
        if now_ns >= self._claimed_until_ns or claimer == self._claimer:
            self._claimer, self._claimed = claimer, amount
            self._claimed_until_ns = now_ns + CLAIM_NS

    def _lent_but(self, router: str, now_ns: int) -> int:
        """The room that others than `router` have, or that is kept for them."""
        lent = sum(each.most_burst for name, each in self._shares.items() if name != router)
        if now_ns < self._claimed_until_ns and self._claimer != router:
            claimer = self._shares.get(self._claimer)
            lent += max(0, self._claimed - (claimer.most_burst if claimer is not None else 0))
        return lent

    def _heard(self, share: _Share, returned: int, now_ns: int) -> None:
        """The last answer has come, and what had no room or use there comes back."""
        # A Router in error gives back more than it had: nothing comes of that.
        back = max(0, min(returned - share.returned, share.most_burst))
        share.returned += back
        share.most_per_minute, share.most_burst = share.per_minute, share.burst
        self._keep_rest(now_ns)
        self.rest.pay(back, now_ns=now_ns)

    def _payment(
        self, ask: RateAsk, burst: int, free: int, router: str, now_ns: int
    ) -> tuple[int, int]:
        """What is given of the bucket here, and the room for it there.

        What waits comes before what may be wanted later; too little for any that waits is none.
        """
        there = max(0, self.rest.level(now_ns))
        room = max(0, burst - ask.level - ask.credit)
        # At the least what has no room here any more.
        paid = min(room, max(there // (2 * len(self._shares)), there - max(0, free - burst)))
        if paid >= ask.needed:
            return paid, burst
        wanted = ask.level + ask.needed
        paid = min(ask.needed, there, max(0, min(wanted, free) - ask.level))
        if free < wanted <= self.per_minute:
            self._claim(router, wanted, now_ns)
        if paid < ask.minimum:
            return 0, burst
        return paid, max(burst, min(wanted, free))

    def _keep_rest(self, now_ns: int) -> None:
        """What no Router may be spending is here."""
        shares = self._shares.values()
        rate = self.per_minute - sum(each.most_per_minute for each in shares)
        burst = self.per_minute - sum(each.most_burst for each in shares)
        # Below 0 where the rate was lowered: until every Router has heard of it.
        self.rest.share_to(per_minute=max(0, rate), burst=max(0, burst), now_ns=now_ns)

    def _expire(self, now_ns: int) -> None:
        over = [each for each in self._shares.items() if each[1].until_ns <= now_ns]
        for name, share in sorted(over, key=lambda each: each[1].until_ns):
            del self._shares[name]
            self._keep_rest(share.until_ns)  # since when it fills here

    def _grant(
        self, ask: RateAsk, share: _Share, *, denied: bool, exact: bool, now_ns: int
    ) -> RateGrant:
        return RateGrant(
            name=ask.name,
            share=share.id,
            per_minute=share.per_minute,
            burst=share.burst,
            granted=share.granted,
            limit=self.per_minute,
            returned=share.returned,
            rest_per_minute=self.rest.per_minute,
            rest_burst=self.rest.burst,
            rest_level=max(0, self.rest.level(now_ns)),
            others_level=max(0, sum(each.level for each in self._shares.values()) - share.level),
            denied=denied,
            exact=exact,
            most_per_minute=share.most_per_minute,
            most_burst=share.most_burst,
        )


def _anew(ask: RateAsk) -> RateAsk:
    """The same of who has nothing any more: its share is another now."""
    lost = max(0, ask.level)
    needed = ask.needed and ask.needed + lost
    minimum = ask.minimum and ask.minimum + lost
    return msgspec.structs.replace(
        ask, level=ask.level - lost, credit=0, needed=needed, minimum=minimum, returned=0
    )
