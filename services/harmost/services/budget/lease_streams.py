"""The streams of Routers: answers their messages in order, and tells them what they must hear unasked.

A Router that does not read is told once for all that it missed: what waits for it is a set.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.budget.lease import Push
from harmost.core.errors import InvalidInput, RateLimited
from harmost.services.budget.lease_convert import pushed, registered, sync_of, synced
from harmost.services.budget.store import BudgetStore

__all__ = ["LeaseStreams"]

log = logging.getLogger(__name__)

STREAMS_MAX = 1_000  # of one ledger: each is a Router's worker
RETRY_AFTER_S = 5.0
# A Router has one message under way, and sends it again after it connected anew.
ANSWERS_MAX = 8


class _Stream:
    """What waits to be sent to one Router. It has one message under way at a time: one answer."""

    def __init__(self) -> None:
        self.answers: list[pb.SyncLeasesResponse] = []
        self.pushes: dict[Push, None] = {}
        self.wake = asyncio.Event()

    def take(self) -> list[pb.SyncLeasesResponse]:
        """All that waits."""
        self.wake.clear()
        answers, self.answers = self.answers, []
        pushes, self.pushes = self.pushes, {}
        return [*answers, pushed(pushes)] if pushes else answers


class LeaseStreams:
    """All streams of one ledger."""

    def __init__(self, store: BudgetStore, use_limits: Callable[[], object]) -> None:
        """`use_limits` tells the store of the newest limits; NotPossibleNow before the first."""
        self._store = store
        self._use_limits = use_limits
        self._streams: dict[_Stream, str] = {}  # and which Router it is
        self._closed = False

    def push(self, pushes: Iterable[Push]) -> None:
        """Tell Routers, as far as they are connected: the others ask anyway when they come."""
        for push in pushes:
            for stream, router in self._streams.items():
                if router == push.router:
                    stream.pushes[push] = None
                    stream.wake.set()

    def close(self) -> None:
        """End every stream, now and from now on, so that a server can drain."""
        self._closed = True
        for stream in self._streams:
            stream.wake.set()

    async def serve(
        self, requests: AsyncIterator[pb.SyncLeasesRequest]
    ) -> AsyncIterator[pb.SyncLeasesResponse]:
        """Answers and pushes, until the Router or `close` ends it."""
        if len(self._streams) >= STREAMS_MAX:
            raise RateLimited(
                f"{STREAMS_MAX} Routers are connected: try again", retry_after_s=RETRY_AFTER_S
            )
        stream = _Stream()
        self._streams[stream] = ""
        reader = asyncio.ensure_future(self._read(requests, stream))
        reader.add_done_callback(lambda _: stream.wake.set())
        try:
            while not self._closed:
                for response in stream.take():
                    yield response
                if stream.wake.is_set():
                    continue
                if reader.done():
                    reader.result()  # raises what was wrong with a message
                    return
                await stream.wake.wait()
        finally:
            del self._streams[stream]
            reader.cancel()
            # What ends it after the stream is of no interest, but must be looked at.
            reader.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    async def _read(self, requests: AsyncIterator[pb.SyncLeasesRequest], stream: _Stream) -> None:
        async for request in requests:
            known = self._streams.get(stream)
            if known is None:
                return
            if known and known != request.router_id:
                raise InvalidInput(
                    f"the stream is of Router `{known}` and a message of `{request.router_id}`: "
                    "open one for each"
                )
            if len(stream.answers) >= ANSWERS_MAX:
                raise RateLimited(
                    f"{ANSWERS_MAX} answers wait to be read: send one message at a time",
                    retry_after_s=RETRY_AFTER_S,
                )
            self._streams[stream] = request.router_id
            stream.answers.append(await self._answer(request))
            stream.wake.set()

    async def _answer(self, request: pb.SyncLeasesRequest) -> pb.SyncLeasesResponse:
        router = request.router_id
        if not request.epoch:
            epoch, now_ns = await self._store.run(
                lambda accounts, now: (accounts.leases.register(router, now_ns=now), now)
            )
            log.info("router %s begins epoch %d", router, epoch)
            return registered(epoch, decided_ns=now_ns)
        said = sync_of(request)
        self._use_limits()
        answered = await self._store.run(lambda accounts, now: accounts.sync(said, now_ns=now))
        return synced(request.epoch, answered)
