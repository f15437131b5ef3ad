"""Typed face of ledger.pyx: balances and holds in memory."""

from typing import Final

UNITS: Final = 3
COUNTERS_MAX: Final = 1024

class Counter:
    """Balances of one ceiling in one window. `id` is the caller's own number for it.

    `unit` is 1 nanodollars, 2 tokens, 3 requests. INVARIANT: 0 <= debt <= settled, 0 <= held.
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
    def used(self) -> int:
        """settled + held."""
    @property
    def available(self) -> int:
        """limit + debt - settled - held; negative when the limit was lowered below what is used."""
    def limit_to(self, limit: int, *, hard: bool) -> None:
        """Change the ceiling; what is settled and held stays. `limit` is 0..10**18."""
    def adjust(self, delta: int) -> int:
        """Add `delta` to what is settled; returns the change of debt, which is repaid first.

        ValueError, and nothing changed, where settled would leave 0..4 * 10**18.
        """

class Hold:
    """What one attempt has reserved; closed once, by `settle` or by `void`."""

    @property
    def counters(self) -> tuple[Counter, ...]: ...
    @property
    def open(self) -> bool: ...
    @property
    def usd_nanos(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    def settle(self, *, usd_nanos: int, tokens: int) -> None:
        """Post what was used, each 0..10**18; above the hold it also becomes debt. O(counters).

        ValueError if closed already; OverflowError, and nothing changed, beyond 4 * 10**18.
        """
    def void(self) -> None:
        """Give the hold back; ValueError if closed already. O(counters)."""

def reserve(
    counters: tuple[Counter, ...],
    *,
    usd_nanos: int,
    tokens: int,
    minimum_usd_nanos: int,
    minimum_tokens: int,
) -> Hold | Counter:
    """A hold on every counter, or the counter that has too little; then nothing is held.

    Takes one request, and of money and tokens the most that fits up to what is asked, if at least
    the minimum of each. Amounts are 0..10**18; no counter twice. O(counters), one allocation.
    """

def restore(counters: tuple[Counter, ...], *, usd_nanos: int, tokens: int) -> Hold:
    """The hold of an attempt that was reserved before a restart; its counters include it already."""

def spin(counters: tuple[Counter, ...], *, rounds: int) -> int:
    """Reserve and settle `rounds` times without Python between; how many were denied."""
