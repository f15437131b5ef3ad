"""A Router that is cut off from its ledger: what it spends, what a hit costs, and when it denies."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from ledger_process import LedgerProcess, limits_of

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.errors import BudgetExhausted, ServiceUnavailable
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient
from harmost.services.router.lease_convert import Told
from harmost.services.transport import bearer, channel

__all__ = ["HELD", "Partition", "cut_off"]

RATE_PER_S = 200
HELD, USED = Amount(1_000, 10), Amount(600, 6)
PATH = BudgetPath("acme/retail", "p")
DAY = {"window": "day", "usd": "1000"}
DOCUMENTS = {"top": ("acme", [DAY]), "leaf": ("acme/retail", [DAY])}
PAUSE_S = 0.05  # after a denial


@dataclass
class Partition:
    """What became of it. CPU of reserve and settle, each hit's own; amounts are nanodollars."""

    before_ns: list[int] = field(default_factory=list)
    during_ns: list[int] = field(default_factory=list)
    denied: int = 0
    late: int = 0  # admitted after a denial, while it was cut off
    lent: int = 0  # what it had at hand when it was cut off
    spent: int = 0  # until it was heard again
    settled: int = 0  # what the ledger says at the end
    used: int = 0  # all that attempts used
    debt: int = 0

    @property
    def overspend_nano(self) -> int:
        """What was spent beyond the leases."""
        return max(0, self.spent - self.lent)


async def cut_off(directory: Path, *, before_s: float, seconds: float) -> Partition:
    """A steady rate for `before_s`, then `seconds` in which the ledger hears and says nothing."""
    found = Partition()
    ledger = LedgerProcess(directory / "budget.db", DOCUMENTS)
    await ledger.start()
    try:
        journal = Journal(directory / "router-0/journal", "router-0")
        async with channel(ledger.address) as connection, journal.running():
            client = BudgetClient(
                connection, metadata=bearer("service"), journal=journal, slot=directory / "router-0"
            )
            client.use(limits_of(DOCUMENTS))
            async with client.running():
                router = _Router(client, found)
                await router.steady(before_s, found.before_ns)
                while client._sync._sent_s:  # no answer is under way: what was lent is known
                    await asyncio.sleep(0)
                found.lent = router.at_hand
                ledger.pause()
                used = found.used
                await router.steady(seconds, found.during_ns)
                found.spent = found.used - used
                ledger.resume()
                async with asyncio.timeout(60):
                    while client.owed:
                        await asyncio.sleep(0.05)
                balance = (
                    await client._sync.stub.GetBudget(
                        pb.GetBudgetRequest(name="leaf"), metadata=bearer("service")
                    )
                ).budget
                found.settled, found.debt = balance.settled, balance.debt
    finally:
        await ledger.kill()
    return found


class _Router:
    def __init__(self, client: BudgetClient, found: Partition) -> None:
        self._client = client
        self._found = found
        self._attempts = 0
        self._told = Told(PATH, "m", time.time_ns(), "")

    @property
    def at_hand(self) -> int:
        """What it may still spend without asking."""
        book = self._client._sync.book
        assert book is not None
        return min(lease.counter.available for lease in book.every_lease())

    async def steady(self, seconds: float, took_ns: list[int]) -> None:
        """Attempts at RATE_PER_S; of those that awaited nothing, what each cost."""
        begin_s, number = time.monotonic(), 0
        denied = False
        while time.monotonic() < begin_s + seconds:
            number += 1
            await asyncio.sleep(max(0.0, begin_s + number / RATE_PER_S - time.monotonic()))
            misses = self._client.misses
            cpu_ns = time.thread_time_ns()
            if await self._attempt():
                if self._client.misses == misses:
                    took_ns.append(time.thread_time_ns() - cpu_ns)
                self._found.late += denied
            else:
                denied = True
                self._found.denied += 1
                await asyncio.sleep(PAUSE_S)

    async def _attempt(self) -> bool:
        self._attempts += 1
        attempt_id = f"a{self._attempts}"
        try:
            held = await self._client.reserve(attempt_id, PATH, "m", HELD, HELD)
        except (BudgetExhausted, ServiceUnavailable):
            return False
        self._client.settle(attempt_id, held, self._told, amount=USED, usage=None)
        self._found.used += USED.usd_nanos
        return True
