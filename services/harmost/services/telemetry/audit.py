"""Keeps the audit log: adds what waits to it every half second, and answers with its proofs.

Entries come from the store (trail.py), one writer puts them into the log (services/audit); here is when
that happens, and what is said to who asks in between.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import apsw

from harmost.core.audit.leaf import expires_ns, pruning_entry, read_entry
from harmost.core.audit.note import parse_note
from harmost.core.audit.tiles import TILE_WIDTH, Damaged
from harmost.core.errors import (
    HarmostError,
    NotFound,
    NotPossibleNow,
    RateLimited,
    ServiceUnavailable,
)
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.witness import Witnesses
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.trail import AT_ONCE_MAX, AuditTrail, Head, head_of
from harmost.services.telemetry.worker import Worker

__all__ = ["AuditLog", "Proof", "no_entry"]

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

INTERVAL_S = 0.5  # with what ships records and asks witnesses: a receipt within two seconds
BACKOFF_MAX_S = 5.0
WITNESS_RETRY_S = 10.0  # until one that did not answer is asked again where nothing new is added
PRUNE_INTERVAL_S = 3_600.0
PRUNED_AT_ONCE = 256  # bundles, some 0.5 ms each
READS_MAX = 16
SHIPPED_WITHIN_S = 300.0  # a record that is younger may still be on its way
_RETRY_S = 1.0
_NS_PER_S = 10**9


class Proof(NamedTuple):
    """A receipt, and what the entry that it is of says."""

    receipt: bytes
    leaf_index: int
    said: dict[str, Any]

    @property
    def tenant(self) -> str:
        """Whose record it is of."""
        return str(self.said.get("tenant", ""))


class AuditLog:
    """The log that `sequencer` writes from what `store` has. Answers while it is `running`.

    `held` says whether a tenant is under legal hold, `held_within` whether it or one below it is.
    """

    def __init__(
        self,
        store: TelemetryStore,
        trail: AuditTrail,
        sequencer: Sequencer,
        *,
        witnesses: Witnesses | None = None,
        held: Callable[[str], bool] = lambda tenant: False,
        held_within: Callable[[str], bool] = lambda tenant: False,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._store = store
        self._trail = trail
        self._sequencer = sequencer
        self._witnesses = witnesses or Witnesses(())
        self._held = held
        self.held_within = held_within
        self._interval_s = interval_s
        self._worker = Worker(store)
        self._thread: ThreadPoolExecutor | None = None
        self._stepping = asyncio.Lock()
        self._fault = ""
        self._reads = 0
        self._witness_at_s = 0.0
        self._prune_at_s = 0.0

    @asynccontextmanager
    async def running(self, worker: Worker) -> AsyncGenerator[None]:
        """Keep the log until the block ends. `worker` is the store's. Raises NotPossibleNow where the
        log is not what it was."""
        self._worker = worker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="telemetry.audit")
        try:
            await self._open()
            try:
                async with self._witnesses, asyncio.TaskGroup() as tasks:
                    keeper = tasks.create_task(self._keep_forever(), name="telemetry.audit")
                    try:
                        yield
                    finally:
                        keeper.cancel()
            finally:
                await self._in_thread(self._sequencer.close)
        finally:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown)

    def checkpoint(self) -> bytes:
        """The head of now: a signed note."""
        return self._sequencer.published.note

    async def receipt(self, record_id: str) -> Proof:
        """Proof of a record. Raises ServiceUnavailable until it is in the log, NotFound where it never
        will be."""

        def find(connection: apsw.Connection) -> int | None:
            return self._trail.index_of(connection, record_id)

        leaf_index = await self._worker.read(lambda: self._store.audited(find))
        if leaf_index is None:
            raise _unknown(record_id, time.time_ns())
        if leaf_index >= self._sequencer.published.size:
            raise ServiceUnavailable(
                f"record `{record_id}` is not in the audit log yet"
                f"{': ' if self._fault else ''}{self._fault}: ask again",
                retry_after_s=_RETRY_S,
            )
        receipt, entry = await self._read(partial(self._receipt, leaf_index))
        return Proof(receipt, leaf_index, read_entry(entry))

    def nonce(self, leaf_index: int) -> bytes | None:
        """What opens the commitments of an entry. Blocks: for the store's thread."""
        return self._trail.nonces.get(leaf_index)

    async def prune(self, now_ns: int) -> int:
        """Keep entries no longer whose time is over, from the first on; the new minimum index.

        Stops at the first bundle with an entry that is to be kept, or whose tenant is under legal hold.
        """
        head = await self._worker.write(lambda: self._store.audited(head_of))
        await self._read(
            partial(self._remove_below, head.minimum_index)
        )  # of a prune that was cut off
        minimum, record_ids = await self._read(partial(self._over, head.minimum_index, now_ns))
        if minimum == head.minimum_index:
            return minimum
        entry = pruning_entry(time_ns=now_ns, minimum_index=minimum)

        def tell(connection: apsw.Connection) -> None:
            self._trail.append(connection, entry)
            self._trail.pruned(connection, minimum_index=minimum, record_ids=record_ids)

        await self._worker.write(lambda: self._store.audited(tell))
        while await self._step():  # until the log says what it will no longer hold
            pass
        await self._worker.write(partial(self._trail.nonces.forget_below, minimum))
        await self._read(partial(self._remove_below, minimum))
        log.info("the audit log keeps entries from %d on", minimum)
        return minimum

    async def _open(self) -> None:
        def known(connection: apsw.Connection) -> tuple[Head, list[bytes]]:
            head = head_of(connection)
            return head, self._trail.waiting(connection, head.size, entries_max=AT_ONCE_MAX)

        head, waiting = await self._worker.write(lambda: self._store.audited(known))
        await self._in_thread(
            partial(self._sequencer.open, size=head.size, root=head.root, waiting=waiting)
        )
        await self._tell_published()

    async def _keep_forever(self) -> None:
        backoff_s = self._interval_s
        while True:
            try:
                while await self._step():
                    pass
                await self._ask_again()
                if time.monotonic() >= self._prune_at_s:
                    self._prune_at_s = time.monotonic() + PRUNE_INTERVAL_S
                    await self.prune(time.time_ns())
                self._fault, backoff_s = "", self._interval_s
            except (HarmostError, apsw.Error, OSError) as error:
                self._fault = str(error)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                log.error("entries wait for the audit log: %s", error)
            await asyncio.sleep(backoff_s)

    async def _step(self) -> bool:
        """Add what waits, sign, publish; whether there was any.

        INVARIANT: one at a time, or two would put the same entries behind each other.
        """
        async with self._stepping:
            return await self._add_waiting()

    async def _add_waiting(self) -> bool:
        size = self._sequencer.published.size

        def waiting(connection: apsw.Connection) -> list[bytes]:
            return self._trail.waiting(connection, size, entries_max=AT_ONCE_MAX)

        entries = await self._worker.write(lambda: self._store.audited(waiting))
        if not entries:
            return False
        note = await self._in_thread(partial(self._sequencer.add, entries))
        note = await self._witnesses.cosigned(note, self._prove)
        await self._in_thread(partial(self._sequencer.publish, note))
        await self._tell_published()
        return True

    async def _ask_again(self) -> None:
        """Ask witnesses that have not cosigned the head of now, once in a while."""
        note = parse_note(
            self._sequencer.published.note
        )  # the keeper's task alone publishes others
        if time.monotonic() < self._witness_at_s or not self._witnesses.missing(note):
            return
        self._witness_at_s = time.monotonic() + WITNESS_RETRY_S
        async with self._stepping:
            cosigned = await self._witnesses.cosigned(note, self._prove)
            if cosigned != note:
                await self._in_thread(partial(self._sequencer.publish, cosigned))

    async def _prove(self, size_1: int, size_2: int) -> Sequence[bytes]:
        return await self._in_thread(partial(self._sequencer.consistency, size_1, size_2))

    async def _tell_published(self) -> None:
        head = self._sequencer.published

        def tell(connection: apsw.Connection) -> None:
            self._trail.published(connection, size=head.size, root=head.root)

        await self._worker.write(lambda: self._store.audited(tell))

    def _receipt(self, leaf_index: int) -> tuple[bytes, bytes]:
        return self._sequencer.receipt(leaf_index), self._sequencer.entry(leaf_index)

    def _over(self, minimum_index: int, now_ns: int) -> tuple[int, list[str]]:
        """From where on entries are to be kept, and the records that those before tell of."""
        number, record_ids = minimum_index // TILE_WIDTH, list[str]()
        last = min(self._sequencer.published.size // TILE_WIDTH, number + PRUNED_AT_ONCE)
        while number < last:
            said = [read_entry(entry) for entry in self._sequencer.bundle(number)]
            if any(
                expires_ns(each) > now_ns or self._held(each.get("tenant", "")) for each in said
            ):
                break
            record_ids += [each["record_id"] for each in said if each["kind"] == "record"]
            number += 1
        return number * TILE_WIDTH, record_ids

    def _remove_below(self, minimum_index: int) -> None:
        number = minimum_index // TILE_WIDTH
        first = number
        while first and self._sequencer.has_bundle(first - 1):
            first -= 1
        self._sequencer.remove_bundles(range(first, number))

    async def _read(self, job: Callable[[], _Answer]) -> _Answer:
        """The answer of `job`, which reads the log. Raises NotPossibleNow where that is damaged."""
        if self._reads >= READS_MAX:
            raise RateLimited(
                f"{READS_MAX} proofs are being made: try again", retry_after_s=_RETRY_S
            )
        self._reads += 1
        try:
            return await self._in_thread(job)
        except Damaged as error:
            raise NotPossibleNow(f"the audit log is damaged: {error.message}") from error
        finally:
            self._reads -= 1

    async def _in_thread(self, job: Callable[[], _Answer]) -> _Answer:
        if self._thread is None:
            raise RuntimeError("ask the audit log inside `running()`")
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)


def _unknown(record_id: str, now_ns: int) -> ServiceUnavailable | NotFound:
    """What to say of a record that is not there: its id begins with when it was made."""
    try:
        age_s = (now_ns - int(record_id[:16], 16)) / _NS_PER_S
    except ValueError:
        age_s = float("inf")
    if -SHIPPED_WITHIN_S < age_s < SHIPPED_WITHIN_S:
        return ServiceUnavailable(
            f"record `{record_id}` has not come yet: ask again", retry_after_s=_RETRY_S
        )
    return no_entry(record_id)


def no_entry(record_id: str) -> NotFound:
    """What is said of a record that the log has nothing of, or that the caller may not know of."""
    return NotFound(
        f"the audit log has nothing of record `{record_id}`: it was never made, is not kept any "
        "more, or was made before the log began"
    )
