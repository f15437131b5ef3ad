"""What is asked of the accounts and what they answer, free of messages and rows."""

from typing import NamedTuple

import msgspec

from harmost.core.budget.nodes import Amount, BudgetLimit, BudgetPath, Unit
from harmost.core.budget.window import Window, WindowBounds
from harmost.core.usage import TokenUsage

__all__ = [
    "Adjusted",
    "Adjustment",
    "BudgetState",
    "BudgetWarning",
    "Held",
    "Posted",
    "Reservation",
    "Settlement",
]


class Reservation(NamedTuple):
    """The worst case of one attempt; less will do down to `minimum`."""

    attempt_id: str
    path: BudgetPath
    model: str
    amount: Amount
    minimum: Amount | None = None


class Settlement(NamedTuple):
    """What an attempt really used."""

    attempt_id: str
    amount: Amount
    usage: TokenUsage | None = None


class Adjustment(NamedTuple):
    """A correction by a person. `unit` and `window` may be left out where there is one ceiling."""

    idempotency_key: str
    budget: str
    delta: int
    author: str
    reason: str
    unit: Unit | None = None
    window: Window | None = None


class BudgetWarning(msgspec.Struct, frozen=True, array_like=True):
    """A budget that is nearly or wholly used. `resets_at_ns` 0: never."""

    budget: str
    used_permille: int
    resets_at_ns: int


class Held(NamedTuple):
    """What was reserved."""

    amount: Amount
    warnings: tuple[BudgetWarning, ...]


class Posted(NamedTuple):
    """The row that was written, and what it settled above the hold."""

    sequence: int
    debt_usd_nanos: int = 0


class BudgetState(NamedTuple):
    """One ceiling with its balances in the window `bounds`."""

    limit: BudgetLimit
    bounds: WindowBounds
    settled: int
    held: int
    debt: int


class Adjusted(NamedTuple):
    """The row that was written, and the ceiling after it."""

    sequence: int
    state: BudgetState
