"""Facts about the journal on a real disk."""

import asyncio
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmost.core.audit.rows import Outcome, OutcomeReported, Shipped
from harmost.core.errors import InvalidInput, NotPossibleNow, ServiceUnavailable
from harmost.services.journal import journal as journal_module
from harmost.services.journal.journal import Journal


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


async def settled(condition: Any) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_rows_come_back_in_order(tmp_path: Path, rows: Any, all_rows: Any) -> None:
    expected = [row for n in range(50) for row in rows(f"m{n}")]
    async with (journal := Journal(tmp_path, "r1")).running():
        assert [journal.append(row) for row in expected] == list(range(1, 251))
    assert all_rows(tmp_path) == expected


async def test_a_journal_knows_what_is_owed_when_it_is_opened_again(
    tmp_path: Path, rows: Any
) -> None:
    async with (journal := Journal(tmp_path, "r1")).running():
        assert journal.recovered.next_sequence == 1
        for row in (*rows("done"), *rows("half")[:2], *rows("unsettled")[:3]):
            journal.append(row)
    again = Journal(tmp_path, "r1")
    found = again.recovered
    again.close()
    assert [mission.opened.record_id for mission in found.open_missions] == ["half", "unsettled"]
    assert [row.attempt_id for row in found.open_attempts] == ["half-0"]
    assert [one.closed.attempt.attempt_id for one in found.unsettled] == ["unsettled-0"]
    assert (found.shipped_sequence, found.shippable_sequence, found.next_sequence) == (0, 5, 11)


async def test_rows_of_one_loop_turn_are_written_at_once(
    tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    real = os.write
    async with (journal := Journal(tmp_path, "r1")).running():
        monkeypatch.setattr(
            os, "write", lambda fd, data: (writes.append(len(data)), real(fd, data))[1]
        )
        for row in rows("a"):
            journal.append(row)
        assert writes == []
        await journal.flush()
        assert len(writes) == 1
        monkeypatch.undo()


async def test_many_waiters_share_one_fsync(
    tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    real = os.fdatasync
    async with (journal := Journal(tmp_path, "r1", sync_interval_s=60)).running():
        await journal.sync()
        monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), real(fd))[1])

        async def one(name: str) -> None:
            journal.append(rows(name)[0])
            await journal.sync()

        await asyncio.gather(*(one(f"m{n}") for n in range(100)))
        assert len(syncs) <= 2


async def test_what_nobody_waits_for_is_synced_soon(
    tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    real = os.fdatasync
    async with (journal := Journal(tmp_path, "r1", sync_interval_s=0.02)).running():
        await journal.sync()
        monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), real(fd))[1])
        await asyncio.sleep(0.1)
        assert syncs == []  # nothing is dirty
        journal.append(rows("a")[0])
        await settled(lambda: syncs)


async def test_a_second_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    first = Journal(tmp_path, "router-7")
    with pytest.raises(NotPossibleNow, match=f"router `router-7`, process {os.getpid()}"):
        Journal(tmp_path, "router-8")
    first.close()
    Journal(tmp_path, "router-8").close()


async def test_a_slot_of_another_deployment_is_refused_and_left_as_it_is(
    tmp_path: Path, rows: Any, all_rows: Any
) -> None:
    async with (journal := Journal(tmp_path, "r1")).running():  # of no deployment yet
        journal.append(rows("a")[0])
    Journal(tmp_path, "r1", deployment="ours").close()
    with pytest.raises(InvalidInput, match="belongs to deployment `ours` and this is `theirs`"):
        Journal(tmp_path, "r1", deployment="theirs")
    assert all_rows(tmp_path) == [rows("a")[0]]
    Journal(tmp_path, "r1", deployment="ours").close()


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.journal"))


async def test_segments_roll_and_go_when_nothing_in_them_is_needed(
    tmp_path: Path, rows: Any, all_rows: Any
) -> None:
    journal = Journal(tmp_path, "r1", segment_bytes=4_000, sync_interval_s=0.01)
    async with journal.running():
        sequence = 0
        for n in range(100):
            for row in rows(f"m{n}"):
                sequence = journal.append(row)
            await journal.sync()
            assert journal.size_bytes == on_disk(tmp_path)
        assert len(segments(tmp_path)) > 5
        journal.append(Shipped(sequence=sequence))
        await settled(lambda: len(segments(tmp_path)) == 1)
        await settled(lambda: journal.size_bytes == on_disk(tmp_path))
    again = Journal(tmp_path, "r1")
    assert again.size_bytes == on_disk(tmp_path)
    assert again.recovered.next_sequence == sequence + 2
    assert again.recovered.open_missions == ()
    again.close()


