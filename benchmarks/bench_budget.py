"""What does it cost to hold and settle money?

On the back of an envelope: 15 counters are 15 cache lines touched twice, about 60 ns; from Python a
call and a small object more, 0.3 us. A durable row is one insert of 200 bytes, one look-up and its
share of a sync: 15 us of CPU where 256 callers share a commit.

Python's own time for the same 15 counters, kept in a list of numbers, stands beside it.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _result import emit

from harmost.core.budget.lease import Amounts, LeaseGrant, RateGrant, SyncAnswer
from harmost.core.budget.ledger import Counter, Hold, reserve, spin
from harmost.core.budget.nodes import Amount, BudgetPath, compile_limits
from harmost.core.budget.rated_book import RatedBook
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.core.usage import TokenUsage
from harmost.services.budget.requests import Reservation, Settlement
from harmost.services.budget.store import BudgetStore

COUNTERS = 15
RUNS = 7
SPINS = 500_000
CALLS = 50_000
MESSAGE = 500  # attempts to a message: a busy Router's second
CALLERS = 256
DAY_NS = 86_400 * 10**9
ATTEMPTS = 12_000


def median_ns(run: Callable[[], object], operations: int) -> float:
    """Nanoseconds of CPU for one of the `operations` of `run`: the median of RUNS."""
    took: list[float] = []
    for _ in range(RUNS):
        begin = time.process_time_ns()
        run()
        took.append((time.process_time_ns() - begin) / operations)
    return statistics.median(took)


def counters() -> tuple[Counter, ...]:
    """Five levels with a ceiling of money, tokens and requests each."""
    return tuple(
        Counter(i, unit=1 + i % 3, limit=10**18, hard=True, settled=0) for i in range(COUNTERS)
    )


def bench_memory() -> None:
    """Reserve and settle in memory: in C, from Python, and by Python alone."""
    path = counters()
    emit(
        "budget.reserve_settle.15.c_ns",
        median_ns(lambda: spin(path, rounds=SPINS), SPINS),
        "ns",
        SPINS,
    )

    def from_python() -> None:
        for _ in range(CALLS):
            hold = reserve(
                path, usd_nanos=1_000, tokens=10, minimum_usd_nanos=1_000, minimum_tokens=10
            )
            assert isinstance(hold, Hold)
            hold.settle(usd_nanos=500, tokens=5)

    emit("budget.reserve_settle.15.py_us", median_ns(from_python, CALLS) / 1e3, "us", CALLS)
    held, settled, limits = [0] * COUNTERS, [0] * COUNTERS, [10**18] * COUNTERS

    def in_python() -> None:
        for _ in range(CALLS // 10):
            if all(limits[i] - settled[i] - held[i] >= 1_000 for i in range(COUNTERS)):
                for i in range(COUNTERS):
                    held[i] += 1_000
                for i in range(COUNTERS):
                    held[i] -= 1_000
                    settled[i] += 500

    twin_us = median_ns(in_python, CALLS // 10) / 1e3
    emit("budget.reserve_settle.15.twin_us", twin_us, "us", CALLS // 10)


def bench_leases(name: str, *rates: Limit) -> None:
    """The same by a Router's book of leases, and `rates` at each level: the path is found, and the
    ledger will be told."""
    spec = BudgetSpec(
        limits=(
            Limit(window="day", usd="1000000"),
            Limit(window="day", tokens=10**15),
            Limit(window="day", requests=10**15),
            *rates,
        )
    )
    tenants = ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"]
    book = RatedBook("r", epoch=1)
    limits = {tenant: (Metadata(name=tenant, tenant=tenant), spec) for tenant in tenants}
    book.use(compile_limits(limits))
    where, amount, used = BudgetPath(tenants[-1]), Amount(1_000, 10), Amounts(500, 5, 1)
    book.reserve(where, amount, amount, clock_ns=0)
    request = book.request(clock_ns=0)
    grants = tuple(
        LeaseGrant(id, ask.name, 0, DAY_NS, True, 10**15, 10**15, 0)
        for id, ask in enumerate(request.asks, 1)
    )
    assert len(grants) == COUNTERS
    shares = tuple(RateGrant(ask.name, 1, 10**15, 10**15, 10**15, 10**15) for ask in request.rates)
    book.apply(SyncAnswer("applied", 1, 0, grants, rates=shares), clock_ns=0)

    def attempts() -> None:
        for _ in range(MESSAGE):
            hold = book.reserve(where, amount, amount, clock_ns=1)
            assert isinstance(hold, Hold)
            book.settle("attempt", hold, used)

    took_ns: list[float] = []
    for _ in range(CALLS // MESSAGE):
        begin_ns = time.process_time_ns()
        attempts()
        took_ns.append((time.process_time_ns() - begin_ns) / MESSAGE)
        # The ledger is told, as it is each second: nothing is kept of attempts that it knows.
        sequence = book.request(clock_ns=1).sequence
        book.apply(SyncAnswer("applied", sequence, 0, ()), clock_ns=1)
    emit(name, statistics.median(took_ns) / 1e3, "us", CALLS)


async def bench_ledger(directory: Path) -> None:
    """Durable rows of attempts that meet 15 counters, with CALLERS at once and then with one."""
    store = BudgetStore(directory / "budget.db")
    limits = tuple(Limit(window="day", **{unit: 10**15}) for unit in ("tokens", "requests"))
    spec = BudgetSpec(limits=(Limit(window="day", usd="1000000"), *limits))
    tenants = ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"]
    store.limits = compile_limits(
        {name: (Metadata(name=name, tenant=name), spec) for name in tenants}
    )
    path = BudgetPath(tenants[-1])

    async def attempt(attempt_id: str) -> None:
        wanted = Reservation(attempt_id, path, "m", Amount(1_000, 10))
        await store.run(lambda accounts, now: accounts.reserve(wanted, within="", now_ns=now))
        used = Settlement(attempt_id, Amount(500, 5), TokenUsage(input_tokens=3, output_tokens=2))
        await store.run(lambda accounts, now: accounts.settle(used, within="", now_ns=now))

    async def caller(name: str, attempts: int) -> None:
        for number in range(attempts):
            await attempt(f"{name}.{number}")

    async with store.running():
        for callers, attempts in ((CALLERS, ATTEMPTS // CALLERS), (1, 300)):
            rows = callers * attempts * 2
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for number in range(callers):
                    tasks.create_task(caller(f"{callers}.{number}", attempts))
            cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
            emit(f"budget.ledger.callers{callers}.row_us", cpu_s / rows * 1e6, "us", rows)
            emit(f"budget.ledger.callers{callers}.rows_per_s", rows / wall_s, "1/s", rows)
        begin = time.process_time()
        await store.run(lambda accounts, _: accounts.verify())
        emit("budget.ledger.verify_s", time.process_time() - begin, "s", 2 * ATTEMPTS)
    store.close()


def main() -> None:
    """Print one JSON line for each measurement."""
    bench_memory()
    bench_leases("budget.reserve_settle.15.book_us")
    bench_leases(
        "budget.reserve_settle.15.with_5_rates_us", Limit(window="minute", requests=10**15)
    )
    with tempfile.TemporaryDirectory(dir=".") as directory:
        asyncio.run(bench_ledger(Path(directory)))


if __name__ == "__main__":
    main()
