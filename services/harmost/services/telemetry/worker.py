"""The one thread in which Telemetry's store works, so that the loop never waits for the disk."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from harmost.core.errors import DeadlineExceeded, RateLimited
from harmost.services.telemetry.store import TelemetryStore

__all__ = ["Worker"]

_Answer = TypeVar("_Answer")

READS_MAX = 16  # at once: each may hold up the records that come in
READ_TIME_MAX_S = 10.0


class Worker:
    """Runs jobs on `store`, in order. A read that no one waits for any more is interrupted."""

    def __init__(self, store: TelemetryStore) -> None:
        self._store = store
        self._thread: ThreadPoolExecutor | None = None
        self._reads = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Work until the block ends; what was begun is ended."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="telemetry.store")
        try:
            yield
        finally:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown)

    async def write(self, job: Callable[[], _Answer]) -> _Answer:
        """The answer of `job`, which runs to its end even if the caller goes."""
        return await asyncio.get_running_loop().run_in_executor(self._running(), job)

    async def read(self, job: Callable[[], _Answer]) -> _Answer:
        """The answer of `job`. Raises DeadlineExceeded after READ_TIME_MAX_S, RateLimited where
        READS_MAX wait already."""
        if self._reads >= READS_MAX:
            raise RateLimited(
                f"{READS_MAX} questions are being answered: try again", retry_after_s=1.0
            )
        unwanted = threading.Event()
        self._reads += 1
        try:
            async with asyncio.timeout(READ_TIME_MAX_S):
                return await asyncio.get_running_loop().run_in_executor(
                    self._running(), self._interruptible, job, unwanted
                )
        except TimeoutError:
            raise DeadlineExceeded(
                f"the answer takes longer than {READ_TIME_MAX_S:.0f} s: ask for a shorter time "
                "or a smaller tenant"
            ) from None
        finally:
            self._reads -= 1
            unwanted.set()

    def _running(self) -> ThreadPoolExecutor:
        if self._thread is None:
            raise RuntimeError("ask the store inside `running()`")
        return self._thread

    def _interruptible(self, job: Callable[[], _Answer], unwanted: threading.Event) -> _Answer:
        self._store.wanted_until(unwanted)
        try:
            return job()
        finally:
            self._store.wanted_until(None)
