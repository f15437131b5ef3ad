"""What one mission may cost: counted beside the budgets above it, or held out of them as it begins.

Says only what is left; budget.py holds.
"""

from dataclasses import dataclass, field

from harmost.core.budget.leases import LeaseBook
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import Unit

__all__ = ["Purse"]


@dataclass(slots=True)
class Purse:
    """All that a mission has, in nanodollars, for its attempts together.

    With `at_once` it is held whole before the first attempt, out of leases of `book`: `hold`, of
    which attempts are parts. Until then, and without, `counter` says what is left.
    """

    limit: int
    at_once: bool = False
    hold: Hold | None = None
    book: LeaseBook | None = None
    counter: Counter = field(init=False)
    _filled: int = 0

    def __post_init__(self) -> None:
        self.counter = Counter(0, unit=Unit.USD_NANOS, limit=self.limit, hard=True)

    @property
    def left(self) -> int:
        """What no attempt has taken."""
        return self.hold.usd_nanos if self.hold is not None else self.counter.available

    def fill(self, hold: Hold, book: LeaseBook) -> None:
        """From now on attempts are parts of `hold`."""
        self.hold, self.book, self._filled = hold, book, hold.usd_nanos

    def empty(self) -> None:
        """Give back what is held and no attempt took."""
        if self.hold is not None:
            hold, self.hold, self.book = self.hold, None, None
            self.counter.adjust(self._filled - hold.usd_nanos)
            hold.void()
