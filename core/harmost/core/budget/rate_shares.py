"""Who may spend how much of a rate: splits so much a minute among Routers. Knows no clock, no disk.

INVARIANT: the shares that have not expired add up to no more than the whole. A share may expire, as
a lease of money may not: what is not used of a minute is gone anyway.
"""

from typing import NamedTuple

from harmost.core.budget.rate import RateShare
from harmost.core.errors import RateLimited

__all__ = ["RateGrant", "RateShares"]

MINUTE_NS = 60 * 10**9
SHARE_NS = 30 * 10**9  # how long a share holds unless it is asked for again
ROUTERS_MAX = 4_096


class RateGrant(NamedTuple):
    """A share, until `until_ns`. `level` is what its first holder may spend at once."""

    per_minute: int
    burst: int
    level: int
    until_ns: int

    def begin(self, now_ns: int) -> RateShare:
        """The bucket of a Router that had no share before."""
        return RateShare(
            per_minute=self.per_minute, burst=self.burst, level=self.level, now_ns=now_ns
        )


class _Share:
    """What one Router last wanted, and the shares that it may be spending: an answer can be lost."""

    __slots__ = ("granted", "until_ns", "wants")

    def __init__(self) -> None:
        self.wants = self.until_ns = 0
        self.granted: list[tuple[int, int]] = []  # shares, falling, with their ends, rising

    def most(self, now_ns: int) -> int:
        """The largest share that has not expired; 0: none has."""
        while self.granted and self.granted[0][1] <= now_ns:
            self.granted.pop(0)
        return self.granted[0][0] if self.granted else 0

    def grant(self, per_minute: int, until_ns: int) -> None:
        """From now on it may have this one too."""
        while self.granted and self.granted[-1][0] <= per_minute:
            self.granted.pop()
        self.granted.append((per_minute, until_ns))
        self.until_ns = until_ns


class RateShares:
    """One rate of `per_minute`, with bursts of as many seconds of it."""

    def __init__(self, *, per_minute: int, burst_s: int = 60, now_ns: int) -> None:
        """A ledger that begins does not know who spends: nobody has a burst for a minute."""
        self.per_minute = per_minute
        self._burst_s = burst_s
        self._shares: dict[str, _Share] = {}
        self._busy_until_ns = now_ns

    def ask(self, router: str, wants: int, *, now_ns: int) -> RateGrant:
        """The share of a Router that wants so much a minute. O(Routers).

        Equal parts; what some do not want others may have. One who has more than its part now keeps
        no more than that at its next asking, or loses it when it expires: others wait so long.
        """
        others = self._others(router, now_ns)
        fresh = router not in self._shares
        rested = not others and now_ns - self._busy_until_ns >= MINUTE_NS
        part = self.per_minute // (len(others) + 1)
        wanted = sum(min(share.wants, part) for share in others)
        free = self.per_minute - sum(share.most(now_ns) for share in others)
        share = self._shares.setdefault(router, _Share())
        share.wants = wants
        per_minute = max(0, min(free, wants, self.per_minute - wanted))
        until_ns = self._busy_until_ns = now_ns + SHARE_NS
        share.grant(per_minute, until_ns)
        burst = per_minute * self._burst_s // 60
        return RateGrant(per_minute, burst, burst if fresh and rested else 0, until_ns)

    def _others(self, router: str, now_ns: int) -> list[_Share]:
        for name in [name for name, share in self._shares.items() if share.until_ns <= now_ns]:
            del self._shares[name]
        if router not in self._shares and len(self._shares) >= ROUTERS_MAX:
            raise RateLimited(
                f"`{ROUTERS_MAX}` Routers share a rate already", retry_after_s=SHARE_NS / 1e9
            )
        return [share for name, share in self._shares.items() if name != router]
