"""Proves the running ledger, a page at a time, while it goes on: rows that come meanwhile count, too.

The proof itself is the core's (fold.py), which shares no code with what writes the ledger.
"""

from typing import NamedTuple

from harmost.core.budget.fold import Balance, LedgerFold, LedgerRow, LentRest, OpenHold
from harmost.services.budget.accounts import Accounts
from harmost.services.budget.rows import BalanceRow, Books, Entry, EntryQuestion

__all__ = ["Audit", "Page", "page_after"]

# Read on the ledger's thread in 5 ms.
PAGE_ROWS = 500


class Page(NamedTuple):
    """Rows as they stood at one moment, the newest one's number, and at last all books."""

    entries: list[Entry]
    last_sequence: int
    books: Books | None = None


def page_after(accounts: Accounts, now_ns: int, *, sequence: int) -> Page:
    """The rows after one; with the books once they are the last."""
    entries, _ = accounts.entries(EntryQuestion(), after=sequence, rows_max=PAGE_ROWS)
    reached = entries[-1].sequence if entries else sequence
    last = len(entries) < PAGE_ROWS or reached >= accounts.last_sequence
    return Page(entries, accounts.last_sequence, accounts.books() if last else None)


class Audit:
    """Takes pages until the one with the books; then `fold` has found all there is."""

    def __init__(self) -> None:
        self.fold = LedgerFold()
        self.sequence = 0  # of the last row that was taken

    def take(self, page: Page) -> bool:
        """Fold one page; True: it was the last."""
        for entry in page.entries:
            self.fold.add(_row(entry))
            self.sequence = entry.sequence
        if page.books is None:
            return False
        if self.sequence < page.last_sequence:
            self.fold.tell(self.sequence + 1, f"rows after {self.sequence} are missing")
        self.fold.close(
            map(_balance, page.books.balances),
            (OpenHold(row.entry.key, row.entry.sequence) for row in page.books.holds),
            (LentRest(row.key.counter, row.left, row.suspended) for row in page.books.leases),
        )
        return True


def _row(entry: Entry) -> LedgerRow:
    return LedgerRow(
        sequence=entry.sequence,
        kind=int(entry.kind),
        key=entry.key,
        tenant=entry.path.tenant,
        model=entry.model,
        held=(entry.held_usd_nanos, entry.held_tokens, entry.held_requests),
        settled=(entry.settled_usd_nanos, entry.settled_tokens, entry.settled_requests),
        debt=(entry.debt_usd_nanos, entry.debt_tokens, 0),
        counters=entry.counters,
        price_unknown=entry.price_unknown,
    )


def _balance(row: BalanceRow) -> Balance:
    budget, unit, window, start_ns = row.key
    return Balance(
        id=row.id,
        unit=unit,
        name=f"counter {row.id} (budget `{budget}`, {window} from {start_ns // 10**9})",
        settled=row.settled,
        held=row.held,
        debt=row.debt,
        leased=row.leased,
        suspense=row.suspense,
    )
