"""Proves a ledger: folds its rows, in order, and holds the sums against what it says they are.

Pure, and of its own mind: it shares no code with what writes the ledger, so that one mistake is not
made twice. It is told rows, then balances, open holds and leases; it tells what does not fit, row by
row where it can be told from a row, else counter by counter.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    "FINDINGS_MAX",
    "Balance",
    "Finding",
    "LedgerFold",
    "LedgerRow",
    "LentRest",
    "OpenHold",
]

RESERVE, SETTLE, VOID, ADJUST = 1, 2, 3, 4
UNITS = (1, 2, 3)  # nanodollars, tokens, requests
# Enough to see what happened; all are counted.
FINDINGS_MAX = 100


class LedgerRow(NamedTuple):
    """One row: what it changes on each of `counters`, by unit: nanodollars, tokens, requests."""

    sequence: int
    kind: int
    key: str
    tenant: str
    model: str
    held: tuple[int, int, int]
    settled: tuple[int, int, int]
    debt: tuple[int, int, int]
    counters: tuple[int, ...]
    price_unknown: bool = False


class Balance(NamedTuple):
    """What the ledger says of one counter, in its unit. `name` is for people."""

    id: int
    unit: int
    name: str
    settled: int
    held: int
    debt: int
    leased: int = 0
    suspense: int = 0


class OpenHold(NamedTuple):
    """An attempt that the ledger says is open, and the row that reserved it."""

    attempt_id: str
    sequence: int


class LentRest(NamedTuple):
    """What is left of one lease: granted, and neither spent nor returned."""

    counter: int
    amount: int
    suspended: bool


class Finding(NamedTuple):
    """Something that does not fit. `sequence` is the row that shows it; 0: no single row does."""

    sequence: int
    message: str


class _Sum:
    """One counter, folded."""

    __slots__ = ("debt", "first", "held", "last", "settled")

    def __init__(self, sequence: int) -> None:
        self.settled = [0, 0, 0]
        self.held = [0, 0, 0]
        self.debt = [0, 0, 0]
        self.first = self.last = sequence


class LedgerFold:
    """`add` every row in order, then `close`. Memory: open attempts, and counters.

    That no attempt closes twice long after it closed is for the store's own index to hold, and for
    who reads the rows to check: a fold that knew every attempt would grow with the ledger.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.attempts = 0  # that settled
        self.usd_nanos = 0  # that they cost
        self.findings: list[Finding] = []
        self.found = 0
        self._next = 1
        self._open: dict[str, LedgerRow] = {}
        self._sums: dict[int, _Sum] = {}

    def add(self, row: LedgerRow) -> None:
        """Take in the next row. O(its counters)."""
        if row.sequence != self._next:
            what = "stands twice, or out of order" if row.sequence < self._next else "is missing"
            self.tell(min(row.sequence, self._next), f"row {self._next} {what}")
        self._next = max(row.sequence, self._next) + 1
        self.rows += 1
        match row.kind:
            case 1:
                self._reserve(row)
            case 2 | 3:
                self._close(row)
            case 4:
                self._adjust(row)
            case _:
                self.tell(row.sequence, f"row {row.sequence} is of no known kind: `{row.kind}`")
        self._post(row)

    def close(
        self,
        balances: Iterable[Balance],
        holds: Iterable[OpenHold],
        lent: Iterable[LentRest],
    ) -> None:
        """Hold the sums against what the ledger says. O(balances + holds + leases)."""
        rests: dict[int, list[int]] = {}
        for rest in lent:
            rests.setdefault(rest.counter, [0, 0])[rest.suspended] += rest.amount
        known: set[int] = set()
        for balance in balances:
            known.add(balance.id)
            self._hold_against(balance, rests.pop(balance.id, [0, 0]))
        for id in sorted(self._sums.keys() - known):
            sums = self._sums[id]
            self.tell(sums.first, f"counter {id}, of row {sums.first}, has no balance")
        for id in sorted(rests):
            self.tell(0, f"counter {id} is lent to Routers and has no balance")
        self._hold_open(holds)

    def tell(self, sequence: int, message: str) -> None:
        """Note a finding, also one that whoever reads the rows made."""
        self.found += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(sequence, message))

    # --- What one row can tell --------------------------------------------------------------------------

    def _reserve(self, row: LedgerRow) -> None:
        if row.key in self._open:
            self.tell(row.sequence, f"row {row.sequence} reserves attempt `{row.key}` again")
        self._open[row.key] = row
        if min(row.held) < 0 or row.held[2] != 1 or any(row.settled) or any(row.debt):
            self.tell(row.sequence, f"row {row.sequence} reserves, and its amounts do not")

    def _close(self, row: LedgerRow) -> None:
        opened = self._open.pop(row.key, None)
        name = "settles" if row.kind == SETTLE else "voids"
        if row.kind == SETTLE:
            self.attempts += 1
            self.usd_nanos += row.settled[0]
        if opened is None:
            # Paid for by leases: nothing was held in the ledger, so nothing held may change.
            if any(row.held) or row.kind == VOID:
                self.tell(
                    row.sequence,
                    f"row {row.sequence} {name} attempt `{row.key}`, which is not open",
                )
        elif row.held != tuple(-amount for amount in opened.held) or (
            row.counters != opened.counters
        ):
            self.tell(
                row.sequence,
                f"row {row.sequence} {name} attempt `{row.key}` otherwise than row "
                f"{opened.sequence} reserved it",
            )
        self._check_settled(row, opened)

    def _check_settled(self, row: LedgerRow, opened: LedgerRow | None) -> None:
        wanted = 1 if row.kind == SETTLE else 0
        sound = row.settled[2] == wanted and min(*row.settled, *row.debt) >= 0
        sound &= all(debt <= settled for debt, settled in zip(row.debt, row.settled, strict=True))
        if row.kind == VOID:
            sound &= not any(row.settled)
        elif opened is not None:
            debts = tuple(
                max(0, settled - held)
                for settled, held in zip(row.settled[:2], opened.held[:2], strict=True)
            )
            sound &= row.debt[:2] == debts
        if not sound:
            self.tell(
                row.sequence, f"row {row.sequence} closes `{row.key}` with impossible amounts"
            )

    def _adjust(self, row: LedgerRow) -> None:
        other_unit = any(
            debt and not settled for debt, settled in zip(row.debt, row.settled, strict=True)
        )
        one = sum(map(bool, row.settled)) == 1 and len(row.counters) == 1
        if any(row.held) or other_unit or not one:
            self.tell(row.sequence, f"row {row.sequence} corrects more, or less, than one balance")

    def _post(self, row: LedgerRow) -> None:
        for id in row.counters:
            sums = self._sums.get(id)
            if sums is None:
                sums = self._sums[id] = _Sum(row.sequence)
            sums.last = row.sequence
            for unit in range(3):
                sums.held[unit] += row.held[unit]
                sums.settled[unit] += row.settled[unit]
                sums.debt[unit] += row.debt[unit]
            if min(sums.held) < 0:
                self.tell(row.sequence, f"row {row.sequence} gives back more than was held at {id}")
        if len(set(row.counters)) < len(row.counters):
            self.tell(row.sequence, f"row {row.sequence} names a counter twice")

    # --- What only all of them can ----------------------------------------------------------------------

    def _hold_against(self, balance: Balance, rest: Sequence[int]) -> None:
        if balance.unit not in UNITS:
            self.tell(0, f"{balance.name} counts in no known unit: `{balance.unit}`")
            return
        sums = self._sums.get(balance.id) or _Sum(0)
        unit = balance.unit - 1
        for what, said, folded in (
            ("settled", balance.settled, sums.settled[unit]),
            ("held", balance.held, sums.held[unit]),
            ("debt", balance.debt, sums.debt[unit]),
            ("leased", balance.leased, rest[0]),
            ("suspense", balance.suspense, rest[1]),
        ):
            if said != folded:
                rows = f"rows {sums.first} to {sums.last}" if sums.first else "no row"
                where = rows if what in ("settled", "held", "debt") else "its leases"
                self.tell(
                    0,
                    f"{balance.name} says {what} {said}, {where} add up to {folded}: "
                    f"{said - folded:+d}",
                )

    def _hold_open(self, holds: Iterable[OpenHold]) -> None:
        told = {hold.attempt_id: hold.sequence for hold in holds}
        for attempt_id, row in self._open.items():
            if told.pop(attempt_id, None) != row.sequence:
                self.tell(
                    row.sequence,
                    f"attempt `{attempt_id}`, reserved by row {row.sequence}, neither closed nor is open",
                )
        for attempt_id, sequence in told.items():
            self.tell(sequence, f"attempt `{attempt_id}` is said to be open and is not")
