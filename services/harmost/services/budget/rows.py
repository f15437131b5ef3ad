"""What the ledger keeps, row by row: entries, balances, open attempts, keys. Leases: core's lending."""

from enum import IntEnum
from typing import NamedTuple

import msgspec

from harmost.core.budget.lending import LeaseRow
from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.window import Window
from harmost.core.usage import TokenUsage

__all__ = [
    "BalanceRow",
    "Books",
    "CounterKey",
    "Entry",
    "EntryKind",
    "EntryQuestion",
    "HoldRow",
    "KeyRow",
]

CounterKey = tuple[str, int, Window, int]
"""Budget, unit, window and its start: what a balance is kept by, whatever its limit becomes."""


class EntryKind(IntEnum):
    """What a row is; the numbers are those of the contract."""

    RESERVE = 1
    SETTLE = 2
    VOID = 3
    ADJUST = 4


class BalanceRow(msgspec.Struct, frozen=True, array_like=True):
    """One counter's balances, in its unit."""

    id: int
    key: CounterKey
    settled: int
    held: int
    debt: int
    leased: int = 0
    suspense: int = 0


class EntryQuestion(NamedTuple):
    """Which rows are wanted: at or below `tenant`, of `kinds` (none: all), of `model` ("": all),
    written from `start_ns` to before `end_ns`."""

    tenant: str = ""
    kinds: frozenset[EntryKind] = frozenset()
    model: str = ""
    start_ns: int = 0
    end_ns: int = 2**63 - 1
    newest_first: bool = False


class HoldRow(NamedTuple):
    """An attempt that has not closed: its RESERVE, and the tenant of who reserved it.

    After `expires_ns`, nanoseconds since 1970, it counts as suspense; 0: never.
    """

    entry: "Entry"
    holder: str
    expires_ns: int


class Books(NamedTuple):
    """Everything that the rows must add up to, at one moment."""

    balances: "list[BalanceRow]"
    holds: list[HoldRow]
    leases: list[LeaseRow]


class KeyRow(NamedTuple):
    """An idempotency key and the call that it stands for. `ended_ns` 0: it has not said so."""

    owner: str
    key: str
    digest: bytes
    record_id: str
    router: str
    epoch: int
    claimed_ns: int
    ended_ns: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row. The eight amounts are changes, signed, and apply to each of `counters`.

    Where leases paid, nothing held changes: what was used is taken from what was lent.
    """

    sequence: int
    kind: EntryKind
    key: str
    fingerprint: bytes
    created_ns: int
    path: BudgetPath = BudgetPath("")
    model: str = ""
    price_unknown: bool = False
    held_usd_nanos: int = 0
    held_tokens: int = 0
    held_requests: int = 0
    settled_usd_nanos: int = 0
    settled_tokens: int = 0
    settled_requests: int = 0
    debt_usd_nanos: int = 0
    debt_tokens: int = 0
    counters: tuple[int, ...] = ()
    usage: TokenUsage | None = None
    warnings: bytes = b""
    budget: str = ""
    author: str = ""
    reason: str = ""
    price_version: str = ""
