"""A profile with `audit: required`: nothing is sent before its open row is on the disk."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attempt_stage import Stage

from harmost.core.audit.rows import MissionOpened
from harmost.core.errors import ServiceUnavailable
from harmost.services.journal.journal import Journal

OPENED = MissionOpened(
    record_id="m", tenant="acme", profile="p", principal="x", router_id="r", started_at_ns=1
)


class SlowDisk:
    """An fdatasync that ends when it is let, or fails."""

    def __init__(self) -> None:
        self.lets = threading.Event()
        self.error: OSError | None = None
        self._real = os.fdatasync

    def __call__(self, fd: int) -> None:
        assert self.lets.wait(10)
        if self.error is not None:
            raise self.error
        self._real(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    made = SlowDisk()
    monkeypatch.setattr(os, "fdatasync", made)
    yield made
    made.lets.set()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_nothing_is_sent_before_the_open_row_is_on_the_disk(
    tmp_path: Path, disk: SlowDisk
) -> None:
    async with (journal := Journal(tmp_path, "r")).running():
        journal.append(OPENED)
        stage = Stage(journal, fsync_first=True)
        await stage.attempt.reserve()
        task = asyncio.create_task(stage.attempt.relay(stage.ear, keep_text=False))
        await turns()
        assert stage.upstream.sink is None
        disk.lets.set()
        async with asyncio.timeout(10):
            while stage.upstream.sink is None:
                await asyncio.sleep(0.005)
        task.cancel()


async def test_a_call_that_need_not_be_audited_does_not_wait_for_the_disk(
    tmp_path: Path, disk: SlowDisk
) -> None:
    async with (journal := Journal(tmp_path, "r")).running():
        journal.append(OPENED)
        stage = Stage(journal)
        async with asyncio.timeout(10):
            task = await stage.begun()
        assert not disk.lets.is_set()
        task.cancel()
        disk.lets.set()


async def test_where_the_row_cannot_be_kept_nothing_is_sent_and_the_caller_is_told(
    tmp_path: Path, disk: SlowDisk
) -> None:
    disk.error = OSError(errno.EIO, "broken")
    async with (journal := Journal(tmp_path, "r")).running():
        journal.append(OPENED)
        stage = Stage(journal, fsync_first=True)
        await stage.attempt.reserve()
        disk.lets.set()
        with pytest.raises(ServiceUnavailable, match="journal"):
            await stage.attempt.relay(stage.ear, keep_text=False)
        assert stage.upstream.sink is None
        with pytest.raises(ServiceUnavailable):
            journal.append(OPENED)  # and no other call begins
