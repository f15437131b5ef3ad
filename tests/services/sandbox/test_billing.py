"""The books stay right when the process does not."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmost.services.sandbox import billing
from harmost.services.sandbox.billing import Bill, BillingLog, BooksClosed, EndRow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "billing.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[BillingLog]:
    log = BillingLog(path)
    yield log
    log.close()


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ended(log: BillingLog, attempt_id: str) -> EndRow:
    row = log.lookup(attempt_id)
    assert isinstance(row, EndRow)
    return row


def test_an_attempt_is_an_open_and_an_end_row(log: BillingLog, path: Path) -> None:
    bill = log.open("a", model="sandbox-small", input_tokens=10)
    assert [row["row"] for row in rows(path)] == ["open"]
    bill.written(3)
    bill.end("complete")
    assert [row["row"] for row in rows(path)] == ["open", "end"]
    assert ended(log, "a").output_tokens == 3
    assert ended(log, "a").cost_usd_nanos == 10 * 150 + 3 * 600


def test_what_is_open_shows_what_is_written(log: BillingLog) -> None:
    bill = log.open("a", model="m", input_tokens=1)
    bill.written(7)
    found = log.lookup("a")
    assert isinstance(found, Bill)
    assert found.output_tokens == 7


def test_a_restart_closes_open_attempts_at_what_was_written(path: Path) -> None:
    log = BillingLog(path)
    for n in range(5):
        log.open(f"a{n}", model="m", input_tokens=n).written(n * 10)
    log.open("done", model="m", input_tokens=1).end("complete")
    log.close()  # as kill -9 does: nothing is written
    again = BillingLog(path)
    for n in range(5):
        row = ended(again, f"a{n}")
        assert (row.status, row.input_tokens, row.output_tokens) == ("killed", n, n * 10)
    assert ended(again, "done").status == "complete"
    again.close()
    third = BillingLog(path)
    assert len([row for row in rows(path) if row["row"] == "end"]) == 6
    third.close()


def test_a_slot_is_counted_from_nothing_again(log: BillingLog) -> None:
    first = log.open("a", model="m", input_tokens=1)
    first.written(9)
    first.end("complete")
    second = log.open("b", model="m", input_tokens=1)
    assert second.row.slot == first.row.slot
    assert second.output_tokens == 0


def test_a_torn_last_row_is_cut_off(path: Path) -> None:
    log = BillingLog(path)
    log.open("a", model="m", input_tokens=1).end("complete")
    log.close()
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"row":"open","attempt_id":"b"')
    again = BillingLog(path)
    assert path.stat().st_size == size
    again.open("b", model="m", input_tokens=1).end("complete")
    assert [row["attempt_id"] for row in rows(path)] == ["a", "a", "b", "b"]
    again.close()


def test_two_processes_do_not_share_the_books(log: BillingLog, path: Path) -> None:
    with pytest.raises(BooksClosed, match="another process writes"):
        BillingLog(path)


def test_an_id_is_used_once(log: BillingLog) -> None:
    log.open("a", model="m", input_tokens=1)
    with pytest.raises(BooksClosed, match="`a` was made before: use an id once"):
        log.open("a", model="m", input_tokens=1)
    log.failed("b", model="m", http_status=500)
    with pytest.raises(BooksClosed):
        log.failed("b", model="m", http_status=500)


def test_who_hears_that_an_attempt_is_unknown_may_rely_on_it(log: BillingLog) -> None:
    assert log.lookup("a") is None
    with pytest.raises(BooksClosed, match="`a` was asked for before it came: it is void"):
        log.open("a", model="m", input_tokens=1)


def test_full_books_take_no_more(log: BillingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "ATTEMPTS_MAX", 2)
    log.failed("a", model="m", http_status=500)
    bill = log.open("b", model="m", input_tokens=1)
    with pytest.raises(BooksClosed, match="the books are full"):
        log.open("c", model="m", input_tokens=1)
    bill.end("complete")


def test_a_row_that_the_disk_refuses_leaves_no_half_of_it(
    log: BillingLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(fd: int, data: bytes, offset: int) -> int:
        return write(fd, data[: len(data) // 2], offset)

    log.open("a", model="m", input_tokens=1)
    write = os.pwrite
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", half)
        with pytest.raises(OSError, match="half a row"):
            log.open("b", model="m", input_tokens=1)
    log.open("c", model="m", input_tokens=1)
    assert [row["attempt_id"] for row in rows(path)] == ["a", "c"]


def test_pages_cover_the_file_without_a_gap(
    log: BillingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(billing, "_PAGE_BYTES", 700)
    for n in range(40):
        log.open(f"a{n}", model="m", input_tokens=1).end("complete")
    seen: list[str] = []
    since, more = 0, True
    while more:
        page, since, more = log.page(since)
        seen += [json.loads(row)["attempt_id"] for row in page]
    assert seen == [f"a{n}" for n in range(40)]
    assert log.page(since) == ([], since, False)
    with pytest.raises(ValueError, match="no page begins at"):
        log.page(since + 1)
