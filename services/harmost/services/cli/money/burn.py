"""How fast each budget is used, and when it will be used up. Pure: rows and times come in.

A row of sums counts for every budget that its attempts were charged to: those of its tenant and of
all above, of its profile, its agent and its end user.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Burn", "Forecast", "NodeSums", "burns", "forecast", "nodes_of"]

MINUTES = 60
RATE_MINUTES = 15  # long enough to smooth single calls, short enough to see a change


class NodeSums(NamedTuple):
    """What was charged in one minute. `minute` counts back from now: 0 is the one that runs."""

    tenant: str
    profile: str
    agent_id: str
    end_user_id: str
    minute: int
    usd_nanos: int
    tokens: int
    attempts: int


class Burn(NamedTuple):
    """Use of one budget in its unit: by minute, the oldest first, and at which rate now."""

    by_minute: tuple[int, ...]
    per_hour: int


class Forecast(NamedTuple):
    """When nothing is left at this rate. `exhausted_in_s` None: not before the window ends."""

    exhausted_in_s: int | None


def burns(
    sums: Iterable[NodeSums], nodes: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Burn]:
    """The burn of each (node, unit) of `nodes`; unit is that of the contract: 1 money, 2 tokens, 3
    requests. O(sums x levels)."""
    wanted = set(nodes)
    minutes: dict[tuple[str, int], list[int]] = {key: [0] * MINUTES for key in wanted}
    for row in sums:
        if not 0 <= row.minute < MINUTES:
            continue
        for node in nodes_of(row):
            for unit, value in ((1, row.usd_nanos), (2, row.tokens), (3, row.attempts)):
                if (node, unit) in wanted:
                    minutes[node, unit][MINUTES - 1 - row.minute] += value
    return {key: Burn(tuple(values), _per_hour(values)) for key, values in minutes.items()}


def forecast(left: int, burn: Burn, resets_in_s: int | None) -> Forecast:
    """When `left` is used up at the rate of `burn`; a window that starts anew before saves it."""
    if left <= 0:
        return Forecast(0)
    if burn.per_hour <= 0:
        return Forecast(None)
    exhausted_in_s = left * 3_600 // burn.per_hour
    lasts = resets_in_s is not None and exhausted_in_s >= resets_in_s
    return Forecast(None if lasts else exhausted_in_s)


def nodes_of(row: NodeSums | Any) -> Iterator[str]:
    """The nodes that `row` was charged at, as budgets name them."""
    levels = row.tenant.split("/") if row.tenant else []
    names = (("profile", row.profile), ("agent", row.agent_id), ("user", row.end_user_id))
    for depth in range(len(levels) + 1):
        tenant = "/".join(levels[:depth])
        yield f"tenant:{tenant}"
        for kind, name in names:
            if name:
                yield f"{kind}:{tenant}/{name}" if tenant else f"{kind}:{name}"


def _per_hour(by_minute: Sequence[int]) -> int:
    # The minute that runs is not over: it would drag the rate down.
    return sum(by_minute[-1 - RATE_MINUTES : -1]) * 60 // RATE_MINUTES
