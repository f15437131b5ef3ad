"""How long do people wait for figures of money, and how long does the ledger's thread for them?

On the back of an envelope: SQLite adds up some 500,000 rows a second twice, by group and in all, so a
month of 200,000 rows takes a second in 100 pages of 5 ms; the last hour of it, found by time, a
thousandth. A proof looks at each number of each row in Python: 10 us a row, 2 s. An index by time is one
entry of 20 bytes at the end of a tree for each row that is written: 0.2 us.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _result import emit

from harmost.core.budget.fold import LedgerFold
from harmost.core.budget.nodes import BudgetPath
from harmost.core.usage import TokenUsage
from harmost.services.budget.ledger_file import LedgerFile
from harmost.services.budget.ledger_sums import PAGE_ROWS
from harmost.services.budget.report import Group, Position, Report, SumQuestion
from harmost.services.budget.rows import BalanceRow, Entry, EntryKind
from harmost.services.operate.ledger_copy import LedgerCopy

ROWS = 200_000
GROUP = 256
COUNTERS = tuple(range(1, 16))
SECOND_NS = 10**9
BEGIN_NS = 1_793_491_200 * SECOND_NS  # 2026-11-01
APART_NS = 30 * 86_400 * SECOND_NS // ROWS
RUNS = 5


def entry(number: int) -> Entry:
    """One settlement of a month, by lease."""
    return Entry(
        sequence=number + 1,
        kind=EntryKind.SETTLE,
        key=f"01j{number:023}-0",
        fingerprint=b"",
        created_ns=BEGIN_NS + number * APART_NS,
        path=BudgetPath(f"acme/unit{number % 7}/team{number % 50}", "support"),
        model=f"model-{number % 9}",
        settled_usd_nanos=1_000 + number % 977,
        settled_tokens=100,
        settled_requests=1,
        counters=COUNTERS,
        usage=TokenUsage(input_tokens=60, output_tokens=40),
        price_version="genai-prices 0.2.3#0123abcd",
    )


def write(path: Path, *, rows: int, indexed: bool) -> float:
    """Write `rows` settlements, GROUP to a commit; microseconds of CPU for each."""
    file = LedgerFile(path)
    if not indexed:
        file._connection.execute("DROP INDEX entries_by_time")
    entries = [entry(number) for number in range(rows)]
    begin = time.process_time_ns()
    for first in range(0, rows, GROUP):
        file.begin()
        for one in entries[first : first + GROUP]:
            file.append(one)
        file.commit()
    took_us = (time.process_time_ns() - begin) / rows / 1e3
    nanos = sum(one.settled_usd_nanos for one in entries)
    file.begin()
    sums = {1: nanos, 2: 100 * rows, 3: rows}
    file.save(
        BalanceRow(id, (f"b{id}", 1 + id % 3, "month", BEGIN_NS), sums[1 + id % 3], 0, 0)
        for id in COUNTERS
    )
    file.commit()
    file.close()
    return took_us


def report(file: LedgerFile, start_ns: int) -> tuple[float, float]:
    """Milliseconds of CPU of one report by tenant, model and profile, and of its longest page."""
    question = SumQuestion("", start_ns, 2**62, (Group.TENANT, Group.MODEL, Group.PROFILE))
    found, pages = Report(question.groups, tenant_levels=2), list[float]()
    reached: Position | None = Position()
    begin = time.process_time_ns()
    while reached is not None:
        page_begin = time.process_time_ns()
        page = file.sum_page(question, after=reached)
        pages.append((time.process_time_ns() - page_begin) / 1e6)
        found.add(page)
        reached = page.reached
    return (time.process_time_ns() - begin) / 1e6, max(pages)


def median(run: Callable[[], float], runs: int = RUNS) -> float:
    """The median of what `run` measures."""
    return statistics.median(run() for _ in range(runs))


def main() -> None:
    """Print one JSON line for each measurement."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name)
        numbers = iter(range(100))
        for indexed in (False, True):
            took_us = median(
                lambda indexed=indexed: write(
                    directory / f"{next(numbers)}.db", rows=20_000, indexed=indexed
                )
            )
            label = "with" if indexed else "without"
            emit(f"budget.report.row_{label}_index_us", took_us, "us", RUNS * 20_000)
        path = directory / "month.db"
        write(path, rows=ROWS, indexed=True)
        file = LedgerFile(path)
        whole = [report(file, BEGIN_NS) for _ in range(RUNS)]
        emit("budget.report.month_ms", statistics.median(ms for ms, _ in whole), "ms", ROWS)
        emit(
            "budget.report.page_max_ms",
            max(page for _, page in whole),
            "ms",
            RUNS * ROWS // PAGE_ROWS,
        )
        hour_ns = BEGIN_NS + ROWS * APART_NS - 3_600 * SECOND_NS
        emit("budget.report.hour_ms", median(lambda: report(file, hour_ns)[0]), "ms", RUNS)
        file.close()

        def proof() -> float:
            begin = time.process_time_ns()
            with LedgerCopy(path) as copy:
                fold = LedgerFold()
                for row in copy.rows():
                    fold.add(row)
                fold.close(copy.balances(), copy.holds(), copy.lent())
            assert not fold.found, fold.findings[:3]
            return (time.process_time_ns() - begin) / ROWS / 1e3

        emit("budget.verify.row_us", median(proof, 3), "us", 3 * ROWS)


if __name__ == "__main__":
    main()
