"""Typed face of rate.pyx: a share of so much a minute."""

class RateShare:
    """One Router's share of a rate; `take` is O(1).

    Any interval t admits at most burst + per_minute * t, counted as used: what is taken and given
    back does not count. Times are monotonic nanoseconds; one that goes back earns nothing.
    """

    def __init__(self, *, per_minute: int, burst: int, level: int, now_ns: int) -> None:
        """`level` may be taken at once. Amounts are 0..10**18, else ValueError."""
    @property
    def per_minute(self) -> int: ...
    @property
    def burst(self) -> int: ...
    def level(self, now_ns: int) -> int:
        """What may be taken at `now_ns`."""
    def take(self, amount: int, *, now_ns: int) -> bool:
        """Take `amount`, 0..10**18; False, and nothing taken, if less is there."""
    def give_back(self, amount: int, *, taken_ns: int, now_ns: int) -> None:
        """Return `amount` of what was taken at `taken_ns` and not used.

        Only what the bucket has not filled up with since: no more than if it had never been taken.
        """
    def wait_ns(self, amount: int, *, now_ns: int) -> int:
        """How long until `amount` may be taken if nothing else is; -1: never, it exceeds the burst."""
    def share_to(self, *, per_minute: int, burst: int, now_ns: int) -> None:
        """Change the share; what is there stays, up to the new burst, and nothing is added."""
