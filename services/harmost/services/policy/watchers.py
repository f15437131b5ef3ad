"""Pushes what runs and what is revoked to everyone who watches, newest only, and hears what they made of it.

A watcher that is slow skips generations; none waits in a queue. One that never answers is still
served, and shown as such.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from harmost.core.errors import InvalidInput, RateLimited
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.times import time_to_proto

__all__ = ["WATCHERS_MAX", "Watchers"]

log = logging.getLogger(__name__)

WATCHERS_MAX = 1_000  # each is a Router or another service of the deployment
RETRY_AFTER_S = 5.0
SILENT_NS = 5_000_000_000  # a watcher that takes longer for an answer is named in the log


@dataclass(slots=True)
class _Watch:
    """One watcher. Times are Unix nanoseconds; 0: never."""

    watcher_id: str
    generation: int
    revocations_sequence: int
    connected_ns: int
    sent_generation: int = 0
    sent_sequence: int = -1
    sent_ns: int = 0
    answered_ns: int = 0
    nack: str = ""
    nack_generation: int = 0

    def due(
        self, snapshot: policy_pb2.Snapshot, revocations: policy_pb2.Revocations
    ) -> policy_pb2.WatchSnapshotResponse | None:
        """What it has not been sent yet; revocations first, nothing before the first documents."""
        if not snapshot.generation:
            return None
        if revocations.sequence > self.sent_sequence:
            self.sent_sequence = revocations.sequence
            return policy_pb2.WatchSnapshotResponse(revocations=revocations)
        if snapshot.generation > self.sent_generation:
            self._sending(snapshot.generation)
            return policy_pb2.WatchSnapshotResponse(snapshot=snapshot)
        return None

    def _sending(self, generation: int) -> None:
        now_ns = time.time_ns()
        if self.sent_ns > self.answered_ns and now_ns - self.sent_ns > SILENT_NS:
            log.warning(
                "watcher %r did not answer generation %d for %.0f s",
                self.watcher_id,
                self.sent_generation,
                (now_ns - self.sent_ns) / 1e9,
            )
        self.sent_generation, self.sent_ns = generation, now_ns

    def heard(self, answer: policy_pb2.WatchSnapshotRequest) -> None:
        self.answered_ns = time.time_ns()
        self.revocations_sequence = answer.revocations_sequence
        if answer.nack:
            self.nack, self.nack_generation = answer.nack, answer.generation
            log.warning(
                "watcher %r refused generation %d: %s",
                self.watcher_id,
                answer.generation,
                answer.nack[:500],
            )
            return
        if answer.generation >= self.nack_generation:
            self.nack = ""
        if answer.generation != self.generation:
            self.generation = answer.generation
            log.info("watcher %r took generation %d", self.watcher_id, answer.generation)

    def to_proto(self) -> policy_pb2.Watcher:
        return policy_pb2.Watcher(
            watcher_id=self.watcher_id,
            connected_at=time_to_proto(self.connected_ns),
            generation=self.generation,
            sent_generation=self.sent_generation,
            sent_at=time_to_proto(self.sent_ns),
            answered_at=time_to_proto(self.answered_ns),
            nack=self.nack,
            revocations_sequence=self.revocations_sequence,
        )


class Watchers:
    """All who watch, and what they are to have."""

    def __init__(self, snapshot: policy_pb2.Snapshot, revocations: policy_pb2.Revocations) -> None:
        self._snapshot = snapshot
        self._revocations = revocations
        self._changed = asyncio.Event()
        self._closed = False
        self._watches: dict[int, _Watch] = {}  # by a number of their own: names may be alike

    def publish(self, snapshot: policy_pb2.Snapshot) -> None:
        """Push `snapshot` to every watcher."""
        self._snapshot = snapshot
        self._notify()

    def revoke(self, revocations: policy_pb2.Revocations) -> None:
        """Push `revocations` to every watcher."""
        self._revocations = revocations
        self._notify()

    def close(self) -> None:
        """End every watch, now and from now on, so that a server can drain."""
        self._closed = True
        self._notify()

    def status(self) -> list[policy_pb2.Watcher]:
        """Who watches, in order of name."""
        watches = sorted(self._watches.values(), key=lambda watch: watch.watcher_id)
        return [watch.to_proto() for watch in watches]

    async def watch(
        self, requests: AsyncIterator[policy_pb2.WatchSnapshotRequest]
    ) -> AsyncIterator[policy_pb2.WatchSnapshotResponse]:
        """The running snapshot, then each newer one. A first set of documents is waited for."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidInput("the stream ended before its first message: say who watches")
        if len(self._watches) >= WATCHERS_MAX:
            raise RateLimited(
                f"{WATCHERS_MAX} watchers are connected: try again", retry_after_s=RETRY_AFTER_S
            )
        watch = _Watch(
            first.watcher_id, first.generation, first.revocations_sequence, time.time_ns()
        )
        self._watches[id(watch)] = watch
        answers = asyncio.ensure_future(_hear(requests, watch))
        # What ends it after the watch ended is of no interest, but must be looked at.
        answers.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            self._greet(first)
            async for message in self._messages(watch, answers):
                yield message
        finally:
            del self._watches[id(watch)]
            answers.cancel()

    async def _messages(
        self, watch: _Watch, answers: "asyncio.Future[None]"
    ) -> AsyncIterator[policy_pb2.WatchSnapshotResponse]:
        while not self._closed:
            changed = self._changed  # taken before reading: no change slips in between
            message = watch.due(self._snapshot, self._revocations)
            if message is not None:
                yield message
                continue
            if await _first_of(changed, answers):
                continue
            answers.result()  # raises what was wrong with an answer
            await changed.wait()  # the caller said that it will not answer any more

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _greet(self, first: policy_pb2.WatchSnapshotRequest) -> None:
        running = self._snapshot.generation
        log.info("watcher %r has generation %d", first.watcher_id, first.generation)
        if first.generation > running:
            log.error(
                "watcher %r has generation %d and %d runs here: it will refuse every snapshot up to "
                "its own; was an older store restored? remove its `*.binpb` files to start it anew",
                first.watcher_id,
                first.generation,
                running,
            )


async def _hear(requests: AsyncIterator[policy_pb2.WatchSnapshotRequest], watch: _Watch) -> None:
    async for answer in requests:
        watch.heard(answer)


async def _first_of(changed: asyncio.Event, answers: "asyncio.Future[None]") -> bool:
    """Wait for either; whether it was `changed`."""
    waiting = asyncio.ensure_future(changed.wait())
    try:
        await asyncio.wait((waiting, answers), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return changed.is_set()
