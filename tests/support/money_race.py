"""The last dollars: many Routers' clients, many calls of each at once, and one real Budget process."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ledger_process import LedgerProcess, limits_of

from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.errors import BudgetExhausted, ServiceUnavailable
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient, Held
from harmost.services.router.lease_convert import Told
from harmost.services.transport import bearer, channel

__all__ = ["EXPECTED", "HOLD", "LIMIT", "race"]

ROUTERS, CALLS = 32, 64
HOLD = 7_000
LIMIT = 3_000_000  # nanodollars: 428 holds and a rest, for 2048 calls
EXPECTED = LIMIT // HOLD
PATH = BudgetPath("acme/retail")
DAY = {"window": "day", "usd": f"0.{LIMIT:09d}"}
DOCUMENTS = {"top": ("acme", [DAY]), "leaf": ("acme/retail", [DAY])}
RECALL_S = 30.0


async def race(directory: Path) -> list[int]:
    """How many were admitted so far, round by round, until no more can be or RECALL_S have passed.

    What was idle elsewhere is given back between rounds. Ends when all is settled and told.
    """
    counts: list[int] = []
    async with _routers(directory) as routers:
        admitted: list[tuple[BudgetClient, str, Held]] = []
        ends_s = time.monotonic() + RECALL_S
        while not counts or (counts[-1] < EXPECTED and time.monotonic() < ends_s):
            await asyncio.sleep(1.1 if counts else 0)
            admitted += await _all_at_once(routers, len(counts))
            counts.append(len(admitted))
        for client, attempt_id, held in admitted:
            told = Told(PATH, "m", time.time_ns(), "")
            client.settle(attempt_id, held, told, amount=Amount(HOLD, 1), usage=None)
        async with asyncio.timeout(20):
            while any(client.owed for client in routers):
                await asyncio.sleep(0.05)
    return counts


@asynccontextmanager
async def _routers(directory: Path) -> AsyncGenerator[list[BudgetClient]]:
    ledger = LedgerProcess(directory / "budget.db", DOCUMENTS)
    await ledger.start()
    try:
        async with AsyncExitStack() as stack:
            clients: list[BudgetClient] = []
            for number in range(ROUTERS):
                slot = directory / f"router-{number}"
                journal = Journal(slot / "journal", slot.name)
                connection = await stack.enter_async_context(channel(ledger.address))
                await stack.enter_async_context(journal.running())
                key = bearer("service")
                client = BudgetClient(
                    connection, metadata=key, journal=journal, slot=slot, miss_timeout_s=20
                )
                client.use(limits_of(DOCUMENTS))
                await stack.enter_async_context(client.running())
                clients.append(client)
            yield clients
    finally:
        await ledger.kill()


async def _all_at_once(
    routers: list[BudgetClient], turn: int
) -> list[tuple[BudgetClient, str, Held]]:
    names = [(client, f"{n}-{c}-{turn}") for n, client in enumerate(routers) for c in range(CALLS)]
    found = await asyncio.gather(*(_tried(client, name) for client, name in names))
    return [(*name, held) for name, held in zip(names, found, strict=True) if held is not None]


async def _tried(client: BudgetClient, attempt_id: str) -> Held | None:
    amount = Amount(HOLD, 1)
    try:
        return await client.reserve(attempt_id, PATH, "m", amount, amount)
    except (BudgetExhausted, ServiceUnavailable):
        return None
