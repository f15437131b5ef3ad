"""Pushes the running snapshot to everyone who watches, newest only, and hears what they made of it.

A watcher that is slow skips generations; none waits in a queue.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from harmost.core.errors import InvalidInput, RateLimited
from harmost.policy.v1 import policy_pb2
from harmost.services.policy.convert import snapshot_to_proto
from harmost.services.policy.documents import Running

__all__ = ["WATCHERS_MAX", "Watchers"]

log = logging.getLogger(__name__)

WATCHERS_MAX = 1_000  # each is a Router or another service of the deployment
RETRY_AFTER_S = 5.0


class Watchers:
    """All who watch. `running` gives the newest set of documents."""

    def __init__(self, running: Callable[[], Running]) -> None:
        self._running = running
        self._changed = asyncio.Event()
        self._closed = False
        self._count = 0
        self._message: policy_pb2.WatchSnapshotResponse | None = None  # of the newest, made once

    def notify(self) -> None:
        """Wake every watcher: the running set is another."""
        self._message = None
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End every watch, now and from now on, so that a server can drain."""
        self._closed = True
        self.notify()

    async def watch(
        self, requests: AsyncIterator[policy_pb2.WatchSnapshotRequest]
    ) -> AsyncIterator[policy_pb2.WatchSnapshotResponse]:
        """The running snapshot, then each newer one. A first set of documents is waited for."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidInput("the stream ended before its first message: say who watches")
        if self._count >= WATCHERS_MAX:
            raise RateLimited(
                f"{WATCHERS_MAX} watchers are connected: try again", retry_after_s=RETRY_AFTER_S
            )
        self._count += 1
        answers = asyncio.ensure_future(_hear(requests, first.watcher_id))
        # What ends it after the watch ended is of no interest, but must be looked at.
        answers.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            self._greet(first)
            async for message in self._messages(answers):
                yield message
        finally:
            self._count -= 1
            answers.cancel()

    async def _messages(
        self, answers: "asyncio.Future[None]"
    ) -> AsyncIterator[policy_pb2.WatchSnapshotResponse]:
        sent = 0
        while not self._closed:
            changed = self._changed  # taken before reading: no change slips in between
            if self._running().generation > sent:
                sent = self._running().generation
                yield self._newest()
                continue
            if await _first_of(changed, answers):
                continue
            answers.result()  # raises what was wrong with an answer
            await changed.wait()  # the caller said that it will not answer any more

    def _newest(self) -> policy_pb2.WatchSnapshotResponse:
        if self._message is None:
            snapshot = snapshot_to_proto(self._running())
            self._message = policy_pb2.WatchSnapshotResponse(snapshot=snapshot)
        return self._message

    def _greet(self, first: policy_pb2.WatchSnapshotRequest) -> None:
        running = self._running().generation
        log.info("watcher %r has generation %d", first.watcher_id, first.generation)
        if first.generation > running:
            log.error(
                "watcher %r has generation %d and %d runs here: it will refuse every snapshot up to "
                "its own; was an older store restored? remove its snapshot file to start it anew",
                first.watcher_id,
                first.generation,
                running,
            )


async def _hear(requests: AsyncIterator[policy_pb2.WatchSnapshotRequest], watcher_id: str) -> None:
    async for answer in requests:
        if answer.nack:
            log.warning(
                "watcher %r refused generation %d: %s",
                watcher_id,
                answer.generation,
                answer.nack[:500],
            )
        else:
            log.info("watcher %r took generation %d", watcher_id, answer.generation)


async def _first_of(changed: asyncio.Event, answers: "asyncio.Future[None]") -> bool:
    """Wait for either; whether it was `changed`."""
    waiting = asyncio.ensure_future(changed.wait())
    try:
        await asyncio.wait((waiting, answers), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return changed.is_set()
