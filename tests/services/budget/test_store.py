"""The ledger on disk: restarts, full disks, damage, and too many callers."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from harmost.core.errors import (
    BudgetExhausted,
    HarmostError,
    NotPossibleNow,
    RateLimited,
    ServiceUnavailable,
)
from harmost.services.budget import store as stores
from harmost.services.budget.accounts import Accounts
from harmost.services.budget.ledger_file import LedgerFile
from harmost.services.budget.schema import APPLICATION_ID, MIGRATIONS
from harmost.services.budget.store import BudgetStore
from harmost.services.sqlite import open_database

DAY_NS = 1_794_960_000 * 10**9  # the day of the tests' clock


@contextmanager
def no_room(directory: Path) -> Iterator[None]:
    """No file may grow by more than a page: what a full disk does, for this process only."""
    largest = max(path.stat().st_size for path in directory.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 4_096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def verified(budget: Any) -> None:
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_a_restart_finds_balances_and_open_holds(started: Any) -> None:
    async with started() as budget:
        await budget.reserve("a", 40)
        await budget.reserve("b", 30)
        await budget.reserve("c", 20)
        await budget.settle("a", 25)
        await budget.void("c")
    async with started() as budget:
        assert await budget.balances("day") == (25, 30, 0)
        with pytest.raises(BudgetExhausted):
            await budget.reserve("d", 46)
        assert (await budget.settle("a", 25)).sequence == 4
        assert (await budget.reserve("b", 30)).held.usd_nanos == 30
        assert (await budget.settle("b", 35)).sequence == 6
        assert await budget.balances("day") == (60, 0, 5)
        await verified(budget)


async def test_a_hold_settles_after_a_restart_without_any_snapshot(
    started: Any, documents: Any
) -> None:
    async with started() as budget:
        await budget.reserve("a", 40)
    kept = documents.current()
    documents.__init__()
    async with started() as budget:
        await budget.settle("a", 25)
        documents._snapshot = kept
        assert await budget.balances("day") == (25, 0, 0)


async def test_past_windows_are_forgotten_in_memory_and_kept_on_disk(
    budget: Any, clock: Any, documents: Any, limit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmost.services.budget.counters.SWEEP_MIN", 4)
    limits = ({"window": "hour", "requests": 1}, {"window": "hour", "tokens": 9})
    documents.publish(hour=("acme", limit(*limits)))

    def in_memory(accounts: Accounts, now_ns: int) -> int:
        return len(accounts._counters._by_id)

    await budget.store.run(lambda accounts, _: setattr(accounts._counters, "_sweep_at", 4))
    await budget.reserve("first", 1)
    for hour in range(20):
        clock.move(seconds=3_600)
        await budget.reserve(f"a{hour}", 1)
        await budget.settle(f"a{hour}", 1)
    assert await budget.store.run(in_memory) <= 8
    clock.move(seconds=-3_600)
    with pytest.raises(BudgetExhausted):
        await budget.reserve("again", 1)
    # Its hold is of no tokens, and yet its counter of tokens is still its own.
    await budget.settle("first", 1, 3)
    await verified(budget)


async def test_a_full_disk_refuses_and_loses_nothing(
    budget: Any, tmp_path: Path, refused: Any
) -> None:
    await budget.reserve("a", 1)
    with no_room(tmp_path):
        admitted, errors = await refused(*(budget.reserve(f"b{i}", 1) for i in range(40)))
        assert {type(error) for error in errors} == {ServiceUnavailable}
        assert await budget.balances("day") == (0, 1 + admitted, 0)
    await verified(budget)
    # The disk has room again: the same attempts are taken, and those that were are not doubled.
    again, errors = await refused(*(budget.reserve(f"b{i}", 1) for i in range(40)))
    assert (again, errors) == (40, [])
    assert await budget.balances("day") == (0, 41, 0)
    await verified(budget)


async def test_a_full_disk_says_so(budget: Any) -> None:
    await budget.reserve("a", 1)
    connection = budget.store._file._connection
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages)
    with pytest.raises(ServiceUnavailable, match="the ledger's disk is full: free some space"):
        for i in range(40):
            await budget.reserve(f"b{i}", 1, profile="p" * 128)
    connection.pragma("max_page_count", pages + 1_000)
    await budget.settle("a", 1)
    await verified(budget)


async def test_memory_is_dropped_with_the_transaction_that_failed(
    budget: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await budget.reserve("a", 10)
    commit = budget.store._file.commit

    def broken() -> None:
        monkeypatch.setattr(budget.store._file, "commit", commit)
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(budget.store._file, "commit", broken)
    with pytest.raises(ServiceUnavailable, match="cannot be written"):
        await budget.settle("a", 5)
    assert await budget.balances("day") == (0, 10, 0)
    await budget.settle("a", 7)
    assert await budget.balances("day") == (7, 0, 0)


async def test_work_that_fails_unforeseen_does_not_harm_its_neighbours(budget: Any) -> None:
    def ill(accounts: Accounts, now_ns: int) -> None:
        raise ZeroDivisionError

    results = await asyncio.gather(
        budget.store.run(ill),
        budget.reserve("a", 10),
        budget.store.run(ill),
        budget.reserve("b", 10),
        return_exceptions=True,
    )
    assert [type(result) for result in results[::2]] == [HarmostError, HarmostError]
    assert await budget.balances("day") == (0, 20, 0)
    await verified(budget)


async def test_a_caller_that_has_gone_takes_no_hold(budget: Any) -> None:
    blocked = asyncio.Event()

    def slow(accounts: Accounts, now_ns: int) -> None:
        import time

        time.sleep(0.1)

    first = asyncio.create_task(budget.store.run(slow))
    await asyncio.sleep(0.02)
    gone = asyncio.create_task(budget.store.run(lambda accounts, _: blocked.set()))
    await asyncio.sleep(0.02)
    gone.cancel()
    await first
    await budget.balances("day")
    assert not blocked.is_set()


async def test_too_many_callers_are_told_at_once(
    tmp_path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "QUEUE_MAX", 8)
    store = BudgetStore(tmp_path / "own.db")  # a service's own work would be among the callers
    async with store.running():
        admitted, errors = await refused(*(store.run(lambda accounts, _: None) for _ in range(20)))
        assert admitted == 8
        assert {type(error) for error in errors} == {RateLimited}
        await store.run(lambda accounts, _: None)
    store.close()


async def test_what_was_asked_before_the_end_is_answered(tmp_path: Path, refused: Any) -> None:
    store = BudgetStore(tmp_path / "own.db")
    async with store.running():
        calls = [asyncio.create_task(store.run(lambda accounts, now_ns: now_ns)) for _ in range(50)]
        await asyncio.sleep(0)
    admitted, _ = await refused(*calls)
    assert admitted == 50
    with pytest.raises(ServiceUnavailable, match="the ledger is closed"):
        await store.run(lambda accounts, _: None)
    store.close()


def tampered(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE balances SET settled = settled + 1",
        "UPDATE balances SET held = held + 1",
        "UPDATE balances SET settled = 30, debt = 1",
        "DELETE FROM balances",
        "DELETE FROM holds",
        "DROP TRIGGER entries_are_never_changed; "
        "UPDATE entries SET settled_usd_nanos = 24 WHERE kind = 2",
        "DROP TRIGGER entries_are_never_deleted; DELETE FROM entries WHERE kind = 2",
    ],
)
async def test_a_ledger_that_does_not_add_up_is_refused_by_name(
    started: Any, tmp_path: Path, sql: str
) -> None:
    async with started() as budget:
        await budget.reserve("a", 40)
        await budget.reserve("b", 30)
        await budget.settle("a", 25)
    tampered(tmp_path / "budget.db", sql)
    with pytest.raises(NotPossibleNow, match=r"budget\.db` does not add up"):
        BudgetStore(tmp_path / "budget.db")


async def test_rows_can_only_be_added(started: Any, tmp_path: Path) -> None:
    async with started() as budget:
        await budget.reserve("a", 40)
    for sql in ("UPDATE entries SET model = 'x'", "DELETE FROM entries"):
        with pytest.raises(apsw.ConstraintError, match="only ever added"):
            tampered(tmp_path / "budget.db", sql)


async def test_a_damaged_file_is_refused_by_name(started: Any, tmp_path: Path) -> None:
    async with started() as budget:
        for i in range(50):
            await budget.reserve(f"a{i}", 1)
    path = tmp_path / "budget.db"
    content = bytearray(path.read_bytes())
    content[4_096:8_192] = b"\xff" * 4_096
    path.write_bytes(content)
    with pytest.raises(NotPossibleNow, match=r"budget\.db`"):
        BudgetStore(path)


async def test_a_ledger_that_vanished_is_not_made_anew(started: Any, tmp_path: Path) -> None:
    async with started() as budget:
        await budget.reserve("a", 40)
    path = tmp_path / "budget.db"
    gone = path.rename(tmp_path / "elsewhere")
    with pytest.raises(NotPossibleNow, match=r"budget\.db` is gone: restore a backup of it"):
        BudgetStore(path)
    assert not path.exists()
    gone.rename(path)
    async with started() as budget:
        assert await budget.balances("day") == (0, 40, 0)
    path.unlink()
    (tmp_path / "budget.db.made").unlink()  # who means it
    async with started() as budget:
        assert await budget.balances("day") == (0, 0, 0)


async def test_a_ledger_in_use_is_refused_by_name(budget: Any, tmp_path: Path) -> None:
    with pytest.raises(NotPossibleNow, match=r"budget\.db` is in use"):
        BudgetStore(tmp_path / "budget.db")


def test_a_ledger_belongs_to_one_deployment(tmp_path: Path) -> None:
    path = tmp_path / "budget.db"
    LedgerFile(path).close()  # of before deployments had names
    LedgerFile(path, deployment="one").close()
    LedgerFile(path, deployment="one").close()
    with pytest.raises(NotPossibleNow, match="belongs to deployment `one` and this is `two`"):
        LedgerFile(path, deployment="two")


async def test_a_ledger_of_before_leases_goes_on_after_a_backup(
    started: Any, tmp_path: Path
) -> None:
    path = tmp_path / "budget.db"
    old = open_database(
        path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:2], synchronous="FULL"
    )
    old.execute("INSERT INTO balances VALUES (1, 'day', 1, 'day', ?, 25, 40, 0)", (DAY_NS,))
    row = (DAY_NS, "acme/retail", "", "", "", "m", 0)
    insert = f"INSERT INTO entries VALUES ({','.join('?' * 25)})"
    rest = ("[1]", "", "", "", "", "")
    old.execute(insert, (1, 1, "a", b"x", *row, 30, 1, 1, 0, 0, 0, 0, 0, *rest))
    old.execute(insert, (2, 2, "a", b"x", *row, -30, -1, -1, 25, 1, 1, 0, 0, *rest))
    old.execute(insert, (3, 1, "b", b"x", *row, 40, 1, 1, 0, 0, 0, 0, 0, *rest))
    old.execute("INSERT INTO holds VALUES ('b', 3, '')")
    old.close()
    async with started() as budget:
        assert await budget.balances("day") == (25, 40, 0)
        await budget.settle("b", 10)
        assert await budget.balances("day") == (35, 0, 0)
        await verified(budget)
    backup = LedgerFile(path.with_name("budget.db.v2.bak"))  # itself brought forwards, to be read
    assert [row.entry.key for row in backup.open_holds()] == ["b"]
    backup.close()
