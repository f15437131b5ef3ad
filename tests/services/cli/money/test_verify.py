"""`harmost ledger verify`: a real ledger passes; whatever is changed in it is found and named."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from harmost.core.audit.framing import Header, encode, write_header
from harmost.core.audit.rows import AttemptClosed, AttemptSummary, Row, SettleAcked, SettlesAcked
from harmost.core.budget.nodes import Amount, BudgetPath, compile_limits
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.core.usage import TokenUsage
from harmost.services.budget.requests import Adjustment, Reservation, Settlement
from harmost.services.budget.store import BudgetStore

ATTEMPTS = 300
SERVE = Path(__file__).parents[2] / "budget/serve.py"


async def write(path: Path) -> None:
    """Attempts of three levels in every unit: settled, void, above their hold, open; a correction."""
    store = BudgetStore(path)
    limits = (
        Limit(window="day", usd="1000"),
        Limit(window="month", tokens=10**9),
        Limit(window="minute", requests=10**6),
    )
    store.limits = compile_limits(
        {
            name: (Metadata(name=name, tenant=name), BudgetSpec(limits=limits))
            for name in ("a", "a/b", "a/b/c")
        }
    )
    chance = random.Random(6)

    async def attempt(number: int) -> None:
        name = f"t{number}"
        wanted = Reservation(name, BudgetPath("a/b/c"), "m", Amount(1_000, 10))
        await store.run(lambda accounts, now: accounts.reserve(wanted, within="", now_ns=now))
        outcome = chance.randrange(6)
        if outcome == 0:
            await store.run(lambda accounts, now: accounts.void(name, within="", now_ns=now))
        elif outcome > 1:
            nanos = 1_100 if outcome == 2 else chance.randrange(1_000)
            used = Settlement(name, Amount(nanos, 7), TokenUsage(input_tokens=7))
            await store.run(lambda accounts, now: accounts.settle(used, within="", now_ns=now))

    async with store.running():
        await asyncio.gather(*map(attempt, range(ATTEMPTS)))
        wanted = Adjustment("k", "a", 5, "me", "why", None, "day")
        await store.run(lambda accounts, now: accounts.adjust(wanted, within="", now_ns=now))
    store.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that adds up; copy it before you change it."""
    path = tmp_path_factory.mktemp("kept") / "budget.db"
    asyncio.run(write(path))
    return path


@pytest.fixture
def data(kept: Path, tmp_path: Path) -> Path:
    """A data directory with a copy of it."""
    (tmp_path / "budget").mkdir()
    shutil.copy(kept, tmp_path / "budget/budget.db")
    return tmp_path


@pytest.fixture
def change(data: Path) -> Callable[[str], None]:
    """Runs SQL on the copy, past the triggers that forbid it."""

    def run(sql: str) -> None:
        connection = apsw.Connection(str(data / "budget/budget.db"))
        connection.execute("DROP TRIGGER entries_are_never_changed")
        connection.execute("DROP TRIGGER entries_are_never_deleted")
        connection.execute(sql)
        connection.close()

    return run


