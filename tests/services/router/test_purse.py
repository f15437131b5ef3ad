"""What a mission may cost, against a real Budget process: promised, charged once, given back."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from ledger_process import LedgerProcess, limits_of

from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.errors import BudgetExhausted
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient, Held
from harmost.services.router.lease_convert import Told
from harmost.services.router.purse import Purse
from harmost.services.transport import bearer, channel

PATH = BudgetPath("acme/retail", "p")
DAY = {"window": "day", "usd": "0.001"}  # a million nanodollars
DOCUMENTS = {"top": ("acme", [DAY]), "leaf": ("acme/retail", [DAY])}
SOFT = {"soft": ("acme", [DAY | {"enforcement": "soft"}])}


class Money:
    """A Router's money; `attempts` are counted for their names."""

    def __init__(self, client: BudgetClient) -> None:
        self.client = client
        self.attempts = 0

    async def reserve(self, amount: int, purse: Purse | None = None, least: int = 0) -> Held:
        self.attempts += 1
        return await self.client.reserve(
            f"a{self.attempts}", PATH, "m", Amount(amount, 1), Amount(least or amount, 1), purse
        )

    def settle(self, held: Held, used: int) -> None:
        self.attempts += 1
        told = Told(PATH, "m", time.time_ns(), "v1")
        self.client.settle(f"s{self.attempts}", held, told, amount=Amount(used, 1), usage=None)

    async def spend(self, amount: int, purse: Purse | None = None) -> None:
        self.settle(await self.reserve(amount, purse), amount)

    def held(self) -> int:
        book = self.client._sync.book
        assert book is not None
        return max(lease.counter.held for lease in book.every_lease())


@pytest.fixture
def documents() -> dict[str, tuple[str, list[dict[str, str]]]]:
    return DOCUMENTS


@pytest.fixture
async def money(tmp_path: Path, documents: dict[str, object]) -> AsyncGenerator[Money]:
    ledger = LedgerProcess(tmp_path / "budget.db", documents)  # type: ignore[arg-type]
    await ledger.start()
    try:
        async with AsyncExitStack() as stack:
            slot = tmp_path / "router-0"
            journal = Journal(slot / "journal", slot.name)
            connection = await stack.enter_async_context(channel(ledger.address))
            await stack.enter_async_context(journal.running())
            client = BudgetClient(
                connection,
                metadata=bearer("service"),
                journal=journal,
                slot=slot,
                miss_timeout_s=10,
            )
            client.use(limits_of(ledger.documents))
            await stack.enter_async_context(client.running())
            yield Money(client)
    finally:
        await ledger.kill()


async def exhaust(money: Money) -> None:
    """Spend what is left, as others do."""
    with pytest.raises(BudgetExhausted):
        while True:
            await money.spend(50_000)


async def test_a_mission_that_began_finds_its_money_whoever_spends_the_rest(money: Money) -> None:
    purse = Purse(600_000, at_once=True)
    await money.spend(100_000, purse)
    assert money.held() == purse.left == 500_000
    await exhaust(money)
    for _ in range(5):
        await money.spend(100_000, purse)
    with pytest.raises(BudgetExhausted, match=r"may cost 0.0006 US dollars, has 0 US dollars left"):
        await money.reserve(1, purse)


async def test_without_reserving_a_mission_ends_where_others_spent_all(money: Money) -> None:
    purse = Purse(600_000)
    await money.spend(100_000, purse)
    await exhaust(money)
    assert purse.left == 500_000
    with pytest.raises(BudgetExhausted, match=r"budget `(top|leaf)`"):
        await money.reserve(100_000, purse)


async def test_what_cannot_be_held_whole_is_denied_before_it_begins(money: Money) -> None:
    await money.spend(500_001)
    purse = Purse(500_000, at_once=True)
    with pytest.raises(BudgetExhausted, match=r"a mission of `p` has 0.0005 US dollars held") as no:
        await money.reserve(1, purse)
    assert no.value.details["requested"] == "500000"
    assert no.value.details["reserve"] == "mission"
    assert (money.held(), purse.left, purse.hold) == (0, 500_000, None)
    await money.spend(499_999)  # nothing stays held


async def test_what_a_mission_leaves_is_free_at_once(money: Money) -> None:
    purse = Purse(900_000, at_once=True)
    await money.spend(10_000, purse)
    with pytest.raises(BudgetExhausted):
        await money.reserve(200_000)
    purse.empty()
    purse.empty()  # again: nothing happens
    assert (money.held(), purse.left) == (0, 890_000)
    await money.spend(800_000)


async def test_an_attempt_may_have_less_than_it_asks_of_what_is_left(money: Money) -> None:
    purse = Purse(300_000, at_once=True)
    await money.spend(200_000, purse)
    held = await money.reserve(200_000, purse, least=50_000)
    assert held.amount.usd_nanos == 100_000
    assert money.client.extend("x", held, Amount(1, 0)) is None
    money.settle(held, 40_000)
    assert purse.left == 60_000


async def test_a_mission_goes_on_in_the_next_epoch_with_what_it_has_left(money: Money) -> None:
    purse = Purse(600_000, at_once=True)
    await money.spend(100_000, purse)
    before = purse.book
    money.client._sync.book.fenced = True  # type: ignore[union-attr]
    money.client._sync.hasten()
    async with asyncio.timeout(20):
        while money.client._sync.book is before:
            await asyncio.sleep(0.01)
        while purse.left > 400_000:
            try:
                await money.spend(100_000, purse)
            except BudgetExhausted:  # what the epoch before had is not yet proven
                await asyncio.sleep(0.05)
    assert purse.book is not before
    assert purse.left == money.held() == 400_000


@pytest.mark.parametrize("documents", [SOFT])
async def test_where_no_ceiling_is_hard_nothing_needs_to_be_held(money: Money) -> None:
    purse = Purse(2_000_000, at_once=True)
    await money.spend(1_500_000, purse)
    assert (purse.hold, purse.left) == (None, 500_000)
    with pytest.raises(BudgetExhausted, match=r"raise `cost.usd_max`"):
        await money.reserve(500_001, purse)
