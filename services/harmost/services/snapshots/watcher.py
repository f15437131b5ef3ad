"""Watches `PolicyService.WatchSnapshot` and holds the newest snapshot that compiles.

Without Policy the last good one stays, from memory or from disk; how old it is, is said by `age_s`,
whether that is too old, by the mission profile. A dead connection is found by the channel's
keepalive.
"""

import asyncio
import inspect
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc

from harmost.core.errors import HarmostError, InvalidInput, NotPossibleNow
from harmost.core.resources.dump import content_digest
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.snapshots.cache import SnapshotCache

__all__ = ["Listener", "SnapshotWatcher"]

log = logging.getLogger(__name__)

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0  # a revoked key reaches a Router at most this much later than Policy is back
CONFIRM_INTERVAL_S = 30.0  # how stale the age of a cached snapshot can be after a crash
NACK_CHARS_MAX = 1_000

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Listener: TypeAlias = Callable[[CompiledSnapshot], Awaitable[None] | None]


class SnapshotWatcher:
    """The newest good snapshot. `cache_path` None: none is kept on disk."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        watcher_id: str,
        metadata: Metadata,
        cache_path: Path | None,
    ) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self._watcher_id = watcher_id
        self._metadata = metadata
        self._cache = SnapshotCache(cache_path) if cache_path else None
        self._current: CompiledSnapshot | None = None
        self._confirmed_at_s = 0.0
        self._is_newest = False
        self._heard_any = False  # on this connection
        self._listeners: list[Listener] = []
        self._ready = asyncio.Event()

    def current(self) -> CompiledSnapshot:
        """The newest good snapshot; take it once a call. NotPossibleNow before the first."""
        if self._current is None:
            raise NotPossibleNow(
                "no policy snapshot yet: see that the Policy service runs and has documents"
            )
        return self._current

    def age_s(self) -> float:
        """How long ago Policy last said that the snapshot is the newest; 0 while
        it says so."""
        if self._current is None:
            return float("inf")
        return 0.0 if self._is_newest else max(0.0, time.time() - self._confirmed_at_s)

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new snapshot just before it becomes the current one.

        What it returns is awaited. If it raises, the snapshot is refused and the old one stays. To
        be called before `running`, else it misses what came before.
        """
        self._listeners.append(listener)

    async def ready(self, timeout_s: float | None) -> None:
        """Wait for a first snapshot; NotPossibleNow after `timeout_s`, None: without end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            self.current()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Load the cached snapshot, then watch until the block ends."""
        await self._load()
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch_forever(), name="snapshots.watch")
            try:
                yield
            finally:
                watcher.cancel()

    async def _load(self) -> None:
        cached = await asyncio.to_thread(self._cache.load) if self._cache else None
        if cached is None:
            return
        snapshot, self._confirmed_at_s = cached
        try:
            await self._take(snapshot)
        except HarmostError as error:
            log.warning("the cached snapshot is left out: %s", error.message)

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
        """One connection's life."""
        call = self._stub.WatchSnapshot(metadata=self._metadata)
        try:
            generation = self._current.generation if self._current else 0
            await call.write(self._answer(generation))
            while (message := await self._next(call)) is not None:
                answer = await self._heard(message.snapshot)
                self._heard_any = True
                self._set_newest(not answer.nack)
                await call.write(answer)
        finally:
            call.cancel()

    async def _next(
        self,
        call: "grpc.aio.StreamStreamCall[policy_pb2.WatchSnapshotRequest, policy_pb2.WatchSnapshotResponse]",
    ) -> policy_pb2.WatchSnapshotResponse | None:
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

    async def _heard(self, snapshot: policy_pb2.Snapshot) -> policy_pb2.WatchSnapshotRequest:
        """Take or refuse `snapshot`; the answer for Policy."""
        generation = snapshot.generation
        try:
            if not self._is_running(snapshot):
                await self._take(snapshot)
                if self._cache:
                    await asyncio.to_thread(self._cache.save, snapshot)
            await self._confirm()
        except HarmostError as error:
            log.error("policy snapshot %d is refused: %s", generation, error.message)
            return self._answer(generation, nack=error.message)
        except Exception as error:  # a listener of this process failed: it keeps what it has
            log.exception("policy snapshot %d is refused", generation)
            return self._answer(generation, nack=f"{type(error).__name__}: {error}")
        return self._answer(generation)

    def _is_running(self, snapshot: policy_pb2.Snapshot) -> bool:
        current = self._current
        return current is not None and (current.generation, current.digest) == (
            snapshot.generation,
            snapshot.digest,
        )

    async def _take(self, snapshot: policy_pb2.Snapshot) -> None:
        if self._current is not None and snapshot.generation <= self._current.generation:
            raise InvalidInput(
                f"generation `{snapshot.generation}` is not above the running "
                f"`{self._current.generation}`: remove the snapshot file if an older store was "
                "restored on purpose"
            )
        # On a thread: a large set takes seconds, and calls go on meanwhile.
        compiled = await asyncio.to_thread(_compiled, snapshot)
        for listener in self._listeners:
            waiting = listener(compiled)
            if inspect.isawaitable(waiting):
                await waiting
        self._current = compiled
        self._ready.set()
        log.info("policy generation %d runs", compiled.generation)

    async def _confirm(self) -> None:
        if self._current is None:
            return
        self._confirmed_at_s = time.time()
        if self._cache:
            await asyncio.to_thread(self._cache.confirm)

    def _set_newest(self, is_newest: bool) -> None:
        """Note whether, as far as Policy says right now, the current snapshot is the newest."""
        if self._is_newest:
            self._confirmed_at_s = time.time()
        self._is_newest = is_newest

    def _answer(self, generation: int, *, nack: str = "") -> policy_pb2.WatchSnapshotRequest:
        return policy_pb2.WatchSnapshotRequest(
            watcher_id=self._watcher_id, generation=generation, nack=nack[:NACK_CHARS_MAX]
        )


def _compiled(snapshot: policy_pb2.Snapshot) -> CompiledSnapshot:
    contents = [resource.yaml for resource in snapshot.resources]
    if content_digest(contents) != snapshot.digest:
        raise InvalidInput(f"generation `{snapshot.generation}` is damaged: its digest differs")
    documents = parse_sources(
        [Source(f"{item.kind}/{item.name}", item.yaml) for item in snapshot.resources]
    )
    return compile_snapshot(snapshot.generation, documents, digest=snapshot.digest)


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)
