"""A Router's money against a real Budget process: hits ask nobody, misses ask once, nothing is lost."""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from ledger_process import LedgerProcess, limits_of

from harmost.budget.v1 import budget_pb2 as pb
from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.audit.recovery import Unsettled
from harmost.core.audit.rows import AttemptClosed, AttemptOpened, AttemptSummary
from harmost.core.budget.ledger import Hold
from harmost.core.budget.nodes import Amount, BudgetPath
from harmost.core.budget.price import compile_price
from harmost.core.errors import AlreadyExists, BudgetExhausted, Conflict, ServiceUnavailable
from harmost.core.resources.kinds import Price
from harmost.core.usage import TokenUsage
from harmost.services.journal.journal import Journal
from harmost.services.router import budget as budgets
from harmost.services.router.budget import BudgetClient, Held
from harmost.services.router.lease_convert import Told
from harmost.services.transport import bearer, channel

PATH = BudgetPath("acme/retail", "p")
KEY = bearer("service")
SMALL = Amount(10, 1)
PRICE = compile_price(Price(input="1", output="1"))
DAY = {"window": "day", "usd": "0.001000000"}  # a million nanodollars
DOCUMENTS = {"top": ("acme", [DAY]), "leaf": ("acme/retail", [DAY])}


class Router:
    """One Router's money, and what it did with it."""

    def __init__(self, client: BudgetClient, journal: Journal) -> None:
        self.client = client
        self.journal = journal
        self._numbers = itertools.count()
        self.name = client._sync.router

    async def reserve(self, amount: int, least: int = 0, *, path: BudgetPath = PATH) -> Any:
        """An attempt and its hold, as it stands in the journal."""
        attempt_id = f"{self.name}-{next(self._numbers)}"
        held = await self.client.reserve(
            attempt_id, path, "m", Amount(amount, 1), Amount(least or amount, 1)
        )
        self.journal.append(opened(attempt_id, held))
        return attempt_id, held

    def settle(self, attempt_id: str, held: Held, used: int | None) -> None:
        amount = None if used is None else Amount(used, 1)
        usage = None if used is None else TokenUsage(input_tokens=1)
        told = Told(PATH, "m", time.time_ns(), "v1")
        self.journal.append(closed(attempt_id, used).closed)
        self.client.settle(attempt_id, held, told, amount=amount, usage=usage)

    async def attempt(self, amount: int, used: int) -> str:
        attempt_id, held = await self.reserve(amount)
        self.settle(attempt_id, held, used)
        return str(attempt_id)

    async def until_held(self, amount: int) -> Any:
        """An attempt and its hold as soon as the ledger is found."""
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self.reserve(amount)
                except ServiceUnavailable:
                    await asyncio.sleep(0.02)

    async def until_admitted(self, amount: int, used: int) -> str:
        """An attempt as soon as the ledger is found again."""
        attempt_id, held = await self.until_held(amount)
        self.settle(attempt_id, held, used)
        return str(attempt_id)

    async def told(self) -> None:
        """Return once the ledger knows all."""
        async with asyncio.timeout(60):  # two of one name take turns, ever more slowly
            while self.client.owed:
                await asyncio.sleep(0.01)


def opened(attempt_id: str, held: Held) -> AttemptOpened:
    return AttemptOpened(
        record_id="m",
        attempt_id=attempt_id,
        model="m",
        provider="p",
        vendor_model_id="m",
        started_at_ns=time.time_ns(),
        tenant=PATH.tenant,
        profile=PATH.profile,
        held_usd_nanos=held.amount.usd_nanos,
        held_tokens=held.amount.tokens,
        price=PRICE,
        epoch=held.epoch,
        counters=held.counters,
    )


def closed(attempt_id: str, used: int | None, row: AttemptOpened | None = None) -> Unsettled:
    summary = AttemptSummary(
        attempt_id=attempt_id,
        model="m",
        provider="p",
        outcome="completed",
        started_at_ns=1,
        usage=TokenUsage(input_tokens=1),
        cost_usd_nanos=used or 0,
    )
    resolution = "void" if used is None else "settle"
    return Unsettled(AttemptClosed(record_id="m", attempt=summary, resolution=resolution), row)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncGenerator[LedgerProcess]:
    ledger = LedgerProcess(tmp_path / "budget.db", DOCUMENTS)
    await ledger.start()
    yield ledger
    await ledger.kill()


