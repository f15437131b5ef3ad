"""What a budget asks for before it is used up: a warning, cheaper models, a slower pace.

Decides from shares that are told; neither holds anything nor knows a clock. A hard ceiling denies by
itself; a soft one does no more than is decided here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from harmost.core.budget.nodes import BudgetLimit
from harmost.core.budget.window import WindowBounds

__all__ = ["NO_WINDOW", "Advice", "Throttle", "UsedShare", "advise", "asks_from_permille"]

# Of a rate: it has none.
NO_WINDOW = WindowBounds(0, 0)
# A total never starts anew: its pace is a person's to set, so ask again now and then.
RETRY_TOTAL_NS = 60 * 10**9
MINUTE_NS = 60 * 10**9
EXCEEDED_PERMILLE = 1_001


class UsedShare(NamedTuple):
    """How much of one ceiling is used, held or lent, in thousandths, and in which window.

    Of a rate: how much of a minute's worth is not there.
    """

    limit: BudgetLimit
    used_permille: int
    bounds: WindowBounds


class Throttle(NamedTuple):
    """Too fast for `limit`: at its pace there is room again after `retry_after_ns`."""

    limit: BudgetLimit
    retry_after_ns: int


class Advice(NamedTuple):
    """`warns` are at their warning, or soft and used up. `cheaper` and `throttle`: None where no limit asks."""

    warns: tuple[UsedShare, ...] = ()
    cheaper: BudgetLimit | None = None
    throttle: Throttle | None = None


def asks_from_permille(limit: BudgetLimit) -> int | None:
    """The least share that `limit` asks for anything at: `advise` need not be told of less. None: never."""
    asked = (limit.warn_at_permille, limit.cheaper_at_permille, limit.throttle_at_permille)
    exceeded = 0 if limit.hard else EXCEEDED_PERMILLE
    return min((at for at in (*asked, exceeded) if at), default=None)


def advise(shares: Iterable[UsedShare], *, now_ns: int) -> Advice:
    """What all ceilings of a path ask for together; of several that throttle, the longest wait."""
    warns: list[UsedShare] = []
    cheaper: BudgetLimit | None = None
    throttle: Throttle | None = None
    for share in shares:
        limit = share.limit
        exceeded = not limit.hard and share.used_permille >= EXCEEDED_PERMILLE
        if exceeded or _reached(share.used_permille, limit.warn_at_permille):
            warns.append(share)
        if cheaper is None and _reached(share.used_permille, limit.cheaper_at_permille):
            cheaper = limit
        if _reached(share.used_permille, limit.throttle_at_permille):
            wait_ns = _wait_ns(share, now_ns)
            if wait_ns and (throttle is None or wait_ns > throttle.retry_after_ns):
                throttle = Throttle(limit, wait_ns)
    return Advice(tuple(warns), cheaper, throttle)


def _reached(used_permille: int, at_permille: int) -> bool:
    return 0 < at_permille <= used_permille


def _wait_ns(share: UsedShare, now_ns: int) -> int:
    """Until the pace allows what is used: from the threshold to all of it, evenly over the window."""
    limit, bounds = share.limit, share.bounds
    if limit.rated:  # which fills evenly by itself: until it is at the threshold again
        return (share.used_permille - limit.throttle_at_permille) * MINUTE_NS // 1_000
    if limit.window == "total":
        return RETRY_TOTAL_NS
    length_ns = bounds.end_ns - bounds.start_ns
    over, rest = (
        share.used_permille - limit.throttle_at_permille,
        1_000 - limit.throttle_at_permille,
    )
    allowed_ns = length_ns if over >= rest else over * length_ns // rest
    return max(0, bounds.start_ns + allowed_ns - now_ns)