def test_a_ledger_that_adds_up_passes(harmost: Any, data: Path) -> None:
    told = harmost("ledger", "verify", str(data), "--json")
    assert told.code == 0
    assert told.json["adds_up"]
    assert told.json["rows"] > ATTEMPTS
    assert told.json["settled_usd_nanos"] > 0
    ran = harmost("ledger", "verify", str(data / "budget/budget.db"))
    assert (ran.code, "adds up" in ran.err) == (0, True)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE entries SET settled_usd_nanos = settled_usd_nanos + 1 WHERE sequence = "
         "(SELECT max(sequence) FROM entries WHERE kind = 2 AND debt_usd_nanos = 0)",
         "add up to"),
        ("UPDATE entries SET held_usd_nanos = held_usd_nanos + 1 WHERE sequence = 1", "otherwise than row 1 reserved it"),
        ("UPDATE entries SET counters = '[1]' WHERE sequence = "
         "(SELECT min(sequence) FROM entries WHERE kind = 3)", "otherwise than row"),
        ("DELETE FROM entries WHERE sequence = 17", "row 17 is missing"),
        ("UPDATE entries SET kind = 3 WHERE sequence = (SELECT max(sequence) FROM entries WHERE kind = 2)",
         "impossible amounts"),
        ("UPDATE balances SET settled = settled + 1 WHERE id = 2", "counter 2 (budget `"),
        ("UPDATE balances SET held = held + 1 WHERE id = 1", "says held"),
        ("UPDATE balances SET debt = debt - 1 WHERE id = 1", "says debt"),
        ("DELETE FROM balances WHERE id = 3", "counter 3, of row 1, has no balance"),
        ("DELETE FROM holds WHERE attempt_id = (SELECT min(attempt_id) FROM holds)", "neither closed nor is open"),
        ("UPDATE holds SET sequence = sequence + 1", "neither closed nor is open"),
        ("DROP INDEX entries_by_key; INSERT INTO entries SELECT (SELECT max(sequence) FROM entries) + 1, "
         "kind, key, fingerprint, created_ns, tenant, profile, agent_id, end_user_id, model, price_unknown, "
         "held_usd_nanos, held_tokens, held_requests, settled_usd_nanos, settled_tokens, settled_requests, "
         "debt_usd_nanos, debt_tokens, counters, usage, warnings, budget, author, reason, price_version"
         " FROM entries WHERE kind = 2 LIMIT 1", "closes attempt"),
    ],
)  # fmt: skip
def test_whatever_is_changed_is_found_and_named(
    harmost: Any, data: Path, change: Callable[[str], None], sql: str, message: str
) -> None:
    change(sql)
    ran = harmost("ledger", "verify", str(data), "--json")
    assert ran.code == 1
    assert any(message in found["message"] for found in ran.json["findings"]), ran.json["findings"]
    assert "does not add up" in harmost("ledger", "verify", str(data)).err


def test_findings_with_a_row_come_first_and_in_order(
    harmost: Any, data: Path, change: Callable[[str], None]
) -> None:
    change("DELETE FROM entries WHERE sequence IN (40, 20)")
    findings = harmost("ledger", "verify", str(data), "--json").json["findings"]
    assert findings[0]["message"] == "row 20 is missing"
    assert findings[0]["sequence"] == 20


