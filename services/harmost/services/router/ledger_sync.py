"""Talks to the Budget service about leases: registers, tells, hears. Decides nothing about money.

One message is under way at a time; it is sent again, unchanged, until it is answered. An epoch that
ends (another process took the name, or the ledger is a restored one) goes on as evidence for the next.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import grpc

from harmost.budget.v1 import budget_pb2 as pb
from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.audit.recovery import Unsettled
from harmost.core.audit.rows import SettlesAcked
from harmost.core.budget.lease import Amounts, Evidence, Posting
from harmost.core.budget.leases import POSTINGS_MAX, LeaseBook
from harmost.core.budget.ledger import Hold
from harmost.core.budget.nodes import Amount, BudgetLimits
from harmost.core.budget.rated_book import RatedBook
from harmost.core.errors import HarmostError, InvalidInput, NotFound
from harmost.services.interceptors.errors import error_of
from harmost.services.journal.journal import Journal
from harmost.services.router.epochs import Epochs
from harmost.services.router.lease_convert import (
    answer_of,
    closed_attempt,
    pushes_of,
    request_to_proto,
    told_of_row,
)

__all__ = ["LedgerSync"]

log = logging.getLogger(__name__)

LOOK_S = 0.1  # how often it is asked whether there is something to tell
OUTBOX_MAX = 100_000  # settlements that the ledger has yet to take; then nothing new is admitted
ANSWER_TIMEOUT_S = 2.0  # then the connection is given up, and the message sent on another
BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0
FAREWELL_S = 3.0
FENCED_AGAIN_S = 60.0  # an epoch that ends so soon after another is not the first to be blamed
ENDED_MAX = 10_000  # records of one message


class _Proof(NamedTuple):
    """Evidence to be told. The last one of an epoch that is `whole` ends it."""

    evidence: Evidence
    whole: bool
    last: bool


class LedgerSync:
    """One slot's side of SyncLeases. `book` is None before the first epoch begins."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        metadata: tuple[tuple[str, str], ...],
        journal: Journal,
        epochs: Epochs,
        router: str,
    ) -> None:
        self.stub = budget_pb2_grpc.BudgetServiceStub(channel)
        self.metadata = metadata
        self.router = router
        self.book: RatedBook | None = None
        self.connected = False  # and answered, as far as is known
        self.cut_off = False  # tried, and found not to answer
        self.messages = 0
        self._journal = journal
        self._epochs = epochs
        self._earlier = tuple(epochs.left)
        self._limits: BudgetLimits | None = None
        self._closed: dict[str, pb.ClosedAttempt] = {}  # until the ledger has them
        self._loose: deque[str] = deque()  # of these: those that no lease paid for
        self._proofs: deque[_Proof] = deque()  # the first is under way, if any is
        self._over: list[LeaseBook] = []  # fenced, and not yet told in full
        self._ended: dict[str, None] = {}
        self._released: dict[str, None] = {}
        self._message: pb.SyncLeasesRequest | None = None  # under way
        self._loose_told: list[str] = []  # by it
        self._fenced_at_s = -FENCED_AGAIN_S
        self._pause_s = 0.0  # before the next epoch
        self._register_at_s = 0.0
        self._sent_s = 0.0  # on this connection; 0: nothing waits for an answer
        self._waiters: dict[asyncio.Future[None], int] = {}  # sequences waited for
        self._ended_waiters: dict[str, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()

    @property
    def epoch(self) -> int:
        """The epoch of `book`; 0: none."""
        return self.book.epoch if self.book is not None else 0

    @property
    def owed(self) -> int:
        """Attempts and proofs that the ledger has yet to take."""
        return len(self._closed) + len(self._proofs)

    @property
    def full(self) -> bool:
        """Too much waits for the ledger: nothing new should be admitted."""
        return len(self._closed) >= OUTBOX_MAX

    def use(self, limits: BudgetLimits) -> None:
        """From now on `limits` hold."""
        self._limits = limits
        if self.book is not None:
            self.book.use(limits)

    def close(
        self,
        attempt_id: str,
        hold: Hold,
        book: LeaseBook | None,
        used: Amounts | None,
        closed: pb.ClosedAttempt,
    ) -> None:
        """Post an attempt to the book that it was held in, and tell the ledger."""
        self._closed[attempt_id] = closed
        if book is None:  # held at its mission's own ceiling, if at any
            usd_nanos, tokens, requests = used or Amounts()
            hold.settle(usd_nanos=usd_nanos, tokens=tokens, requests=requests)
            self._loose.append(attempt_id)
        elif used is None:
            book.void(attempt_id, hold)
        else:
            book.settle(attempt_id, hold, used)

    def recover(self, ended: Iterable[Unsettled]) -> None:
        """Tell the ledger what the journal knows of epochs before."""
        by_epoch: dict[int, list[Posting]] = {epoch: [] for epoch in self._earlier}
        for closed, opened in ended:
            attempt = closed.attempt
            if opened is None:
                log.error("attempt `%s` cannot be told: its row is gone", attempt.attempt_id)
                continue
            amount = Amount(
                attempt.cost_usd_nanos, attempt.usage.total_tokens, opened.price is None
            )
            self._closed[attempt.attempt_id] = closed_attempt(
                attempt.attempt_id,
                told_of_row(opened),
                held=Amount(opened.held_usd_nanos, opened.held_tokens, opened.price is None),
                amount=None if closed.resolution == "void" else amount,
                usage=None if closed.resolution == "void" else attempt.usage,
                counters=opened.counters,
            )
            if opened.epoch:
                nothing = Amounts()  # what it held and used stands in what is told of it
                posting = Posting(attempt.attempt_id, opened.counters, nothing, nothing)
                by_epoch.setdefault(opened.epoch, []).append(posting)
            else:
                self._loose.append(attempt.attempt_id)
        for epoch, postings in sorted(by_epoch.items()):
            self._queue_proofs(epoch, postings, whole=epoch in self._epochs.whole)

    async def answered(self, sequence: int) -> None:
        """Return once the message `sequence` of this epoch is answered, or the epoch ends."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = sequence
        self._wake.set()
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)  # whoever is cut waits no more

    def hasten(self) -> None:
        """Send the next message now, if there is something to say."""
        self._wake.set()

    async def ended(self, record_id: str, *, timeout_s: float) -> None:
        """Tell that the call of a record has ended; return once that is known, or after a while."""
        self._ended[record_id] = None
        waiter = self._ended_waiters[record_id] = asyncio.get_running_loop().create_future()
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            log.debug("the end of record `%s` is told later", record_id)
        finally:
            self._ended_waiters.pop(record_id, None)

    def release(self, record_id: str) -> None:
        """Tell that the call of a record is never made, though its key may have been claimed."""
        if len(self._released) < ENDED_MAX:  # the others are free when their Router's epoch ends
            self._released[record_id] = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep in touch until the block ends; then give everything back."""
        async with asyncio.TaskGroup() as tasks:
            talker = tasks.create_task(self._talk_forever(), name="router.ledger")
            try:
                yield
            finally:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(self._farewell()), FAREWELL_S)
                talker.cancel()

    async def _farewell(self) -> None:
        if self.book is not None:
            self.book.leave()
        while self.connected and self.book is not None:
            told = not self.book.wants_message(time.monotonic_ns())
            if not self.owed and self._message is None and told and not self._lent():
                return
            for lease in self.book.every_lease():
                lease.recalled = lease.counter.available > 0
            self._wake.set()
            await asyncio.sleep(LOOK_S / 4)

    def _lent(self) -> bool:
        leases = self.book.every_lease() if self.book is not None else ()
        return any(lease.granted and lease.counter.available > 0 for lease in leases)

    # --- The connection -------------------------------------------------------------------------------

    async def _talk_forever(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            try:
                await self._talk()
            except (grpc.RpcError, asyncio.InvalidStateError, TimeoutError) as error:
                self._lost(error)
            except HarmostError as error:
                log.error("the ledger cannot be kept in touch with: %s", error)
            except Exception:  # the root of this task: without it no settlement is told
                log.exception("talking to the ledger failed")
            backoff_s = BACKOFF_MIN_S if self.connected else min(backoff_s * 2, BACKOFF_MAX_S)
            self.connected = False
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))

    def _lost(self, error: Exception) -> None:
        self.cut_off = True
        if not isinstance(error, grpc.aio.AioRpcError):
            log.warning("the Budget service does not answer: %s", error or "in time")
            return
        cause = error_of(error, service="Budget")
        log.warning("the ledger is not reached: %s", cause.message)
        if isinstance(cause, InvalidInput | NotFound) and self.book is not None:
            self._fence(self.book)  # the message cannot be: what is known goes on as evidence

    async def _talk(self) -> None:
        """One connection's life."""
        call = self.stub.SyncLeases(metadata=self.metadata)
        self._sent_s = 0.0
        reading = asyncio.ensure_future(call.read())
        try:
            while True:
                message = self._next_message()
                if message is not None:
                    self._sent_s = time.monotonic()
                    self.messages += 1
                    await call.write(message)
                await self._news(reading)
                if reading.done():
                    response = reading.result()
                    if not isinstance(response, pb.SyncLeasesResponse):
                        raise TimeoutError("it ended the stream")
                    reading = asyncio.ensure_future(call.read())
                    await self._heard(response)
                elif self._sent_s and time.monotonic() - self._sent_s > ANSWER_TIMEOUT_S:
                    raise TimeoutError
        finally:
            reading.cancel()
            call.cancel()

    async def _news(self, reading: "asyncio.Future[object]") -> None:
        """Return when there is something to read, something to tell, or a while has passed."""
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait(
                (reading, waking), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waking.cancel()
            self._wake.clear()

    # --- What is told ---------------------------------------------------------------------------------

    def _next_message(self) -> pb.SyncLeasesRequest | None:
        if self._sent_s:
            return None
        book, clock_ns = self.book, time.monotonic_ns()
        if book is None or book.fenced:
            if time.monotonic() < self._register_at_s:
                return None
            return pb.SyncLeasesRequest(router_id=self.router)
        if self._message is not None:
            book.request(clock_ns=clock_ns)  # the same again: the term counts from now
            return self._message
        for over in self._over:
            if over.owed or over.done:
                self._prove_over(over)
        self._over = [over for over in self._over if not over.done]
        news = self._loose or self._proofs or self._ended or self._released
        if not (news or book.wants_message(clock_ns)):
            return None
        proof = self._proofs[0] if self._proofs else None
        if proof is not None:
            book.prove(proof.evidence)
        request = book.request(clock_ns=clock_ns)
        held = {lease.counter.id: lease.counter.held for lease in book.every_lease()}
        self._message = request_to_proto(
            request,
            closed=lambda posting: self._closed[posting.attempt_id],
            partial=() if proof is None or (proof.whole and proof.last) else [proof.evidence.epoch],
            held_of=lambda id: held.get(id, 0),
            ended_record_ids=list(self._ended)[:ENDED_MAX],
            released_record_ids=list(self._released)[:ENDED_MAX],
        )
        room = max(0, POSTINGS_MAX - len(self._message.attempts))
        self._loose_told = [self._loose.popleft() for _ in range(min(room, len(self._loose)))]
        self._message.attempts.extend(self._closed[each] for each in self._loose_told)
        return self._message

    def _prove_over(self, over: LeaseBook) -> None:
        evidence = over.evidence()
        self._proofs.append(_Proof(evidence, whole=True, last=True))

    def _queue_proofs(self, epoch: int, postings: list[Posting], *, whole: bool) -> None:
        if not whole:
            log.error(
                "the journal does not tell all of epoch %d: what it does not tell stays in suspense",
                epoch,
            )
        while True:
            part, postings = postings[:POSTINGS_MAX], postings[POSTINGS_MAX:]
            proof = _Proof(Evidence(epoch, tuple(part)), whole, last=not postings)
            self._proofs.append(proof)
            if not postings:
                return

    # --- What is heard --------------------------------------------------------------------------------

    async def _heard(self, response: pb.SyncLeasesResponse) -> None:
        self.connected, self.cut_off = True, False
        if response.status == pb.SYNC_STATUS_UNSPECIFIED:
            for push in pushes_of(response, self.router):
                if self.book is not None:
                    self.book.told(push)
            return
        self._sent_s = 0.0
        if not response.sequence and (self.book is None or self.book.fenced):
            await self._begin(response)
            return
        book = self.book
        if book is None:
            return
        if book.apply(answer_of(response), clock_ns=time.monotonic_ns()) and not book.fenced:
            self._applied(response)
        elif response.status != pb.SYNC_STATUS_APPLIED:
            self._fence(book)

    def _fence(self, book: LeaseBook) -> None:
        """Spend nothing more of this epoch. Again and again: somebody else has the name."""
        book.fenced = True
        now_s = time.monotonic()
        often = now_s - self._fenced_at_s < FENCED_AGAIN_S
        self._pause_s = min(max(1.0, self._pause_s * 2), FENCED_AGAIN_S / 2) if often else 0.0
        self._fenced_at_s, self._register_at_s = now_s, now_s + self._pause_s
        log.warning(
            "epoch %d of router %s is over%s",
            *(book.epoch, self.router),
            ": does another process have this name? give each a `--name`" if often else "",
        )

    async def _begin(self, response: pb.SyncLeasesResponse) -> None:
        await asyncio.to_thread(self._epochs.begin, response.epoch)
        if self.book is not None:
            self._over.append(self.book)
        self._loose.extend(self._loose_told)  # what no lease paid for is in no book
        self._loose_told = []
        self._message = None
        self.book = RatedBook(self.router, epoch=response.epoch, jitter=random.random())
        if self._limits is not None:
            self.book.use(self._limits)
        log.info("epoch %d of router %s begins", response.epoch, self.router)
        self._wake_waiters(2**62)

    def _applied(self, response: pb.SyncLeasesResponse) -> None:
        message, self._message = self._message, None
        self._loose_told = []
        assert message is not None  # INVARIANT: the book applies only what was asked for
        for refused in response.refused:
            log.error("attempt `%s` is not taken: %s", refused.attempt_id, refused.message)
        acked = [each.attempt_id for each in message.attempts]
        for proof in message.evidence:
            acked += [each.attempt_id for each in proof.attempts]
        for attempt_id in acked:
            self._closed.pop(attempt_id, None)
        self._acknowledge(acked)
        if message.evidence:
            proven = self._proofs.popleft()
            over = [book.epoch for book in self._over]
            if (
                proven.last
                and proven.evidence.epoch not in over
                and not proven.evidence.outstanding
            ):
                self._epochs.proven(proven.evidence.epoch)
        for record_id in message.released_record_ids:
            self._released.pop(record_id, None)
        for record_id in message.ended_record_ids:
            self._ended.pop(record_id, None)
            waiter = self._ended_waiters.pop(record_id, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._wake_waiters(response.sequence)

    def _acknowledge(self, attempt_ids: list[str]) -> None:
        if not attempt_ids:
            return
        try:
            self._journal.append(SettlesAcked(attempt_ids=tuple(attempt_ids)))
        except HarmostError as error:  # told once more after a restart, and taken once
            log.warning("acknowledged settlements are not noted: %s", error)

    def _wake_waiters(self, sequence: int) -> None:
        for waiter, wanted in self._waiters.items():
            if wanted <= sequence and not waiter.done():
                waiter.set_result(None)