@pytest.fixture
def router(
    ledger: LedgerProcess, tmp_path: Path
) -> Callable[..., AbstractAsyncContextManager[Router]]:
    """A Router in a slot; again, and it is a restart. `copy_of` is what a kill left of another."""

    @asynccontextmanager
    async def start(name: str = "router-0", slot: Path | None = None) -> AsyncGenerator[Router]:
        slot = slot or tmp_path / name
        journal = Journal(slot / "journal", name)
        async with channel(ledger.address) as connection, journal.running():
            client = BudgetClient(connection, metadata=KEY, journal=journal, slot=slot)
            client.use(limits_of(ledger.documents))
            async with client.running():
                yield Router(client, journal)

    return start


class Thief:
    """Calls that come between the ledger's answer and whoever waits for it, and take all it lent."""

    def __init__(self, client: BudgetClient, *, rounds: float) -> None:
        self.rounds = 0
        self._rounds_max = rounds
        self._sync = client._sync
        self._wake_waiters = self._sync._wake_waiters

    def steal_first(self, sequence: int) -> None:
        """In the place of LedgerSync._wake_waiters."""
        if self._sync.book is not None and self.rounds < self._rounds_max:
            self.rounds += 1
            counters = [lease.counter for _, lease in self._sync.book.leases(PATH)]
            while min(counter.available for counter in counters) >= SMALL.usd_nanos:
                found = self._sync.book.reserve(PATH, SMALL, SMALL, clock_ns=time.monotonic_ns())
                assert isinstance(found, Hold)
        self._wake_waiters(sequence)


