"""Who acts in a world of money: Router processes with attempts, missions and a journal. Decide nothing."""

from collections import defaultdict
from dataclasses import dataclass, field

from harmost.core.budget.lease import Amounts, Posting
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.rated_book import RatedBook

__all__ = ["Attempt", "Journal", "Mission", "Process"]


@dataclass
class Attempt:
    """One attempt of a Router: what it held, what the provider billed for it."""

    id: str
    hold: Hold
    counters: tuple[int, ...]
    held: Amounts
    billed: Amounts  # nothing where it was never sent
    memo: bytes  # whom it was made for, and when by its Router's clock


@dataclass
class Mission:
    """Money held for several attempts on one path before the first of them."""

    where: BudgetPath
    hold: Hold
    limit: int
    billed: int = 0


@dataclass
class Journal:
    """What a Router process wrote, in one epoch: each attempt before it is sent, and as it closed."""

    opened: dict[str, Attempt] = field(default_factory=dict)
    closed: dict[str, Posting] = field(default_factory=dict)
    lost: bool = False


@dataclass
class Process:
    """A Router process. Its clock is its own."""

    name: str
    book: RatedBook
    clock_ahead_ns: int
    in_flight: dict[str, Attempt] = field(default_factory=dict)
    missions: list[Mission] = field(default_factory=list)
    used: dict[Counter, int] = field(default_factory=lambda: defaultdict(int))
    alive: bool = True
