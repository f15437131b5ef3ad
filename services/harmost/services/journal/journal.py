"""One Router's journal: takes rows on the hot path, writes them once a loop turn, syncs in groups.

`append` never waits. `flush` returns when what was appended survives the death of the process,
`sync` when it survives the death of the machine. What the disk does not take waits in a bounded
buffer; while it waits, nothing new is begun.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from harmost.core.audit.framing import encode
from harmost.core.audit.recovery import Owed, Recovered
from harmost.core.audit.rows import (
    AttemptGrown,
    AttemptOpened,
    MissionOpened,
    MissionRecorded,
    OutcomeReported,
    Row,
)
from harmost.core.errors import ServiceUnavailable
from harmost.services.journal.reader import Reader
from harmost.services.journal.segments import (
    Segment,
    Slot,
    check_contiguous,
    create,
    open_segments,
    reopen,
)

__all__ = ["Journal"]

log = logging.getLogger(__name__)

# A restart reads at least the last one whole: this much is read in about a second.
SEGMENT_BYTES = 16 * 1024 * 1024
# Some two million calls: a day at 20 calls a second with Telemetry down.
JOURNAL_BYTES_MAX = 1024 * 1024 * 1024
# Rows that the disk has not taken. Past the first, nothing is begun; past the second, nothing ends.
BUFFER_BYTES_TO_BEGIN = 4 * 1024 * 1024
BUFFER_BYTES_MAX = 32 * 1024 * 1024
SYNC_INTERVAL_S = 1.0


class Journal:
    """The journal in `directory`. Made, it holds the slot and `recovered`; running, it takes rows.

    It belongs to `deployment` ("": whichever). Blocks while it is made: O(bytes that are kept).
    Raises NotPossibleNow where another process has the slot, InvalidInput where another deployment
    has it, ServiceUnavailable naming file and offset where a file is damaged.
    """

    def __init__(
        self,
        directory: Path,
        router_id: str,
        *,
        deployment: str = "",
        segment_bytes: int = SEGMENT_BYTES,
        bytes_max: int = JOURNAL_BYTES_MAX,
        sync_interval_s: float = SYNC_INTERVAL_S,
    ) -> None:
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._bytes_max = bytes_max
        self._sync_interval_s = sync_interval_s
        self._owed = Owed()
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0
        self._written_sequence = 0
        self._next_sequence = 1
        self._write_scheduled = False
        self._rolling = False  # the next segment is being made; nothing is written meanwhile
        self._rolled: tuple[Segment, int] | None = None  # made, not yet written to
        self._failure = ""  # why the last write failed; empty: it did not
        self._broken = ""  # why nothing can be trusted any more
        self._dirty = True  # what the process before wrote may not be on the disk
        self._flushes: list[asyncio.Future[None]] = []
        self._syncs: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slot = Slot(directory, router_id=router_id, deployment=deployment)
        try:
            self._segments, self._fd = self._recover()
        except BaseException:
            self._slot.close()
            raise
        self._closed_bytes = sum(segment.end for segment in self._segments[:-1])
        self._room_bytes = 0
        self._measure_room()
        self.recovered: Recovered = self._owed.recovered(next_sequence=self._next_sequence)

    @property
    def shippable_sequence(self) -> int:
        """The last record or outcome that is written. 0: none since the journal began."""
        return min(self._owed.shippable_sequence, self._written_sequence)

    @property
    def shipped_sequence(self) -> int:
        """Telemetry has every record and outcome up to and with this row."""
        return self._owed.shipped_sequence

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk and in the buffer."""
        return self._closed_bytes + self._segments[-1].end + self._buffer_bytes

    def append(self, row: Row) -> int:
        """Take `row`, to be written at the end of this loop turn; its number. Never waits.

        Raises ServiceUnavailable, and takes nothing, where the journal is broken, or cannot be
        written or is full and `row` would begin something. An opened mission or attempt that was
        taken must be closed, whatever `flush` says: closing rows are taken while memory lasts.
        """
        if self._loop is None:
            raise RuntimeError("append a row inside `journal.running()`")
        if self._buffer_bytes >= self._room_bytes or self._broken or self._failure:  # seldom
            self._check_takes(row)
        sequence = self._next_sequence
        data = encode(row, sequence=sequence, salt=self._segments[-1].salt)
        self._owed.apply(sequence, row)
        self._next_sequence = sequence + 1
        self._buffer.append(data)
        self._buffer_bytes += len(data)
        if not self._write_scheduled:
            self._write_scheduled = True
            self._loop.call_soon(self._write)
        return sequence

    async def flush(self) -> None:
        """Return once every row appended so far is written: it survives kill -9 of the process.

        Raises ServiceUnavailable where it cannot be written; the rows are kept and tried again.
        """
        if self._written_sequence + 1 < self._next_sequence:
            await self._wait(self._flushes)

    async def sync(self) -> None:
        """Return once every row appended so far is on the disk; callers share one fsync.

        Raises ServiceUnavailable as `flush` does.
        """
        self._wake.set()
        await self._wait(self._syncs)

    def check_writable(self) -> None:
        """Raise ServiceUnavailable where a new mission would be refused."""
        why = self._broken or self._failure or self._fullness()
        if why:
            raise _unwritable(why)

    def reader(self, *, after: int) -> Reader:
        """A reader of written rows, from the one after `after` on."""
        return Reader(self._segments, after=after)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Take rows until the block ends; then write and sync what is left and free the slot."""
        self._loop = loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="journal") as thread:
            try:
                async with asyncio.TaskGroup() as tasks:
                    syncer = tasks.create_task(self._sync_forever(thread), name="journal.sync")
                    try:
                        yield
                    finally:
                        syncer.cancel()
            finally:
                self._loop = None
                await asyncio.shield(self._end(loop, thread))

    def close(self) -> None:
        """Free the slot of a journal that was never run."""
        if self._loop is None and self._fd >= 0:
            self._close()

    async def _end(self, loop: asyncio.AbstractEventLoop, thread: ThreadPoolExecutor) -> None:
        # The thread is one: the first job ends after whatever was under way.
        await loop.run_in_executor(thread, self.directory.exists)
        self._adopt()
        self._write()
        await loop.run_in_executor(thread, self._close)
        self._answer_all()

    # What is taken.

    def _check_takes(self, row: Row) -> None:
        why = self._broken
        if not why and self._buffer_bytes >= BUFFER_BYTES_MAX:
            why = self._failure or f"{self._buffer_bytes} bytes wait to be written"
        if not why and self._begins(row):
            why = self._failure or self._fullness()
        if not why and isinstance(row, AttemptOpened | AttemptGrown):
            why = self._failure
        if why:
            raise _unwritable(why)

    def _measure_room(self) -> None:
        # How much may wait in the buffer before any row might have to be refused for want of room.
        on_disk = self._closed_bytes + self._segments[-1].end
        self._room_bytes = min(BUFFER_BYTES_TO_BEGIN, self._bytes_max - on_disk)

    def _begins(self, row: Row) -> bool:
        # Rows that end nothing that is open: what they add to the disk nobody waits for.
        if isinstance(row, MissionRecorded):
            return not self._owed.is_open(row.record_id)
        return isinstance(row, MissionOpened | OutcomeReported)

    def _fullness(self) -> str:
        if self.size_bytes >= self._bytes_max:
            return (
                f"it has reached its maximum of {self._bytes_max} bytes, "
                "most likely because records cannot be shipped: check the telemetry service"
            )
        if self._buffer_bytes >= BUFFER_BYTES_TO_BEGIN:
            return f"{self._buffer_bytes} bytes wait to be written"
        return ""

    # Writing: on the loop, into the page cache.

    def _write(self) -> None:
        self._write_scheduled = False
        if self._rolling or self._broken or not self._buffer:
            return
        segment = self._segments[-1]
        data = b"".join(self._buffer)
        try:
            _write_whole(self._fd, data)
        except OSError as error:
            self._take_back(segment, error)
            _answer(self._flushes, _unwritable(self._failure))
            return
        if self._failure:
            log.warning("the journal is written again after: %s", self._failure)
        self._failure = ""
        self._dirty = True
        segment.end += len(data)
        segment.next_sequence = self._next_sequence
        self._written_sequence = self._next_sequence - 1
        self._buffer.clear()
        self._buffer_bytes = 0
        self._measure_room()
        _answer(self._flushes)
        if segment.end >= self._segment_bytes:
            self._rolling = True
            self._wake.set()

    def _take_back(self, segment: Segment, error: OSError) -> None:
        # A part of the rows may stand in the file: cut it, so that it always ends with a whole row.
        if not self._failure:
            log.error("the journal cannot be written: %s", error)
        self._failure = _cause(error)
        try:
            os.ftruncate(self._fd, segment.end)
        except OSError as worse:
            self._break(f"after a failed write ({_cause(error)}) it cannot be cut: {_cause(worse)}")

    def _break(self, why: str) -> None:
        log.critical("the journal is broken until the router is started again: %s", why)
        self._broken = f"{why}: start the router again"
        self._answer_all()

    def _answer_all(self) -> None:
        error = _unwritable(self._broken or self._failure) if self._unwritten() else None
        _answer(self._flushes, error)
        _answer(self._syncs, error)

    def _unwritten(self) -> bool:
        return bool(self._broken or self._failure or self._buffer)

    async def _wait(self, waiters: list[asyncio.Future[None]]) -> None:
        if self._loop is None:
            raise RuntimeError("wait inside `journal.running()`")
        if self._broken:
            raise _unwritable(self._broken)
        waiter = self._loop.create_future()
        waiters.append(waiter)
        await waiter

    # Syncing, rolling and deleting: in the thread.

    async def _sync_forever(self, thread: ThreadPoolExecutor) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._sync_interval_s):
                    await self._wake.wait()
            self._wake.clear()
            await self._sync_once(thread)

    async def _sync_once(self, thread: ThreadPoolExecutor) -> None:
        self._write()
        if self._broken:
            return
        if self._rolling and self._buffer:
            # These rows go into the next segment: whoever waits for them waits for another turn.
            self._wake.set()
            await self._sync_written(thread)
            return
        waiters, self._syncs = self._syncs, []
        try:
            await self._sync_written(thread)
        except asyncio.CancelledError:
            self._syncs += waiters  # answered after the last sync
            raise
        why = self._broken or self._failure
        _answer(waiters, _unwritable(why) if why else None)

    async def _sync_written(self, thread: ThreadPoolExecutor) -> None:
        if not self._dirty and not self._rolling:
            return
        loop = asyncio.get_running_loop()
        # Read before the sync: what it names is then on the disk with everything that followed it.
        unneeded = self._unneeded()
        self._dirty = False
        try:
            await loop.run_in_executor(thread, os.fdatasync, self._fd)
        except OSError as error:
            # The kernel may have dropped the pages and forgotten the error: do not ask again.
            self._break(f"it cannot be synced: {_cause(error)}")
            return
        if self._rolling:
            await self._roll(thread)
        await self._delete(thread, unneeded)

    async def _roll(self, thread: ThreadPoolExecutor) -> None:
        # INVARIANT: nothing is written while _rolling, so a segment is on the disk before the next.
        def make() -> None:
            first = self._written_sequence + 1
            salt = self._segments[-1].salt
            self._rolled = create(self.directory, first_sequence=first, salt=salt)

        try:
            await asyncio.get_running_loop().run_in_executor(thread, make)
        except OSError as error:
            log.warning("the journal goes on in its old file: %s", error)
        self._adopt()
        self._write()

    def _adopt(self) -> None:
        if self._rolled is not None:
            os.close(self._fd)
            segment, self._fd = self._rolled
            self._closed_bytes += self._segments[-1].end
            self._segments.append(segment)
            self._measure_room()
            self._rolled = None
        self._rolling = False

    def _unneeded(self) -> int:
        # Every row below this number is closed, settled and shipped, and the rows that say so are
        # written. 0: rows wait to be written, so nothing is known.
        if self._buffer:
            return 0
        oldest = self._owed.oldest_sequence()
        return self._next_sequence if oldest is None else oldest

    async def _delete(self, thread: ThreadPoolExecutor, unneeded: int) -> None:
        loop = asyncio.get_running_loop()
        while len(self._segments) > 1 and self._segments[0].next_sequence <= unneeded:
            try:
                await loop.run_in_executor(thread, self._segments[0].path.unlink)
            except OSError as error:
                log.warning("a journal file that is no longer needed stays: %s", error)
                return
            self._closed_bytes -= self._segments[0].end
            del self._segments[0]
            self._measure_room()

    # Opening and closing: blocking, before and after the loop's work.

    def _recover(self) -> tuple[list[Segment], int]:
        segments = open_segments(self.directory)
        for segment in segments:
            for frame in segment.recover():
                self._owed.apply(frame.sequence, frame.row)
        check_contiguous(segments)
        if segments:
            self._next_sequence = segments[-1].next_sequence
            fd = reopen(segments[-1])
        else:
            first, fd = create(self.directory, first_sequence=1, salt=secrets.randbits(32))
            segments = [first]
        self._written_sequence = self._next_sequence - 1
        return segments, fd

    def _close(self) -> None:
        if not self._broken:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._broken = f"it cannot be synced: {_cause(error)}"
        os.close(self._fd)
        self._fd = -1
        self._slot.close()


def _write_whole(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _answer(waiters: list[asyncio.Future[None]], error: Exception | None = None) -> None:
    for waiter in waiters:
        if waiter.done():  # its caller was cancelled
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
    waiters.clear()


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _unwritable(why: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"the journal cannot be written: {why}")
