"""Watches `PolicyService.WatchSnapshot` and holds the newest snapshot and revocations that are good.

Without Policy the last good ones stay, from memory or from disk; how old they are, is said by
`age_s`, whether that is too old, by the mission profile. A dead connection is found by the channel's
keepalive.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc

from harmost.core.errors import HarmostError
from harmost.core.policy.revocations import Revocations
from harmost.core.resources.signing import Verifier
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.snapshots.cache import SnapshotCache
from harmost.services.snapshots.holder import Listener, SnapshotHolder, StopListener

__all__ = ["SnapshotWatcher"]

log = logging.getLogger(__name__)

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0  # a revoked key reaches a Router at most this much later than Policy is back
CONFIRM_INTERVAL_S = 30.0  # how stale the age of a cached snapshot can be after a crash
NACK_CHARS_MAX = 1_000

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Watch: TypeAlias = (
    "grpc.aio.StreamStreamCall[policy_pb2.WatchSnapshotRequest, policy_pb2.WatchSnapshotResponse]"
)


class SnapshotWatcher:
    """The newest good snapshot. `cache_path` None: none is kept on disk.

    `verifier` gives the keys that may sign; it is asked for each snapshot, and may block.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        watcher_id: str,
        metadata: Metadata,
        verifier: Callable[[], Verifier],
        cache_path: Path | None,
    ) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self._watcher_id = watcher_id
        self._metadata = metadata
        self._cache = SnapshotCache(cache_path) if cache_path else None
        self._holder = SnapshotHolder(verifier, self._cache)
        self._confirmed_at_s = 0.0
        self._is_newest = False
        self._heard_any = False  # on this connection
        self._ready = asyncio.Event()

    def current(self) -> CompiledSnapshot:
        """The newest good snapshot; take it once a call. NotPossibleNow before the first."""
        return self._holder.current()

    def revocations(self) -> Revocations:
        """What is stopped now; take it once a call."""
        return self._holder.revocations

    def age_s(self) -> float:
        """How long ago Policy last said that the snapshot is the newest; 0 while it says so."""
        if not self._holder.generation:
            return float("inf")
        return 0.0 if self._is_newest else max(0.0, time.time() - self._confirmed_at_s)

    def on_change(self, listener: Listener) -> None:
        """See `SnapshotHolder`. To be called before `running`, else it misses what came before."""
        self._holder.on_change(listener)

    def on_stop(self, listener: StopListener) -> None:
        """See `SnapshotHolder`."""
        self._holder.on_stop(listener)

    async def ready(self, timeout_s: float | None) -> None:
        """Wait for a first snapshot; NotPossibleNow after `timeout_s`, None: without end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            self.current()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Load what is cached, then watch until the block ends."""
        self._confirmed_at_s = await self._holder.load()
        self._note_ready()
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch_forever(), name="snapshots.watch")
            try:
                yield
            finally:
                watcher.cancel()

    async def _watch_forever(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            self._heard_any = False
            try:
                await self._watch()
            except (grpc.RpcError, asyncio.InvalidStateError) as error:  # the latter: it ended
                log.warning("watching policy failed: %s", _reason(error))
            finally:
                self._set_newest(False)
            backoff_s = BACKOFF_MIN_S if self._heard_any else min(backoff_s * 2, BACKOFF_MAX_S)
            # Jitter: not all Routers come back in the same instant.
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))

    async def _watch(self) -> None:
        """One connection's life: revocations are put in force while a snapshot is being compiled."""
        call = self._stub.WatchSnapshot(metadata=self._metadata)
        talk = _Talk(call)
        offered: asyncio.Queue[policy_pb2.Snapshot] = asyncio.Queue(1)
        taking = asyncio.ensure_future(self._take_each(offered, talk))
        try:
            await talk.say(self._answer(self._holder.generation))
            while (message := await self._next(call)) is not None:
                if message.HasField("revocations"):
                    await talk.say(await self._revoked(message.revocations))
                if message.HasField("snapshot"):
                    if offered.full():
                        offered.get_nowait()  # the newest is enough
                    offered.put_nowait(message.snapshot)
        finally:
            call.cancel()
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _take_each(
        self, offered: "asyncio.Queue[policy_pb2.Snapshot]", talk: "_Talk"
    ) -> None:
        while True:
            snapshot = await offered.get()
            answer = await self._taken(snapshot)
            self._heard_any = True
            self._set_newest(not answer.nack and offered.empty())
            await talk.say(answer)

    async def _next(self, call: Watch) -> policy_pb2.WatchSnapshotResponse | None:
        """The next message, None at the end; meanwhile notes that the connection still stands."""
        reading = asyncio.ensure_future(call.read())
        try:
            while not (await asyncio.wait((reading,), timeout=CONFIRM_INTERVAL_S))[0]:
                if self._is_newest:
                    await self._confirm()
            message = await reading
        finally:
            reading.cancel()
        return message if isinstance(message, policy_pb2.WatchSnapshotResponse) else None

    async def _taken(self, snapshot: policy_pb2.Snapshot) -> policy_pb2.WatchSnapshotRequest:
        """Take or refuse `snapshot`; the answer for Policy."""

        async def take() -> None:
            await self._holder.take(snapshot)
            self._note_ready()
            await self._confirm()

        what = f"policy snapshot {snapshot.generation}"
        return self._answer(snapshot.generation, nack=await _refusal(what, take()))

    async def _revoked(self, message: policy_pb2.Revocations) -> policy_pb2.WatchSnapshotRequest:
        what = f"the set of revocations {message.sequence}"
        nack = await _refusal(what, self._holder.revoke(message))
        return self._answer(self._holder.generation, nack=nack)

    async def _confirm(self) -> None:
        self._confirmed_at_s = time.time()
        if self._cache:
            await asyncio.to_thread(self._cache.confirm)

    def _note_ready(self) -> None:
        if self._holder.generation:
            self._ready.set()

    def _set_newest(self, is_newest: bool) -> None:
        """Note whether, as far as Policy says right now, the current snapshot is the newest."""
        if self._is_newest:
            self._confirmed_at_s = time.time()
        self._is_newest = is_newest

    def _answer(self, generation: int, *, nack: str = "") -> policy_pb2.WatchSnapshotRequest:
        return policy_pb2.WatchSnapshotRequest(
            watcher_id=self._watcher_id,
            generation=generation,
            nack=nack[:NACK_CHARS_MAX],
            revocations_sequence=self._holder.revocations.sequence,
        )


class _Talk:
    """What is said on one stream, one message after the other."""

    def __init__(self, call: Watch) -> None:
        self._call = call
        self._lock = asyncio.Lock()

    async def say(self, answer: policy_pb2.WatchSnapshotRequest) -> None:
        async with self._lock:
            await self._call.write(answer)


async def _refusal(what: str, taking: Awaitable[None]) -> str:
    """Why `taking` refused it; "" if it did not."""
    try:
        await taking
    except HarmostError as error:
        log.error("%s is refused: %s", what, error.message)
        return error.message
    except Exception as error:  # a listener of this process failed: it keeps what it has
        log.exception("%s is refused", what)
        return f"{type(error).__name__}: {error}"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)
