"""Sums of a page of ledger rows, asked of SQLite: of so many that nobody waits long for the ledger."""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

from collections.abc import Mapping

import apsw

from harmost.services.budget.report import (
    SPANS_NS,
    EntrySum,
    Group,
    Position,
    SumPage,
    SumQuestion,
)

__all__ = ["PAGE_ROWS", "sum_page"]

# 5 ms of the ledger's thread: what a caller who reserves may have to wait for a report.
PAGE_ROWS = 2_000

# None of what a caller names gets into a query: only these do.
_COLUMNS: Mapping[Group, str] = {
    Group.TENANT: "tenant",
    Group.MODEL: "model",
    Group.PROFILE: "profile",
    Group.AGENT: "agent_id",
    Group.END_USER: "end_user_id",
}
# Where a page ends: rows of all, wanted or not, so that a small tenant's page is no longer than any.
# One lower and one upper bound each: with two, SQLite reads on to the farther one.
_END = f"""
SELECT created_ns, sequence FROM entries INDEXED BY entries_by_time
WHERE (created_ns, sequence) > (?1, ?2) AND created_ns < ?3
ORDER BY created_ns, sequence LIMIT 1 OFFSET {PAGE_ROWS - 1}
"""
# INVARIANT: kind 2 is SETTLE, 4 is ADJUST; nothing else changes what is settled.
_ROWS = """
FROM entries INDEXED BY entries_by_time
WHERE (created_ns, sequence) > (?1, ?2) AND (created_ns, sequence) <= (?3, ?4)
AND kind IN (2, 4) AND (?5 = '' OR tenant = ?5 OR (tenant > ?5 || '/' AND tenant < ?5 || '0'))
"""  # "0" follows "/"
_SUMS = """
coalesce(sum(kind = 2), 0), coalesce(sum(iif(kind = 2, settled_usd_nanos, 0)), 0),
coalesce(sum(iif(kind = 2, settled_tokens, 0)), 0),
coalesce(sum(iif(kind = 2, debt_usd_nanos, 0)), 0), coalesce(sum(kind = 2 AND price_unknown), 0),
coalesce(sum(kind = 4), 0), coalesce(sum(iif(kind = 4, settled_usd_nanos, 0)), 0)
"""


def sum_page(connection: apsw.Connection, question: SumQuestion, *, after: Position) -> SumPage:
    """The sums of the next PAGE_ROWS rows after a position."""
    begin = max(after, Position(question.start_ns - 1, 2**62))
    end = [Position(*row) for row in connection.execute(_END, (*begin, question.end_ns))]
    bindings = (*begin, *(end or [Position(question.end_ns - 1, 2**62)])[0], question.tenant)
    columns = [_column(group) for group in question.groups]
    keys = "".join(f"{column}, " for column in columns)
    by = f"GROUP BY {', '.join(columns)}" if columns else ""
    count = len(columns)
    sums = [
        (row[:count], EntrySum(*row[count:]))
        for row in connection.execute(f"SELECT {keys}{_SUMS} {_ROWS} {by}", bindings)
    ]
    total = EntrySum(*next(connection.execute(f"SELECT {_SUMS} {_ROWS}", bindings)))
    return SumPage(sums, total, end[0] if end else None)


def _column(group: Group) -> str:
    span_ns = SPANS_NS.get(group)
    return _COLUMNS[group] if span_ns is None else f"created_ns / {span_ns}"
