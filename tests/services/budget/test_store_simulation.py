"""The real store, SQLite included, on a disk that forgets, tears and fails, in a world of money.

Nothing is random but the seed: a failure names it, and `simulated(seed)` shows it again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest
from effort import effort
from faulty_disk import FaultyDisk, faulty_disk
from money_limits import limits
from money_seed import run
from money_store import StoreHost
from money_world import MoneyWorld

from harmost.core.errors import HarmostError
from harmost.services.budget import ledger_file

SEEDS = effort(20, ci=200, nightly=10_000)
MUTANT_SEEDS_MAX = 60


class StoreWorld(MoneyWorld):
    """A world whose ledger is the Budget service's own."""

    host: Any  # a StoreHost, with the face of a LedgerHost

    def __init__(self, disk: FaultyDisk, seed: int, path: Path) -> None:
        self._parts = disk, Random(seed), path
        super().__init__()

    def new_host(self) -> Any:
        return StoreHost(
            limits(rates=True),
            lambda: self.now_ns + self.clock_jump_ns,
            lambda: self.now_ns,
            *self._parts,
        )


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the store says of a failing disk is said a thousand times here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@contextmanager
def simulated(seed: int, directory: Path) -> Iterator[StoreWorld]:
    """The world after all that the seed makes happen."""
    with faulty_disk(f"faulty-{seed}") as disk:
        path = directory / f"{seed}.db"
        for made in directory.glob(f"{seed}.db*"):
            made.unlink()
        world = StoreWorld(disk, seed, path)
        try:
            run(world, seed)
            yield world
        finally:
            world.host.close()


@pytest.mark.timeout(7_200)
def test_what_was_answered_survives_any_disk(tmp_path: Path) -> None:
    seen = {"rows": 0, "crashes": 0, "faults": 0}
    for seed in range(SEEDS):
        try:
            with simulated(seed, tmp_path) as world:
                seen["rows"] += len(world.host.disk.postings)
                seen["crashes"] += world.host.crashes
                seen["faults"] += world._parts[0].faults
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
    assert seen["rows"] > 5 * SEEDS
    assert seen["crashes"] > SEEDS // 2
    assert seen["faults"] > SEEDS


def test_the_same_seed_makes_the_same_journal(tmp_path: Path) -> None:
    hashes: list[list[str]] = []
    for _ in range(2):
        hashes.append([])
        for seed in range(5):
            with simulated(seed, tmp_path) as world:
                hashes[-1].append(world.host.journal_hash())
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 5


def test_a_ledger_that_skips_the_sync_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ledger_file.open_database

    def unsynced(path: Path, **options: Any) -> apsw.Connection:
        connection = opened(path, **options)
        connection.pragma("synchronous", "OFF")
        return connection

    monkeypatch.setattr(ledger_file, "open_database", unsynced)
    for seed in range(MUTANT_SEEDS_MAX):
        try:
            with simulated(seed, tmp_path):
                pass
        except (AssertionError, HarmostError):
            return
    raise AssertionError(f"it lived through {MUTANT_SEEDS_MAX} seeds")


def test_a_disk_forgets_what_was_not_synced(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    kept: set[int] = set()
    for seed in range(30):
        with faulty_disk(f"forgets-{seed}") as disk:
            connection = apsw.Connection(path)
            connection.pragma("locking_mode", "EXCLUSIVE")
            assert connection.pragma("journal_mode", "WAL") == "wal"
            connection.pragma("synchronous", "FULL")
            connection.execute("CREATE TABLE t (n)")
            connection.pragma("synchronous", "OFF")
            connection.execute("INSERT INTO t VALUES (1)")
            disk.crash(Random(seed))
            connection.close()
            again = apsw.Connection(path)
            again.pragma("locking_mode", "EXCLUSIVE")
            kept.add(len(list(again.execute("SELECT * FROM t"))))
            assert again.execute("PRAGMA integrity_check").get == "ok"
            again.close()
    assert kept == {0, 1}


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
def test_a_disk_fails_when_it_is_told_to(tmp_path: Path, error: type[apsw.Error]) -> None:
    with faulty_disk() as disk:
        connection = apsw.Connection(str(tmp_path / "x.db"))
        connection.execute("CREATE TABLE t (n)")
        disk.error, disk.fail_after = error, 0
        with pytest.raises(error):
            connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT n FROM t").get == 2
        connection.close()