class Book:
    """What the ledger says."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self.stub = budget_pb2_grpc.BudgetServiceStub(self._channel)

    async def balance(self, name: str = "leaf") -> dict[str, int]:
        request = pb.GetBudgetRequest(name=name)
        answer = await self.stub.GetBudget(request, metadata=KEY, wait_for_ready=True, timeout=10)
        fields = ("settled", "held", "leased", "suspense", "debt")
        found = {field: getattr(answer.budget, field) for field in fields}
        return {field: amount for field, amount in found.items() if amount}

    async def settled(self) -> dict[str, int]:
        request = pb.ListEntriesRequest(page_size=10_000)
        answer = await self.stub.ListEntries(request, metadata=KEY, wait_for_ready=True)
        rows = [each for each in answer.entries if each.kind == pb.ENTRY_KIND_SETTLE]
        assert len({each.attempt_id for each in rows}) == len(rows)
        return {each.attempt_id: each.amount.usd_nanos for each in rows}


@pytest.fixture
async def book(ledger: LedgerProcess) -> AsyncGenerator[Book]:
    book = Book(ledger.address)
    yield book
    await book._channel.close()


async def test_a_hit_awaits_nothing(router: Any) -> None:
    async with router() as one:
        await one.attempt(100, 40)
        misses = one.client.misses
        for number in range(12):
            coroutine = one.client.reserve(f"a{number}", PATH, "m", Amount(100, 1), Amount(100, 1))
            with pytest.raises(StopIteration) as done:  # it ends at once: nothing was waited for
                coroutine.send(None)
            one.settle(f"a{number}", done.value.value, 40)
        assert one.client.misses == misses


async def test_every_attempt_is_a_row_within_seconds(router: Any, book: Book) -> None:
    async with router() as one:
        used = {await one.attempt(1_000, n): n for n in range(1, 50)}
        voided, held = await one.reserve(500)
        one.settle(voided, held, None)
        await one.told()
        assert await book.settled() == used
        assert (await book.balance())["settled"] == sum(used.values())


async def test_below_the_limit_few_messages_serve_many_attempts(router: Any) -> None:
    async with router() as one:
        await one.attempt(100, 40)
        before = one.client.messages
        for _ in range(100):
            await asyncio.gather(*(one.attempt(100, 60) for _ in range(10)))
            await asyncio.sleep(0.02)
        assert one.client.messages - before <= 50  # 5 for each 100


async def test_the_limit_is_used_to_its_last_hold(router: Any, book: Book) -> None:
    async with router() as one:
        used = 0
        with pytest.raises(BudgetExhausted) as denied:
            while True:
                await one.attempt(7_000, 7_000)
                used += 7_000
        assert used == 1_000_000 // 7_000 * 7_000
        assert denied.value.details["available"] == str(1_000_000 - used)
        assert denied.value.details["requested"] == "7000"
        await asyncio.sleep(1.1)  # until the denial is no longer believed
        last, held = await one.reserve(7_000, 1_000)
        assert held.amount.usd_nanos == 1_000_000 - used
        one.settle(last, held, 0)
        await one.told()
        assert (await book.balance())["settled"] == used


async def test_who_is_outrun_for_many_rounds_is_not_told_that_the_money_is_used_up(
    router: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with router() as one:
        await one.attempt(SMALL.usd_nanos, 0)
        thief = Thief(one.client, rounds=12)
        monkeypatch.setattr(one.client._sync, "_wake_waiters", thief.steal_first)
        while thief.rounds < 12:
            await asyncio.gather(*(one.reserve(SMALL.usd_nanos) for _ in range(8)))


async def test_who_is_outrun_until_its_wait_ends_hears_unavailable(
    router: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with router() as one:
        await one.attempt(SMALL.usd_nanos, 0)
        thief = Thief(one.client, rounds=math.inf)
        monkeypatch.setattr(one.client._sync, "_wake_waiters", thief.steal_first)
        monkeypatch.setattr(one.client, "_miss_timeout_s", 0.1)
        with pytest.raises(ServiceUnavailable, match="other calls took what was lent meanwhile"):
            while True:
                await one.reserve(SMALL.usd_nanos)
        assert thief.rounds


async def test_an_unknown_price_is_denied_by_a_hard_budget_of_money(router: Any) -> None:
    async with router() as one:
        unknown = Amount(0, 1, price_unknown=True)
        with pytest.raises(BudgetExhausted, match="price of model `m` is not known"):
            await one.client.reserve("a", PATH, "m", unknown, unknown)


async def test_without_budget_leases_are_spent_and_then_hard_limits_deny(
    router: Any, ledger: LedgerProcess, book: Book
) -> None:
    async with router() as one:
        used = {await one.attempt(1_000, 1_000): 1_000 for _ in range(3)}
        await one.told()
        lent = (await book.balance())["leased"]
        await ledger.kill()
        misses = one.client.misses
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            while True:
                used[await one.attempt(1_000, 1_000)] = 1_000
        assert len(used) - 3 == lent // 1_000  # all of the lease, and no more
        assert one.client.misses == misses + 1
        await ledger.start()
        await one.told()
        assert await book.settled() == used


async def test_who_owes_the_ledger_too_much_admits_nothing_new(
    router: Any, ledger: LedgerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmost.services.router.ledger_sync.OUTBOX_MAX", 2)
    async with router() as here:
        held = await here.until_held(10), await here.reserve(10)
        await ledger.kill()
        for attempt_id, hold in held:
            here.settle(attempt_id, hold, 5)
        with pytest.raises(ServiceUnavailable, match="2 settlements wait for the Budget service"):
            await here.reserve(10)


async def test_what_meets_no_hard_limit_is_admitted_without_budget(
    router: Any, ledger: LedgerProcess, book: Book
) -> None:
    await ledger.kill()
    async with router() as one:
        elsewhere = BudgetPath("globex")
        attempt_id, held = await one.reserve(50_000, path=elsewhere)
        assert held.epoch == 0
        one.settle(attempt_id, held, 123)
        await ledger.start()
        await one.told()
        assert await book.settled() == {attempt_id: 123}


async def test_a_lease_ends_with_its_term(
    router: Any, ledger: LedgerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmost.core.budget.leases.LEASE_NS", 500_000_000)
    async with router() as one:
        await one.attempt(100, 100)
        ledger.pause()
        try:
            await one.attempt(100, 100)
            await asyncio.sleep(0.6)
            with pytest.raises(ServiceUnavailable):
                await one.attempt(100, 100)
        finally:
            ledger.resume()
        await one.until_admitted(100, 100)


async def test_a_budget_that_was_killed_is_found_again(
    router: Any, ledger: LedgerProcess, book: Book
) -> None:
    async with router() as one:
        used: dict[str, int] = {}
        for _ in range(3):
            used |= {await one.until_admitted(1_000, 700): 700 for _ in range(20)}
            await ledger.kill()
            await ledger.start()
            used[await one.until_admitted(1_000, 600)] = 600
        await one.told()
        assert await book.settled() == used
        assert (await book.balance()).get("debt", 0) == 0


async def test_a_router_that_ends_gives_everything_back(router: Any, book: Book) -> None:
    async with router() as one:
        await one.attempt(100, 40)
    assert await book.balance() == {"settled": 40}


async def test_a_killed_router_frees_what_its_journal_proves(
    router: Any, book: Book, tmp_path: Path
) -> None:
    async with router() as one:
        told = await one.attempt(1_000, 400)
        await one.told()
        running, held = await one.reserve(2_000)
        await one.journal.sync()
        left = (
            tmp_path / "left" / "router-0"
        )  # as kill -9 would leave it, the ledger's lease included
        await asyncio.to_thread(_copy, tmp_path / "router-0", left)
        assert (await book.balance())["leased"] > 0
        async with router("router-0", left) as again:
            (row,) = again.journal.recovered.open_attempts
            assert (row.attempt_id, row.epoch) == (running, held.epoch)
            assert [one.closed.attempt.attempt_id for one in again.journal.recovered.unsettled] in (
                [told],
                [],
            )
            again.client.recover([closed(running, 1_500, row)])
            await again.told()
            assert await book.settled() == {told: 400, running: 1_500}
            assert (await book.balance()).get("suspense", 0) == 0
    assert (await book.balance())["settled"] == 1_900


async def test_a_journal_of_a_machine_that_died_leaves_the_rest_in_suspense(
    router: Any, book: Book, tmp_path: Path
) -> None:
    async with router() as one:
        await one.attempt(1_000, 400)
        await one.told()
        left = tmp_path / "left" / "router-0"
        await asyncio.to_thread(_copy, tmp_path / "router-0", left)
        file = left / "epochs.json"
        file.write_text(file.read_text().replace('"boot_id":"', '"boot_id":"another'))
        async with router("router-0", left) as again:
            again.client.recover(())
            await again.told()
            assert (await book.balance())["suspense"] > 0


async def test_a_fenced_router_goes_on_in_a_new_epoch_and_loses_nothing(
    router: Any, book: Book, tmp_path: Path
) -> None:
    async with router() as one:
        used: dict[str, int] = {}
        pending = [await one.until_held(1_000) for _ in range(3)]
        async with router("router-0", tmp_path / "twin" / "router-0") as twin:
            twin.name = "twin"  # its attempts are its own
            await twin.until_admitted(1_000, 0)  # it has the name now
        # It ends: two that both go on take turns with ever longer pauses, which is no part of this.
        for attempt_id, held in pending:
            one.settle(attempt_id, held, 800)
            used[attempt_id] = 800
        await one.told()
        first = {key: cost for key, cost in (await book.settled()).items() if cost}
        assert first == used
        assert (await book.balance()).get("debt", 0) == 0


async def test_keys_stand_for_one_call_across_routers(router: Any) -> None:
    async with router() as one, router("router-1") as two:
        await one.attempt(1, 1)
        await two.attempt(1, 1)
        await one.client.claim("acme:app", "k", b"body", "r1")
        with pytest.raises(Conflict):
            await two.client.claim("acme:app", "k", b"body", "r2")
        await one.client.ended("r1")
        with pytest.raises(AlreadyExists, match="r1"):
            await two.client.claim("acme:app", "k", b"body", "r2")


async def test_a_key_whose_claim_was_not_answered_is_free_again(
    router: Any, ledger: LedgerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets, "RPC_TIMEOUT_S", 0.3)
    async with router() as one, router("router-1") as two:
        await one.attempt(1, 1)
        ledger.pause()
        with pytest.raises(ServiceUnavailable):
            await one.client.claim("acme:app", "k", b"body", "r1")
        ledger.resume()

        async def claimed() -> bool:
            try:
                await two.client.claim("acme:app", "k", b"body", "r2")
            except (Conflict, ServiceUnavailable):
                return False
            return True

        async with asyncio.timeout(15):
            while not await claimed():
                await asyncio.sleep(0.1)


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target)
