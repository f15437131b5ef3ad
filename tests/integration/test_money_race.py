"""The last dollars: 32 Routers, 64 calls each at once, and one real Budget process."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from ledger_process import LedgerProcess, limits_of

from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.errors import BudgetExhausted, ServiceUnavailable
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient, Held
from harmost.services.router.lease_convert import Told
from harmost.services.transport import bearer, channel

ROUTERS, CALLS = 32, 64
HOLD = 7_000
LIMIT = 3_000_000  # nanodollars: 428 holds and a rest, for 2048 calls
PATH = BudgetPath("acme/retail")
DAY = {"window": "day", "usd": f"0.{LIMIT:09d}"}
DOCUMENTS = {"top": ("acme", [DAY]), "leaf": ("acme/retail", [DAY])}
RECALL_S = 30.0


@pytest.fixture
async def routers(tmp_path: Path) -> AsyncGenerator[list[BudgetClient]]:
    ledger = LedgerProcess(tmp_path / "budget.db", DOCUMENTS)
    await ledger.start()
    async with AsyncExitStack() as stack:
        clients: list[BudgetClient] = []
        for number in range(ROUTERS):
            slot = tmp_path / f"router-{number}"
            journal = Journal(slot / "journal", slot.name)
            connection = await stack.enter_async_context(channel(ledger.address))
            await stack.enter_async_context(journal.running())
            client = BudgetClient(
                connection,
                metadata=bearer("service"),
                journal=journal,
                slot=slot,
                miss_timeout_s=20,
            )
            client.use(limits_of(DOCUMENTS))
            await stack.enter_async_context(client.running())
            clients.append(client)
        yield clients
        await ledger.kill()


async def tried(client: BudgetClient, attempt_id: str) -> Held | None:
    amount = Amount(HOLD, 1)
    try:
        return await client.reserve(attempt_id, PATH, "m", amount, amount)
    except (BudgetExhausted, ServiceUnavailable):
        return None


@pytest.mark.timeout(180)
async def test_the_last_holds_go_to_exactly_as_many_as_fit(routers: list[BudgetClient]) -> None:
    async def all_at_once(round: int) -> list[tuple[BudgetClient, str, Held]]:
        names = [
            (client, f"{n}-{c}-{round}") for n, client in enumerate(routers) for c in range(CALLS)
        ]
        found = await asyncio.gather(*(tried(client, name) for client, name in names))
        return [(*name, held) for name, held in zip(names, found, strict=True) if held is not None]

    expected = LIMIT // HOLD
    admitted = await all_at_once(0)
    assert len(admitted) <= expected
    ends_s = time.monotonic() + RECALL_S  # until what is idle elsewhere is given back
    while len(admitted) < expected and time.monotonic() < ends_s:
        await asyncio.sleep(1.1)
        admitted += await all_at_once(len(admitted))
        assert len(admitted) <= expected
    assert len(admitted) == expected
    assert expected * HOLD >= 0.99 * LIMIT
    for client, attempt_id, held in admitted:
        client.settle(
            attempt_id,
            held,
            Told(PATH, "m", time.time_ns(), "v1"),
            amount=Amount(HOLD, 1),
            usage=None,
        )
    async with asyncio.timeout(20):
        while any(client.owed for client in routers):
            await asyncio.sleep(0.05)
