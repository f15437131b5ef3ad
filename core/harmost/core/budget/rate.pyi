"""Typed face of rate.pyx: a bucket that fills with so much a minute."""

from collections.abc import Hashable

class RateShare:
    """A share of a rate. `take`, `close` and the others are O(1), but for credit that is burnt.

    Any interval t admits at most burst + per_minute * t, counted as used in the end. Times are
    monotonic nanoseconds; one that goes back earns nothing. Amounts are 0..10**18, else ValueError.
    """

    def __init__(self, *, per_minute: int, burst: int, level: int, now_ns: int) -> None:
        """`level` may be taken at once."""
    @property
    def per_minute(self) -> int: ...
    @property
    def burst(self) -> int: ...
    @property
    def credit(self) -> int:
        """What open holds may still give back."""
    def level(self, now_ns: int) -> int:
        """What may be taken at `now_ns`; below 0: that much more was used than held."""
    def take(self, hold: Hashable, amount: int, *, now_ns: int) -> bool:
        """Take `amount`, 0..10**18, more for `hold`; False, and nothing taken, if less is there."""
    def close(self, hold: Hashable, *, held: int, used: int) -> None:
        """Give back what `hold` did not use, or take what it used beyond `held`. O(1)."""
    def pay(self, amount: int, *, now_ns: int) -> None:
        """Add `amount` that another bucket gave, as far as it fits."""
    def pay_out(self, amount: int, *, now_ns: int) -> None:
        """Take `amount` for another bucket; ValueError where less is there."""
    def share_to(self, *, per_minute: int, burst: int, now_ns: int) -> None:
        """Change the share; what is there stays, up to the new burst, and nothing is added."""
    def wait_ns(self, amount: int, *, now_ns: int) -> int:
        """How long until `amount` may be taken if nothing else is; -1: never, it exceeds the burst."""
    def empty(self, now_ns: int) -> None:
        """Forget what is there and what may come back, but not what is owed."""
