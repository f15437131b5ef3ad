"""Runs work on the accounts, many callers to one commit, on the one thread that owns the ledger.

While a commit waits for the disk the next group gathers, so a lone caller waits for one sync and a
thousand share one. Nothing is answered before it is durable.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import apsw

from harmost.core.budget.lease import Push
from harmost.core.budget.nodes import BudgetLimits
from harmost.core.errors import HarmostError, RateLimited, ServiceUnavailable
from harmost.services.budget.accounts import Accounts
from harmost.services.budget.ledger import Ledger
from harmost.services.budget.ledger_file import LedgerFile

__all__ = ["BudgetStore", "Work"]

log = logging.getLogger(__name__)

# One commit's worth: at 15 us a row a full group delays its first caller by 4 ms.
GROUP_MAX = 256
# Waiting callers; beyond it a caller is told at once rather than after its deadline.
QUEUE_MAX = 8_192
# After the disk refused, the next group waits so long: a full disk is not helped by haste.
PAUSE_AFTER_FAILURE_S = 0.05

T = TypeVar("T")
Work = Callable[[Accounts, int], T]
"""What is done with the accounts at a time in nanoseconds since 1970."""


class _Job(NamedTuple):
    work: Work[Any]
    answer: asyncio.Future[Any]


class BudgetStore:
    """A ledger. `limits` is swapped whole; None until the first snapshot.

    `on_pushes` is called on the event loop with what Routers are to be told, after each commit that
    gives a reason.
    """

    def __init__(
        self,
        path: Path,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        deployment: str = "",
        ledger: Ledger | None = None,
    ) -> None:
        """Open the file, or take `ledger` instead.

        Raises NotPossibleNow naming the file where it is damaged, does not add up or belongs to
        another deployment.
        """
        self.limits: BudgetLimits | None = None
        self.on_pushes: Callable[[tuple[Push, ...]], None] = lambda _: None
        self._file = ledger or LedgerFile(path, deployment=deployment)
        self._now_ns = now_ns
        self._clock_ns = clock_ns
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0  # jobs in the queue or at work; touched by the event loop only
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accounts: Accounts | None = None  # touched by the writer only
        self._writer = threading.Thread(target=self._write_forever, name="budget.writer")

    def close(self) -> None:
        """Let the file go, once what has begun is written."""
        if self._writer.is_alive():
            self._writer.join()
        self._file.close()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Write until the block ends, once; what was asked until then is still answered."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        try:
            yield
        finally:
            self._loop = None
            self._queue.put(None)
            await asyncio.to_thread(self._writer.join)

    async def run(self, work: Work[T]) -> T:
        """What `work` returns or raises, once everything that it wrote is on disk.

        RateLimited when too many wait, ServiceUnavailable when the disk refuses: then nothing of it
        happened, or it will be found under the same idempotency key.
        """
        if self._loop is None:
            raise ServiceUnavailable("the ledger is closed: the service is stopping")
        if self._waiting >= QUEUE_MAX:
            raise RateLimited(f"`{QUEUE_MAX}` calls wait for the ledger already", retry_after_s=0.5)
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Job(work, answer))
        return await answer

    def _write_forever(self) -> None:
        running = True
        while running:
            jobs, running = self._next_group()
            if jobs:
                self._run(jobs)

    def _next_group(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == GROUP_MAX:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _run(self, jobs: Sequence[_Job]) -> None:
        try:
            answers, pushes = self._commit(jobs)
        except (apsw.Error, OSError) as error:
            log.error("the ledger %s cannot be written: %s", self._file.name, error)
            answers, pushes = [_refusal(error) for _ in jobs], ()
            time.sleep(PAUSE_AFTER_FAILURE_S)
        except Exception as error:  # the root of this thread
            if len(jobs) > 1:  # one of them is ill: the others must not fall with it
                for job in jobs:
                    self._run([job])
                return
            log.error("unexpected error in the ledger", exc_info=error)
            answers, pushes = [HarmostError("internal error: the server's log says more")], ()
        jobs[0].answer.get_loop().call_soon_threadsafe(self._answer, jobs, answers, pushes)

    def _commit(self, jobs: Sequence[_Job]) -> tuple[list[Any], tuple[Push, ...]]:
        # INVARIANT: accounts that may differ from the file are dropped, never mended.
        accounts, self._accounts = self._accounts, None
        try:
            self._file.roll_back()  # what an earlier failure may have left
            accounts = accounts or Accounts(
                self._file, now_ns=self._now_ns(), clock_ns=self._clock_ns
            )
            accounts.use(self.limits)
            self._file.begin()
            answers = [self._do(job, accounts) for job in jobs]
            accounts.save()
            self._file.commit()
        except BaseException:
            self._file.roll_back()
            raise
        accounts.tidy(self._now_ns())
        self._accounts = accounts
        return answers, accounts.leases.pushes()

    def _do(self, job: _Job, accounts: Accounts) -> Any:
        if job.answer.cancelled():
            return None  # who has gone takes no hold; who goes later finds it by its attempt id
        try:
            return job.work(accounts, self._now_ns())
        except HarmostError as error:
            return error

    def _answer(
        self, jobs: Sequence[_Job], answers: Sequence[Any], pushes: tuple[Push, ...]
    ) -> None:
        self._waiting -= len(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            if job.answer.done():
                continue  # cancelled meanwhile
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)
        if pushes:
            self.on_pushes(pushes)


def _refusal(error: Exception) -> ServiceUnavailable:
    # The log names the file; a caller has no use for its place.
    if isinstance(error, apsw.FullError):
        return ServiceUnavailable("the ledger's disk is full: free some space")
    return ServiceUnavailable(f"the ledger cannot be written: {error}: check its disk")