async def test_an_open_mission_keeps_its_segment_and_all_after_it(
    tmp_path: Path, rows: Any
) -> None:
    journal = Journal(tmp_path, "r1", segment_bytes=4_000, sync_interval_s=0.01)
    async with journal.running():
        sequence = 0
        for n in range(60):
            for row in rows(f"m{n}")[: 1 if n == 30 else 5]:
                sequence = journal.append(row)
            await journal.sync()
        before = len(segments(tmp_path))
        journal.append(Shipped(sequence=sequence))
        await settled(lambda: len(segments(tmp_path)) < before)
        await asyncio.sleep(0.05)
    again = Journal(tmp_path, "r1")
    assert [mission.opened.record_id for mission in again.recovered.open_missions] == ["m30"]
    again.close()


async def test_a_full_journal_begins_nothing_and_ends_everything(tmp_path: Path, rows: Any) -> None:
    outcome = OutcomeReported(
        record_id="x", outcome=Outcome(name="n", score_permille=1, reported_at_ns=1)
    )
    async with (journal := Journal(tmp_path, "r1", bytes_max=20_000)).running():
        opened = 0
        with pytest.raises(ServiceUnavailable, match="maximum of 20000 bytes"):
            while True:
                journal.append(rows(f"m{opened}")[0])
                opened += 1
        with pytest.raises(ServiceUnavailable, match="cannot be written"):
            journal.check_writable()
        for row in (outcome, rows("denied")[4]):
            with pytest.raises(ServiceUnavailable):
                journal.append(row)
        for n in range(opened):
            for row in rows(f"m{n}")[1:]:
                journal.append(row)
        await journal.flush()


async def test_a_changed_byte_in_the_middle_is_refused_with_file_and_offset(
    tmp_path: Path, rows: Any
) -> None:
    async with (journal := Journal(tmp_path, "r1")).running():
        for n in range(20):
            journal.append(rows(f"m{n}")[0])
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ServiceUnavailable) as error:
        Journal(tmp_path, "r1")
    assert error.value.details["file"] == str(path)
    assert 0 < int(error.value.details["offset"]) <= len(data) // 2
    assert path.read_bytes() == data  # nothing was cut
    with pytest.raises(ServiceUnavailable):  # and the slot is free again
        Journal(tmp_path, "r1")


async def test_a_torn_tail_is_cut_and_written_over(
    tmp_path: Path, rows: Any, all_rows: Any
) -> None:
    async with (journal := Journal(tmp_path, "r1")).running():
        for row in rows("a"):
            journal.append(row)
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    async with (journal := Journal(tmp_path, "r1")).running():
        assert [m.opened.record_id for m in journal.recovered.open_missions] == ["a"]
        journal.append(rows("a")[4])
    assert all_rows(tmp_path) == rows("a")


async def test_a_torn_segment_before_the_last_is_refused(tmp_path: Path, rows: Any) -> None:
    async with (journal := Journal(tmp_path, "r1", segment_bytes=2_000)).running():
        for n in range(200):
            journal.append(rows(f"m{n}")[0])
            await journal.sync()
    first, second, *_ = segments(tmp_path)
    assert second
    first.write_bytes(first.read_bytes()[:-3])
    with pytest.raises(ServiceUnavailable, match="damaged or missing") as error:
        Journal(tmp_path, "r1")
    assert error.value.details["file"] == str(first)


async def test_a_segment_that_vanished_is_refused(tmp_path: Path, rows: Any) -> None:
    async with (journal := Journal(tmp_path, "r1", segment_bytes=2_000)).running():
        for n in range(200):
            journal.append(rows(f"m{n}")[0])
            await journal.sync()
    segments(tmp_path)[1].unlink()
    with pytest.raises(ServiceUnavailable, match="damaged or missing"):
        Journal(tmp_path, "r1")


async def test_a_segment_without_its_header_is_made_anew(tmp_path: Path, rows: Any) -> None:
    async with (journal := Journal(tmp_path, "r1")).running():
        journal.append(rows("a")[0])
    (tmp_path / f"{2:020d}.journal").write_bytes(b"hmj")
    async with (journal := Journal(tmp_path, "r1")).running():
        assert journal.append(rows("a")[4]) == 2


