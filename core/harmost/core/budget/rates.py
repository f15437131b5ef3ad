"""The ledger's half of rates: every ceiling that is one, and the shares that Routers have of them.

Decides; keeps nothing: what a restart must know stands in the answers that Routers were given, which
are kept anyway (escrow.py). A ceiling of so much a minute that denies is a rate; all others are
escrow. Times are monotonic nanoseconds.
"""

from collections.abc import Iterable, Mapping

from harmost.core.budget.lease import LeaseName, RateAsk, RateGrant, SyncAnswer
from harmost.core.budget.rate import RateShare
from harmost.core.budget.rate_shares import RateShares

__all__ = ["MINUTE_NS", "Rates"]

MINUTE_NS = 60 * 10**9


class Rates:
    """All rates of one ledger. One thread, one caller."""

    def __init__(self, *, rested_ns: int = 0, now_ns: int) -> None:
        """`rested_ns`: nobody can have spent anything for so long before now."""
        # INVARIANT: a bucket that was never touched since is as full as if it began empty then.
        self._empty_ns = now_ns - min(rested_ns, MINUTE_NS)
        self._per_minute: Mapping[LeaseName, int] = {}
        self._shares: dict[LeaseName, RateShares] = {}
        self._by_router: dict[tuple[str, int], dict[LeaseName, None]] = {}

    def use(self, per_minute: Mapping[LeaseName, int], *, now_ns: int) -> None:
        """From now on these are the rates; what Routers have stays until they ask again."""
        self._per_minute = per_minute
        for name, shares in list(self._shares.items()):
            if shares.per_minute != per_minute.get(name, shares.per_minute):
                shares.limit_to(per_minute[name], now_ns=now_ns)
            elif name not in per_minute and shares.rested(now_ns):
                del self._shares[name]  # not before: its document may come back within the minute

    def restore(self, router: str, epoch: int, answer: SyncAnswer, *, now_ns: int) -> None:
        """Take up the shares of the last answer that a Router was given before a restart."""
        for grant in answer.rates:
            shares = self._begun(grant.name, grant.limit, now_ns)
            shares.restore(_spender(router, epoch), grant, now_ns=now_ns)
            self._by_router.setdefault((router, epoch), {})[grant.name] = None

    def sync(
        self, router: str, epoch: int, asks: Iterable[RateAsk], *, number: int, now_ns: int
    ) -> tuple[tuple[RateGrant, ...], tuple[LeaseName, ...]]:
        """Its shares from now on, and what is no rate here. What it does not ask for is given back."""
        spender = _spender(router, epoch)
        grants: list[RateGrant] = []
        unknown: list[LeaseName] = []
        before = self._by_router.pop((router, epoch), {})
        kept: dict[LeaseName, None] = {}
        for ask in asks:
            per_minute = self._per_minute.get(ask.name)
            if per_minute is None:
                unknown.append(ask.name)
                continue
            shares = self._begun(ask.name, per_minute, now_ns)
            grants.append(shares.ask(spender, ask, number=number, now_ns=now_ns))
            kept[ask.name] = None
        for name in before:
            if name not in kept and name in self._shares:
                self._shares[name].give_back(spender, now_ns=now_ns)
        if kept:
            self._by_router[router, epoch] = kept
        return tuple(grants), tuple(unknown)

    def again(self, router: str, epoch: int, *, now_ns: int) -> None:
        """The Router's last answer is told once more."""
        for name in self._by_router.get((router, epoch), ()):
            if name in self._shares:
                self._shares[name].again(_spender(router, epoch), now_ns=now_ns)

    def over(self, router: str, epoch: int) -> None:
        """An epoch has ended: its shares hold until they expire, for it may not know."""
        self._by_router.pop((router, epoch), None)

    def per_minute(self, name: LeaseName) -> int:
        """How much a minute, and at once. KeyError where `name` is no rate."""
        return self._per_minute[name]

    def rest(self, name: LeaseName, *, now_ns: int) -> RateShare:
        """What no Router has of a rate: programs spend it. KeyError where `name` is no rate."""
        return self._begun(name, self._per_minute[name], now_ns).rest

    def known(self, name: LeaseName) -> RateShare | None:
        """The same for who only closes a hold; None where nothing of it is in memory."""
        shares = self._shares.get(name)
        return shares.rest if shares is not None else None

    def claim(self, name: LeaseName, amount: int, *, now_ns: int) -> None:
        """A program waits for `amount`, which `rest` has no room for."""
        self._shares[name].claim(amount, now_ns=now_ns)

    def state(self, name: LeaseName, *, now_ns: int) -> tuple[int, int, int]:
        """What is there to be spent, as far as is known; what Routers have, a minute and at once."""
        shares = self._begun(name, self._per_minute[name], now_ns)
        return shares.level(now_ns), *shares.lent(now_ns)

    def _begun(self, name: LeaseName, per_minute: int, now_ns: int) -> RateShares:
        shares = self._shares.get(name)
        if shares is None:
            shares = self._shares[name] = RateShares(per_minute, level=0, now_ns=self._empty_ns)
            shares.rest.level(now_ns)
        return shares


def _spender(router: str, epoch: int) -> str:
    return f"{router}/{epoch}"
