"""Sums of ledger rows, added up page by page; ledger_sums.py makes the pages.

Sums settlements and corrections as they are written; decides nothing and rounds nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple

from harmost.core.tenants import ancestors

__all__ = ["SPANS_NS", "EntrySum", "Group", "Position", "Report", "SumPage", "SumQuestion"]

# What fits into one answer.
SUMS_MAX = 10_000


class Group(IntEnum):
    """What sums are made for; the numbers are those of the contract."""

    TENANT = 1
    MODEL = 2
    PROFILE = 3
    AGENT = 4
    END_USER = 5
    MINUTE = 6
    HOUR = 7
    DAY = 8


SPANS_NS: Mapping[Group, int] = {
    Group.MINUTE: 60 * 10**9,
    Group.HOUR: 3_600 * 10**9,
    Group.DAY: 86_400 * 10**9,
}


class Position(NamedTuple):
    """How far a report has come: the last row that is in it."""

    created_ns: int = -1
    sequence: int = 0


class SumQuestion(NamedTuple):
    """What is summed: rows at or below `tenant`, written from `start_ns` to before `end_ns`."""

    tenant: str
    start_ns: int
    end_ns: int
    groups: tuple[Group, ...]


class EntrySum(NamedTuple):
    """Some rows together. Money in nanodollars; corrections stand apart."""

    attempts: int = 0
    usd_nanos: int = 0
    tokens: int = 0
    debt_usd_nanos: int = 0
    price_unknown_attempts: int = 0
    corrections: int = 0
    corrected_usd_nanos: int = 0

    def plus(self, other: "EntrySum") -> "EntrySum":
        """Both together."""
        return EntrySum(*(one + two for one, two in zip(self, other, strict=True)))


class SumPage(NamedTuple):
    """Sums by what they are of, one over all, and the last row that is in them; None: no more."""

    sums: list[tuple[tuple[str | int, ...], EntrySum]]
    total: EntrySum
    reached: Position | None


class Report:
    """Adds pages up. `tenant_levels` cuts tenant paths; 0: not."""

    def __init__(self, groups: Sequence[Group], *, tenant_levels: int) -> None:
        self._groups = tuple(groups)
        self._levels = tenant_levels
        self._sums: dict[tuple[str, ...], EntrySum] = {}
        self.total = EntrySum()
        self.truncated = False

    def add(self, page: SumPage) -> None:
        """Take in one page. What is beyond SUMS_MAX combinations is only in `total`."""
        self.total = self.total.plus(page.total)
        for values, found in page.sums:
            keys = tuple(map(self._key, self._groups, values))
            if keys in self._sums:
                self._sums[keys] = self._sums[keys].plus(found)
            elif len(self._sums) < SUMS_MAX:
                self._sums[keys] = found
            else:
                self.truncated = True

    def sums(self) -> list[tuple[tuple[str, ...], EntrySum]]:
        """The sums, the dearest first; where a time is among the groups, by keys."""
        by_time = any(group in SPANS_NS for group in self._groups)
        found = [pair for pair in self._sums.items() if any(pair[1])]
        return sorted(found, key=lambda pair: (0 if by_time else -pair[1].usd_nanos, pair[0]))

    def _key(self, group: Group, value: str | int) -> str:
        span_ns = SPANS_NS.get(group)
        if span_ns is not None:
            began = datetime.fromtimestamp(int(value) * span_ns // 10**9, UTC)
            return began.strftime("%Y-%m-%dT%H:%M:%SZ")
        if group is Group.TENANT and self._levels and value:
            return ancestors(str(value))[: self._levels][-1]
        return str(value)