@pytest.fixture
def file_bytes_max() -> Iterator[Any]:
    """Sets the largest file that this process may write, and takes it back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)


async def test_a_full_disk_refuses_what_begins_and_loses_nothing(
    tmp_path: Path, rows: Any, all_rows: Any, file_bytes_max: Any
) -> None:
    begun = rows("begun")
    journal = Journal(tmp_path, "r1", sync_interval_s=0.02)
    async with journal.running():
        for row in begun[:2]:
            journal.append(row)
        await journal.flush()
        file_bytes_max(segments(tmp_path)[0].stat().st_size + 10)
        journal.append(begun[2])
        with pytest.raises(ServiceUnavailable, match="the journal cannot be written: file too"):
            await journal.flush()
        with pytest.raises(ServiceUnavailable, match="cannot be written"):
            await journal.sync()
        for row in rows("new")[:2]:
            with pytest.raises(ServiceUnavailable, match="cannot be written"):
                journal.append(row)
        for row in begun[3:]:
            journal.append(row)  # what was begun may end: it waits in memory
        file_bytes_max(None)
        await settled(lambda: journal.shippable_sequence == 5)
        journal.check_writable()
        await journal.sync()
    assert all_rows(tmp_path) == begun


async def test_the_buffer_is_bounded_while_the_disk_is_full(
    tmp_path: Path, rows: Any, file_bytes_max: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BUFFER_BYTES_MAX", 10_000)
    async with (journal := Journal(tmp_path, "r1", sync_interval_s=60)).running():
        journal.append(rows("a")[0])
        await journal.flush()
        file_bytes_max(1)
        taken = 0
        with pytest.raises(ServiceUnavailable):
            while True:
                journal.append(rows("a")[2])
                await asyncio.sleep(0)
                taken += 1
        assert 0 < taken * 50 < 11_000
        file_bytes_max(None)


async def test_a_disk_that_cannot_sync_stops_the_journal_for_good(
    tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    async with (journal := Journal(tmp_path, "r1")).running():
        monkeypatch.setattr(os, "fdatasync", fail)
        journal.append(rows("a")[0])
        with pytest.raises(ServiceUnavailable, match="start the router again"):
            await journal.sync()
        monkeypatch.undo()
        with pytest.raises(ServiceUnavailable, match="start the router again"):
            journal.append(rows("a")[4])


async def test_rows_that_wait_while_a_segment_is_made_are_synced_before_their_waiter_goes_on(
    tmp_path: Path, rows: Any, all_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[tuple[int, Any]] = []
    synced = 0
    real = os.fdatasync
    journal = Journal(tmp_path, "r1", segment_bytes=500)

    def sync(fd: int) -> None:
        nonlocal synced
        written = journal._written_sequence
        real(fd)
        synced = written

    monkeypatch.setattr(os, "fdatasync", sync)
    async with journal.running():

        async def one(name: str) -> None:
            for before, row in zip(rows(f"{name}-before"), rows(name), strict=True):
                expected.append((journal.append(before), before))
                await journal.flush()
                sequence = journal.append(row)  # may find that the segment is full
                expected.append((sequence, row))
                await journal.sync()
                assert synced >= sequence

        await asyncio.gather(*(one(f"m{n}") for n in range(20)))
    assert all_rows(tmp_path) == [row for _, row in sorted(expected, key=lambda item: item[0])]


async def test_cancelled_while_a_segment_is_made_the_journal_stays_whole(
    tmp_path: Path, rows: Any, all_rows: Any
) -> None:
    count = 0
    for turn in range(12):
        journal = Journal(tmp_path, "r1", segment_bytes=300)
        async with journal.running():
            for n in range(turn):
                journal.append(rows(f"m{turn}-{n}")[0])
                count += 1
                await asyncio.sleep(0)
    assert len(all_rows(tmp_path)) == count


async def test_nothing_is_deleted_while_the_row_that_frees_it_is_not_written(
    tmp_path: Path, rows: Any, file_bytes_max: Any
) -> None:
    journal = Journal(tmp_path, "r1", segment_bytes=2_000, sync_interval_s=60)
    async with journal.running():
        for n in range(100):
            journal.append(rows(f"m{n}")[0])
            await journal.sync()
        journal.append(rows("last")[0])
        await journal.flush()
        kept = segments(tmp_path)
        file_bytes_max(1)
        sequence = 0
        for name in (*(f"m{n}" for n in range(100)), "last"):
            sequence = journal.append(rows(name)[4])
        journal.append(Shipped(sequence=sequence))
        with pytest.raises(ServiceUnavailable):
            await journal.sync()
        assert segments(tmp_path) == kept
        file_bytes_max(None)
        await journal.sync()
        await settled(lambda: kept[0] not in segments(tmp_path))
