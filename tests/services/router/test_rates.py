"""Limits of a minute, several Routers' clients and a real Budget process: together they keep the rate."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from ledger_process import LedgerProcess, limits_of
from rate_world import MINUTE_NS, Use, keeps_the_rate

from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.errors import BudgetExhausted, RateLimited, ServiceUnavailable
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient, Held
from harmost.services.router.lease_convert import Told
from harmost.services.transport import bearer, channel

PATH = BudgetPath("acme/retail")
CALLS, TOKENS = 600, 60_000
DAY = {"window": "day", "usd": "1"}
DOCUMENTS: Any = {
    "top": ("acme", [DAY, {"window": "minute", "requests": CALLS}]),
    "leaf": ("acme/retail", [DAY, {"window": "minute", "tokens": TOKENS}]),
}
CALLERS = 6  # of each Router
SECONDS = effort(3, ci=15, nightly=120)
SLACK_NS = 10**8  # between what was taken and that it is noted here
ONE = Amount(10, 80)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncGenerator[LedgerProcess]:
    process = LedgerProcess(tmp_path / "budget.db", DOCUMENTS)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def joined(ledger: LedgerProcess, slot: Path) -> AsyncGenerator[BudgetClient]:
    journal = Journal(slot / "journal", slot.name)
    async with channel(ledger.address) as connection, journal.running():
        client = BudgetClient(connection, metadata=bearer("service"), journal=journal, slot=slot)
        client.use(limits_of(DOCUMENTS))
        async with client.running():
            yield client


class Crowd:
    """Callers that try all the time; what each that was admitted used."""

    def __init__(self) -> None:
        self.calls: list[Use] = []
        self.tokens: list[Use] = []
        self.denied = 0
        self._ids = itertools.count()

    async def call(self, client: BudgetClient, until_s: float) -> None:
        while time.monotonic() < until_s:
            attempt_id = f"a{next(self._ids)}"
            try:
                held = await client.reserve(attempt_id, PATH, "m", ONE, ONE)
            except RateLimited as error:
                self.denied += 1
                await asyncio.sleep(min(error.retry_after_s, 0.1))
                continue
            except ServiceUnavailable:
                await asyncio.sleep(0.1)
                continue
            self.calls.append(Use(time.monotonic_ns(), 1))
            self.tokens.append(Use(time.monotonic_ns(), 60))
            await asyncio.sleep(0.01)
            settle(client, attempt_id, held, Amount(5, 60))

    def check(self) -> None:
        for used, per_minute in ((self.calls, CALLS), (self.tokens, TOKENS)):
            burst = per_minute + per_minute * SLACK_NS // MINUTE_NS
            assert keeps_the_rate(used, per_minute, burst=burst)


def settle(client: BudgetClient, attempt_id: str, held: Held, used: Amount | None) -> None:
    client.settle(attempt_id, held, Told(PATH, "m", time.time_ns(), ""), amount=used, usage=None)


async def test_several_routers_keep_one_rate_together(
    ledger: LedgerProcess, tmp_path: Path
) -> None:
    crowd = Crowd()
    async with (
        joined(ledger, tmp_path / "r0") as first,
        joined(ledger, tmp_path / "r1") as second,
        joined(ledger, tmp_path / "r2") as third,
        joined(ledger, tmp_path / "r3") as fourth,
    ):
        ends_s = time.monotonic() + SECONDS
        async with asyncio.TaskGroup() as tasks:
            for client in (first, second, third, fourth) * CALLERS:
                tasks.create_task(crowd.call(client, ends_s))
    crowd.check()
    assert len(crowd.calls) >= CALLS  # what a rest had left them, they had
    assert crowd.denied


async def test_a_budget_service_that_is_killed_gives_no_second_burst(
    ledger: LedgerProcess, tmp_path: Path
) -> None:
    crowd = Crowd()
    async with joined(ledger, tmp_path / "r0") as first, joined(ledger, tmp_path / "r1") as second:

        async def kill() -> None:
            for _ in range(2):
                await asyncio.sleep(SECONDS / 3)
                await ledger.kill()
                await ledger.start()

        ends_s = time.monotonic() + SECONDS + 2
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(kill())
            for client in (first, second) * CALLERS:
                tasks.create_task(crowd.call(client, ends_s))
    crowd.check()


async def test_a_hit_awaits_nothing_and_a_denial_tells_when(
    ledger: LedgerProcess, tmp_path: Path
) -> None:
    async with joined(ledger, tmp_path / "r0") as client:
        held = await admitted(client, "a0", ONE)
        settle(client, "a0", held, ONE)
        coroutine = client.reserve("a1", PATH, "m", ONE, ONE)
        with pytest.raises(StopIteration) as hit:
            coroutine.send(None)
        settle(client, "a1", hit.value.value, None)
        great = Amount(10, TOKENS - 300)
        held = await client.reserve("a2", PATH, "m", great, great)
        with pytest.raises(
            RateLimited, match="budget `leaf` of `tenant:acme/retail` lets"
        ) as denial:
            await client.reserve("a3", PATH, "m", great, great)
        assert 0 < denial.value.retry_after_s <= 61
        assert client.held.keys() == {"a2"}  # what was denied holds nothing anywhere
        settle(client, "a2", held, None)
        never = Amount(10, TOKENS + 1)
        with pytest.raises(BudgetExhausted, match="never 60001 tokens at once"):
            await client.reserve("a4", PATH, "m", never, never)


async def test_an_answer_grows_out_of_the_rate(ledger: LedgerProcess, tmp_path: Path) -> None:
    async with joined(ledger, tmp_path / "r0") as client:
        held = await admitted(client, "a0", Amount(10, 1_000))
        grown = client.extend("a0", held, Amount(10, 100))
        assert grown is not None
        assert grown.amount.tokens == 1_100
        assert client.extend("a0", grown, Amount(10, TOKENS)) is None
        settle(client, "a0", grown, Amount(20, 1_100))


async def test_without_budget_a_share_is_spent_and_then_calls_are_refused(
    ledger: LedgerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmost.core.budget.rated_book.SHARE_NS", 10**9)
    async with joined(ledger, tmp_path / "r0") as client:
        settle(client, "a0", await admitted(client, "a0", ONE), ONE)
        await ledger.kill()
        count = 0
        with pytest.raises(ServiceUnavailable):
            async with asyncio.timeout(30):
                while True:
                    count += 1
                    settle(
                        client,
                        f"b{count}",
                        await client.reserve(f"b{count}", PATH, "m", ONE, ONE),
                        ONE,
                    )
                    await asyncio.sleep(0.1)
        assert count > 1


async def admitted(client: BudgetClient, attempt_id: str, amount: Amount) -> Held:
    """A hold as soon as the ledger is found."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await client.reserve(attempt_id, PATH, "m", amount, amount)
            except ServiceUnavailable:
                await asyncio.sleep(0.02)
