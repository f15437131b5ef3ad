"""Which ceilings an attempt is charged to: those of every level of its path. Holds no balances.

A `Budget` document without a filter limits its tenant; with one it limits that profile, agent or
end user within the tenant. A path meets the documents of its tenant and of all above it.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec

from harmost.core.budget.lease import LeaseName
from harmost.core.budget.price import usd_nanos
from harmost.core.budget.window import UTC_CALENDAR, Calendar, Window, check_calendar
from harmost.core.limits import USD_NANOS_MAX
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.core.tenants import ancestors

__all__ = ["Amount", "BudgetLimit", "BudgetLimits", "BudgetPath", "Unit", "compile_limits"]

# Ceilings of tokens and requests have the bound of money: all three are counted alike.
LIMIT_MAX = USD_NANOS_MAX


class Unit(IntEnum):
    """What a ceiling counts; the numbers are those of the contract."""

    USD_NANOS = 1
    TOKENS = 2
    REQUESTS = 3


class Amount(NamedTuple):
    """What an attempt takes. With `price_unknown`, `usd_nanos` says nothing."""

    usd_nanos: int
    tokens: int
    price_unknown: bool = False


class BudgetPath(NamedTuple):
    """Where an attempt is charged: a tenant, and whom it is made for. Empty: none."""

    tenant: str
    profile: str = ""
    agent_id: str = ""
    end_user_id: str = ""


class BudgetLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One ceiling of one document. `limit` is in `unit`; `node` is such as "tenant:acme/retail".

    A hard and a soft ceiling of one document on the same unit and window share one counter. Of a
    threshold 0 means never.
    """

    budget: str
    tenant: str
    node: str
    unit: Unit
    window: Window
    limit: int
    hard: bool
    warn_at_permille: int
    cheaper_at_permille: int = 0
    throttle_at_permille: int = 0
    calendar: Calendar = UTC_CALENDAR

    @property
    def rated(self) -> bool:
        """It denies what comes too fast: a rate. All other ceilings are balances of their windows."""
        return self.hard and self.window == "minute"

    @property
    def name(self) -> LeaseName:
        """Which ceiling it is, in whichever window."""
        return LeaseName(self.budget, int(self.unit), self.window)


class _Node(NamedTuple):
    """What a document limits: `kind` is "tenant", "profile", "agent" or "user"."""

    tenant: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{'/'.join(part for part in (self.tenant, self.name) if part)}"


class BudgetLimits:
    """Every ceiling of one snapshot. Immutable; a lookup is O(levels + ceilings found)."""

    def __init__(self, by_node: Mapping[_Node, tuple[BudgetLimit, ...]]) -> None:
        self._by_node = dict(by_node)
        ordered = [limit for limits in self._by_node.values() for limit in limits]
        self.all = tuple(sorted(ordered, key=_order))
        # Of several rates of one document on one unit the lowest holds.
        self.rates: dict[LeaseName, int] = {}
        for limit in self.all:
            if limit.rated:
                self.rates[limit.name] = min(limit.limit, self.rates.get(limit.name, limit.limit))
        self._by_budget: dict[str, tuple[BudgetLimit, ...]] = {}
        for limit in self.all:
            self._by_budget[limit.budget] = (*self._by_budget.get(limit.budget, ()), limit)

    def on_path(self, path: BudgetPath) -> tuple[BudgetLimit, ...]:
        """The ceilings that `path` meets, from the root down; within a level the tenant's first."""
        found: list[BudgetLimit] = []
        for node in _nodes(path):
            found.extend(self._by_node.get(node, ()))
        return tuple(found)

    def balanced(self) -> "BudgetLimits":
        """Those that are no rates."""
        kept = {
            node: tuple(limit for limit in limits if not limit.rated)
            for node, limits in self._by_node.items()
        }
        return BudgetLimits(kept)

    def of(self, budget: str) -> tuple[BudgetLimit, ...]:
        """The ceilings of one document; empty where there is none of that name."""
        return self._by_budget.get(budget, ())


def compile_limits(budgets: Mapping[str, tuple[Metadata, BudgetSpec]]) -> BudgetLimits:
    """The ceilings of `budgets`, by name; ValueError naming the document that says what cannot be."""
    by_node: dict[_Node, tuple[BudgetLimit, ...]] = {}
    for name, (metadata, spec) in sorted(budgets.items()):
        try:
            node = _node_of(metadata.tenant, spec)
            limits = _limits(name, node, spec)
        except ValueError as error:
            raise ValueError(f"budget `{name}`: {error}") from None
        by_node[node] = by_node.get(node, ()) + limits
    return BudgetLimits(by_node)


def _nodes(path: BudgetPath) -> Iterator[_Node]:
    names = (
        ("profile", path.profile),
        ("agent", path.agent_id),
        ("user", path.end_user_id),
    )
    named = [(kind, name) for kind, name in names if name]
    # The root, "", owns documents that bind the whole deployment.
    for tenant in ("", *ancestors(path.tenant)):
        yield _Node(tenant, "tenant", "")
        for kind, name in named:
            yield _Node(tenant, kind, name)


def _node_of(tenant: str, spec: BudgetSpec) -> _Node:
    named = [
        (kind, name)
        for kind, name in (
            ("profile", spec.profile),
            ("agent", spec.agent),
            ("user", spec.end_user),
        )
        if name
    ]
    if len(named) > 1:
        raise ValueError("names more than one of `profile`, `agent`, `end_user`: keep one")
    kind, name = named[0] if named else ("tenant", "")
    return _Node(tenant, kind, name)


def _limits(budget: str, node: _Node, spec: BudgetSpec) -> tuple[BudgetLimit, ...]:
    calendar = Calendar(spec.timezone, spec.month_day)
    check_calendar(calendar)
    limits: list[BudgetLimit] = []
    for stated in spec.limits:
        unit, ceiling = _ceiling(stated)
        limits.append(
            BudgetLimit(
                budget=budget,
                tenant=node.tenant,
                node=str(node),
                unit=unit,
                window=stated.window,
                limit=ceiling,
                hard=stated.enforcement == "hard",
                warn_at_permille=_permille("warn_at_percent", stated.warn_at_percent),
                cheaper_at_permille=_permille("cheaper_at_percent", stated.cheaper_at_percent),
                throttle_at_permille=_permille("throttle_at_percent", stated.throttle_at_percent),
                calendar=calendar,
            )
        )
    return tuple(limits)


def _ceiling(limit: Limit) -> tuple[Unit, int]:
    stated: list[tuple[Unit, int]] = []
    if limit.usd:
        stated.append((Unit.USD_NANOS, usd_nanos(limit.usd)))
    if limit.tokens:
        stated.append((Unit.TOKENS, limit.tokens))
    if limit.requests:
        stated.append((Unit.REQUESTS, limit.requests))
    if len(stated) != 1:
        raise ValueError("a limit states exactly one of `usd`, `tokens`, `requests`")
    unit, ceiling = stated[0]
    if not 0 <= ceiling <= LIMIT_MAX:
        raise ValueError(f"`{ceiling}` is not within 0..{LIMIT_MAX}")
    return unit, ceiling


def _permille(field: str, percent: int) -> int:
    if not 0 <= percent <= 100:
        raise ValueError(f"`{field}` is `{percent}`: state 0 to 100")
    return percent * 10


def _order(limit: BudgetLimit) -> tuple[str, str, int, str, bool]:
    return limit.node, limit.budget, limit.unit, limit.window, not limit.hard