@pytest.mark.parametrize(
    ("page", "offset", "named"),
    [(1, 0, "page 1"), (5, 0, "page 5"), (30, 8, "page 30")],
)
def test_a_damaged_file_is_named_with_its_page(
    harmost: Any, data: Path, page: int, offset: int, named: str
) -> None:
    file = data / "budget/budget.db"
    content = bytearray(file.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    begin = (page - 1) * size + offset
    assert begin + 64 < len(content)
    content[begin : begin + 64] = b"\xff" * 64
    file.write_bytes(content)
    ran = harmost("ledger", "verify", str(data))
    assert ran.code == 1
    assert f"the ledger `{file}` is damaged at {named}:" in ran.err
    assert file.read_bytes() == content  # nothing is mended, nothing made anew


def test_a_file_that_was_cut_is_named(harmost: Any, data: Path) -> None:
    file = data / "budget/budget.db"
    os.truncate(file, file.stat().st_size // 2)
    ran = harmost("ledger", "verify", str(data))
    assert ran.code == 1
    assert f"the ledger `{file}` is damaged" in ran.err


@pytest.mark.parametrize(
    ("words", "message"), [("nowhere", "no ledger at"), ("other.db", "is not a ledger")]
)
def test_what_is_no_ledger_is_refused(
    harmost: Any, tmp_path: Path, words: str, message: str
) -> None:
    connection = apsw.Connection(str(tmp_path / "other.db"))
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    ran = harmost("ledger", "verify", str(tmp_path / words))
    assert (ran.code, message in ran.err) == (1, True)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """A Budget service of its own process on a new ledger."""
    path = tmp_path / "live" / "budget.db"
    with subprocess.Popen(
        [sys.executable, str(SERVE), str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield path, process
        process.kill()


def test_a_ledger_in_use_is_left_alone(
    harmost: Any, service: tuple[Path, "subprocess.Popen[bytes]"]
) -> None:
    path, _ = service
    ran = harmost("ledger", "verify", str(path))
    assert ran.code == 1
    assert "is in use by a running service" in ran.err


def test_commits_that_wait_in_the_log_count(
    harmost: Any, service: tuple[Path, "subprocess.Popen[bytes]"]
) -> None:
    """A service that was killed leaves its last commits in the log; reading must not write there."""
    path, process = service
    process.kill()
    process.wait()
    log = path.with_name(f"{path.name}-wal")
    before = (path.read_bytes(), log.read_bytes() if log.exists() else b"")
    ran = harmost("ledger", "verify", str(path), "--json")
    assert (ran.code, ran.json["rows"]) == (0, 0)
    assert (path.read_bytes(), log.read_bytes() if log.exists() else b"") == before


# --- What Routers say ------------------------------------------------------------------------------------


def journal(data: Path, *rows: Row) -> Path:
    directory = data / "router/router-0/journal"
    directory.mkdir(parents=True)
    frames = [encode(row, sequence=number, salt=7) for number, row in enumerate(rows, 1)]
    path = directory / f"{1:020}.journal"
    path.write_bytes(write_header(Header(1, 7)) + b"".join(frames))
    return path


def closed(attempt_id: str, usd_nanos: int, tokens: int, *, void: bool = False) -> AttemptClosed:
    summary = AttemptSummary(
        attempt_id=attempt_id,
        model="m",
        provider="p",
        outcome="completed",
        started_at_ns=1,
        usage=TokenUsage(input_tokens=tokens),
        cost_usd_nanos=usd_nanos,
    )
    return AttemptClosed(record_id="r", attempt=summary, resolution="void" if void else "settle")


def settled(data: Path) -> tuple[str, int, int]:
    connection = apsw.Connection(str(data / "budget/budget.db"), flags=apsw.SQLITE_OPEN_READONLY)
    row = connection.execute(
        "SELECT key, settled_usd_nanos, settled_tokens FROM entries WHERE kind = 2"
    ).get
    connection.close()
    name, nanos, tokens = next(iter(row)) if isinstance(row, list) else row
    return name, nanos, tokens


def test_a_journal_that_agrees_passes_and_what_is_owed_is_counted(harmost: Any, data: Path) -> None:
    name, nanos, tokens = settled(data)
    journal(data, closed(name, nanos, tokens), SettleAcked(attempt_id=name), closed("owed", 5, 5))
    told = harmost("ledger", "verify", str(data), "--json")
    assert (told.code, told.json["journals"], told.json["settlements_owed"]) == (0, 1, 1)


def test_settlements_that_are_acknowledged_together_are_compared_too(
    harmost: Any, data: Path
) -> None:
    name, nanos, tokens = settled(data)
    rows = (closed(name, nanos, tokens), closed("lost", 5, 5))
    journal(data, *rows, SettlesAcked(attempt_ids=(name, "lost")))
    ran = harmost("ledger", "verify", str(data), "--json")
    assert ran.code == 1
    (found,) = ran.json["findings"]
    assert "`lost`" in found["message"]


@pytest.mark.parametrize("off", [(1, 0), (0, 1)])
def test_a_journal_that_knows_another_cost_is_found(
    harmost: Any, data: Path, off: tuple[int, int]
) -> None:
    name, nanos, tokens = settled(data)
    journal(data, closed(name, nanos + off[0], tokens + off[1]), SettleAcked(attempt_id=name))
    ran = harmost("ledger", "verify", str(data))
    assert ran.code == 1
    assert f"attempt `{name}` cost {nanos + off[0]} nanodollars" in ran.out


def test_a_settlement_that_was_acknowledged_and_is_lost_is_found(harmost: Any, data: Path) -> None:
    journal(data, closed("lost", 5, 5), SettleAcked(attempt_id="lost"))
    ran = harmost("ledger", "verify", str(data))
    assert (ran.code, "attempt `lost` of" in ran.out) == (1, True)


def test_a_void_that_is_settled_is_found(harmost: Any, data: Path) -> None:
    name, *_ = settled(data)
    journal(data, closed(name, 0, 0, void=True), SettleAcked(attempt_id=name))
    ran = harmost("ledger", "verify", str(data))
    assert (ran.code, f"attempt `{name}` used nothing by" in ran.out) == (1, True)


def test_a_damaged_journal_is_named_with_its_byte(harmost: Any, data: Path) -> None:
    path = journal(data, *(closed(f"x{number}", 5, 5) for number in range(5)))
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    ran = harmost("ledger", "verify", str(data))
    assert ran.code == 1
    assert str(path) in ran.err
    assert "byte" in ran.err
