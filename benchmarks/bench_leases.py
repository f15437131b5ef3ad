"""What do leases cost, and whom do they keep waiting?

On the back of an envelope: a hit is one look-up, one reservation of 0.3 us in C and a small object: a
few microseconds of Python, and no message. A message a second carries a thousand attempts; each is one
insert of 200 bytes and its share of a sync, below 15 us of CPU in the ledger.

The ledger is a process of its own; attempts meet five levels with three limits each.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from _result import emit

from harmost.core.budget.lease import LeaseAsk, LeaseName, LeaseReport
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.usage import TokenUsage
from harmost.services.budget.requests import Closing, LeaseSync
from harmost.services.budget.store import BudgetStore
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient
from harmost.services.router.lease_convert import Told
from harmost.services.transport import bearer, channel

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from ledger_process import LedgerProcess, limits_of
from money_partition import cut_off
from money_race import EXPECTED, race

TENANTS = ("a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e")
LIMITS = [
    {"window": "day", "usd": "1000000"},
    {"window": "day", "tokens": 10**15},
    {"window": "day", "requests": 10**15},
]
DOCUMENTS = {name.replace("/", "-"): (name, LIMITS) for name in TENANTS}
PATH = BudgetPath(TENANTS[-1])
HELD, USED = Amount(1_000, 10), Amount(500, 5)
USAGE = TokenUsage(input_tokens=3, output_tokens=2)
ATTEMPTS = 20_000
BATCH = 500
RATE_PER_S = 400
LEAVES = 200  # tenants that call for the first time
SECONDS = 15


async def bench_rows(directory: Path) -> None:
    """Durable rows of attempts that a Router told, 15 counters each."""
    store = BudgetStore(directory / "rows.db")
    store.limits = limits_of(DOCUMENTS)
    async with store.running():
        epoch = await store.run(lambda accounts, now: accounts.leases.register("r", now_ns=now))
        asks = tuple(
            LeaseAsk(LeaseName(name, unit, "day"), 10**12)
            for name in DOCUMENTS
            for unit in (1, 2, 3)
        )
        first = LeaseSync("r", epoch, 1, asks=asks)
        answer = (await store.run(lambda accounts, now: accounts.sync(first, now_ns=now))).answer
        counters = tuple(grant.counter for grant in answer.grants)
        units = {grant.counter: grant.name.unit for grant in answer.grants}
        cpu_s = time.process_time()
        for number in range(ATTEMPTS // BATCH):
            done = (number + 1) * BATCH
            posted = {1: USED.usd_nanos * done, 2: USED.tokens * done, 3: done}
            message = LeaseSync(
                router="r",
                epoch=epoch,
                sequence=number + 2,
                reports=tuple(LeaseReport(id, posted[units[id]], 0) for id in counters),
                attempts=tuple(
                    Closing(f"{number}.{n}", PATH, "m", HELD, USED, USAGE, counters, time.time_ns())
                    for n in range(BATCH)
                ),
            )
            await store.run(lambda accounts, now, said=message: accounts.sync(said, now_ns=now))
        cpu_s = time.process_time() - cpu_s
        emit("budget.ledger.us_per_row", cpu_s / ATTEMPTS * 1e6, "us", ATTEMPTS)
        await store.run(lambda accounts, _: accounts.verify())
    store.close()


async def bench_router(directory: Path) -> None:
    """Attempts at a steady rate below 80 % of every limit: messages, waits, CPU."""
    documents = DOCUMENTS | {f"leaf-{n}": (f"a/leaf-{n}", LIMITS[:1]) for n in range(LEAVES)}
    ledger = LedgerProcess(directory / "router.db", documents)
    await ledger.start()
    try:
        journal = Journal(directory / "router-0/journal", "router-0")
        async with channel(ledger.address) as connection, journal.running():
            client = BudgetClient(
                connection, metadata=bearer("service"), journal=journal, slot=directory / "router-0"
            )
            client.use(limits_of(documents))
            async with client.running():
                await _steady(client)
                await _misses(client)
                await _strangers(client)
    finally:
        await ledger.kill()


async def _steady(client: BudgetClient) -> None:
    told = Told(PATH, "m", time.time_ns(), "")
    for warm in range(20):
        held = await client.reserve(f"w{warm}", PATH, "m", HELD, HELD)
        client.settle(f"w{warm}", held, told, amount=USED, usage=USAGE)
        await asyncio.sleep(0.05)
    messages, misses, took_ns, awaited = client.messages, client.misses, [], 0
    for number in range(RATE_PER_S * SECONDS):
        if number % 10 == 0:
            await asyncio.sleep(10 / RATE_PER_S)
        before = client.misses
        begin = time.thread_time_ns()
        coroutine = client.reserve(f"s{number}", PATH, "m", HELD, HELD)
        try:
            coroutine.send(None)
        except StopIteration as done:
            held = done.value
            client.settle(f"s{number}", held, told, amount=USED, usage=USAGE)
            took_ns.append(time.thread_time_ns() - begin)
        else:  # it waits: not a hit
            awaited += client.misses == before
            coroutine.close()
    n = RATE_PER_S * SECONDS
    emit("budget.sync_rpcs_per_100", (client.messages - messages) * 100 / n, "", n)
    emit("budget.misses_per_100", (client.misses - misses) * 100 / n, "", n)
    emit("budget.awaited_rpcs_on_hit", awaited, "", len(took_ns))
    emit("budget.hit.reserve_settle_us", statistics.median(took_ns) / 1e3, "us", len(took_ns))
    p99 = sorted(took_ns)[len(took_ns) * 99 // 100]
    emit("budget.hit.reserve_settle_us.p99", p99 / 1e3, "us", len(took_ns))


async def _misses(client: BudgetClient) -> None:
    """How long a call waits whose lease is short: each asks for more than is ever kept at hand."""
    took_s: list[float] = []
    amount = HELD
    for number in range(60):
        amount = Amount(amount.usd_nanos * 5 // 4, amount.tokens * 5 // 4 + 1)
        amount = Amount(max(amount.usd_nanos, 40_000_000 + number * 10**6), amount.tokens)
        misses, begin = client.misses, time.perf_counter()
        held = await client.reserve(f"m{number}", PATH, "m", amount, amount)
        if client.misses > misses:
            took_s.append(time.perf_counter() - begin)
        told = Told(PATH, "m", time.time_ns(), "")
        client.settle(f"m{number}", held, told, amount=amount, usage=USAGE)
    if took_s:
        emit("budget.miss.wait_ms", statistics.median(took_s) * 1e3, "ms", len(took_s))
        p99 = sorted(took_s)[len(took_s) * 99 // 100]
        emit("budget.miss.wait_ms.p99", p99 * 1e3, "ms", len(took_s))


async def _strangers(client: BudgetClient) -> None:
    """How long the first call of a tenant waits, of which this Router has no lease yet: one message."""
    took_s: list[float] = []
    for number in range(LEAVES):
        begin, path = time.perf_counter(), BudgetPath(f"a/leaf-{number}")
        held = await client.reserve(f"l{number}", path, "m", HELD, HELD)
        took_s.append(time.perf_counter() - begin)
        told = Told(path, "m", time.time_ns(), "")
        client.settle(f"l{number}", held, told, amount=USED, usage=USAGE)
        await asyncio.sleep(0.01)
    emit("budget.miss.first_ms", statistics.median(took_s) * 1e3, "ms", len(took_s))
    p99 = sorted(took_s)[len(took_s) * 99 // 100]
    emit("budget.miss.first_ms.p99", p99 * 1e3, "ms", len(took_s))


async def bench_partition(directory: Path) -> None:
    """A minute without the ledger: what a hit costs until the leases are spent, and what is spent."""
    found = await cut_off(directory, before_s=15, seconds=62)
    before, during = sorted(found.before_ns), sorted(found.during_ns)
    n = len(during)
    ratio = statistics.median(during) / statistics.median(before)
    emit("budget.partition.hit_cpu_ratio", ratio, "", n)
    p99_ratio = during[n * 99 // 100] / before[len(before) * 99 // 100]
    emit("budget.partition.hit_p99_ratio", p99_ratio, "", n)
    emit("budget.partition.overspend_nano", found.overspend_nano, "nano-USD", n)
    emit("budget.partition.denied", found.denied, "", found.denied)


def main() -> None:
    """Print one JSON line for each figure."""
    with tempfile.TemporaryDirectory(dir=".") as directory:
        asyncio.run(bench_rows(Path(directory)))
        asyncio.run(bench_router(Path(directory)))
        asyncio.run(bench_partition(Path(directory) / "partition"))
        admitted = asyncio.run(race(Path(directory) / "race"))
        emit("budget.race.admitted", admitted[-1], "", len(admitted))
        emit("budget.race.expected", EXPECTED, "", 2_048)


if __name__ == "__main__":
    main()
