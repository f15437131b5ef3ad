"""Typed face of ledger.pyx: balances and holds in memory."""

from typing import Final

UNITS: Final = 3
COUNTERS_MAX: Final = 1024
BALANCE_MAX: Final = 4_000_000_000_000_000_000

class Counter:
    """Balances of one ceiling in one window. `id` is the caller's own number for it.

    `unit` is 1 nanodollars, 2 tokens, 3 requests. The ledger's own counter lends parts of itself to
    Routers (`leased`, `suspense`); a Router's counter of the same id has for limit what it was lent.
    INVARIANT: 0 <= debt <= settled; held, leased and suspense are never negative.
    """

    def __init__(
        self,
        id: int,
        *,
        unit: int,
        limit: int,
        hard: bool,
        settled: int = 0,
        held: int = 0,
        debt: int = 0,
        leased: int = 0,
        suspense: int = 0,
    ) -> None: ...
    @property
    def id(self) -> int: ...
    @property
    def unit(self) -> int: ...
    @property
    def hard(self) -> bool: ...
    @property
    def limit(self) -> int: ...
    @property
    def settled(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def debt(self) -> int: ...
    @property
    def leased(self) -> int: ...
    @property
    def suspense(self) -> int: ...
    @property
    def hold_p95(self) -> int:
        """What 95 of 100 holds here do not exceed: an estimate that follows the traffic."""
    @property
    def open_holds(self) -> int:
        """Holds that have not closed, of nothing too."""
    @property
    def used(self) -> int:
        """settled + held + leased + suspense."""
    @property
    def available(self) -> int:
        """limit + debt - used; negative when the limit was lowered below what is used."""
    def limit_to(self, limit: int, *, hard: bool) -> None:
        """Change the ceiling; what is used stays. `limit` is 0..10**18."""
    def adjust(self, delta: int) -> int:
        """Add `delta` to what is settled; returns the change of debt, which is repaid first.

        ValueError, and nothing changed, where settled would leave 0..4 * 10**18.
        """
    def lend(self, amount: int) -> None:
        """Move `amount` from what is available to what is leased; ValueError where there is less."""
    def suspend(self, amount: int) -> None:
        """Move `amount` from leased to suspense: whoever has it may have spent it."""
    def revive(self, amount: int) -> None:
        """Move `amount` from suspense to leased: whoever has it is heard of again."""
    def take_back(self, amount: int, *, suspended: bool) -> None:
        """Make `amount` of what was lent available again: there is evidence that it is unspent."""
    def post(self, *, used: int, lent: int, debt: int, suspended: bool) -> None:
        """Settle `used`, which takes `lent` of what was lent and is `debt` above what was held.

        Each is 0..10**18. OverflowError, and nothing changed, beyond 4 * 10**18.
        """

class Hold:
    """What one attempt has reserved; closed once, by `settle` or by `void`.

    A part of another hold (`whole`) has its money from that one, and gives back what it does not
    use; once the whole is closed, to the counters.
    """

    @property
    def counters(self) -> tuple[Counter, ...]: ...
    @property
    def whole(self) -> Hold | None: ...
    @property
    def open(self) -> bool: ...
    @property
    def usd_nanos(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def requests(self) -> int: ...
    def settle(self, *, usd_nanos: int, tokens: int, requests: int = 1) -> None:
        """Post what was used, each 0..10**18; above the hold it also becomes debt. O(counters).

        ValueError if closed already; OverflowError, and nothing changed, beyond 4 * 10**18.
        """
    def void(self) -> None:
        """Give the hold back; ValueError if closed already. O(counters)."""
    def extend(self, *, usd_nanos: int, tokens: int) -> bool:
        """Hold so much more at every counter; False: nothing more, one has too little.

        A part takes its money from its whole. ValueError if closed already.
        """
    def part(
        self,
        beside: tuple[Counter, ...],
        *,
        usd_nanos: int,
        tokens: int,
        minimum_tokens: int,
        requests: int = 1,
    ) -> Hold | Counter | None:
        """A hold whose money comes out of this one, and all else from the counters `beside` it.

        Those count no money. None where this one has too little left, the counter where that has;
        then nothing is held. ValueError if closed already, or if this holds more than money.
        """

def reserve(
    counters: tuple[Counter, ...],
    *,
    usd_nanos: int,
    tokens: int,
    minimum_usd_nanos: int,
    minimum_tokens: int,
    requests: int = 1,
) -> Hold | Counter:
    """A hold on every counter, or the counter that has too little; then nothing is held.

    Takes `requests`, and of money and tokens the most that fits up to what is asked, if at least
    the minimum of each. Amounts are 0..10**18; no counter twice. O(counters), one allocation.
    """

def restore(
    counters: tuple[Counter, ...], *, usd_nanos: int, tokens: int, requests: int = 1
) -> Hold:
    """The hold of an attempt that was reserved before a restart; its counters include it already."""

def spin(counters: tuple[Counter, ...], *, rounds: int) -> int:
    """Reserve and settle `rounds` times without Python between; how many were denied."""
