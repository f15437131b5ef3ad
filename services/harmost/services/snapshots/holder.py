"""What runs in a service that does not own it: the newest snapshot and revocations that are good.

Good is what a known key signed, whole, and newer than what ran. Anything else is refused by an error
that says why, and what runs stays.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from harmost.core.errors import HarmostError, InvalidInput, NotPossibleNow
from harmost.core.policy.revocations import Revocations
from harmost.core.resources.dump import content_digest
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.signing import Verifier
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.signed import (
    revocations_from_proto,
    signature_of,
    statement_of_revocations,
    statement_of_snapshot,
)
from harmost.services.snapshots.cache import Cached, SnapshotCache
from harmost.services.snapshots.gently import gently

__all__ = ["Listener", "SnapshotHolder", "StopListener"]

log = logging.getLogger(__name__)

Listener: TypeAlias = Callable[[CompiledSnapshot], Awaitable[None] | None]
StopListener: TypeAlias = Callable[[], Awaitable[None] | None]

# How a `Policy` begins in canonical YAML. Told by its bytes, which are signed, not by what the message
# says it is: compiled, it is not needed again, and it is the largest part of most snapshots.
_POLICY = b"apiVersion: harmost.dev/v1\nkind: Policy\n"
REMOVE = "remove `*.binpb` beside it if an older store was restored on purpose"


class SnapshotHolder:
    """The newest good snapshot and revocations. `cache` None: nothing is kept on disk."""

    def __init__(self, verifier: Callable[[], Verifier], cache: SnapshotCache | None) -> None:
        self._verifier = verifier
        self._cache = cache
        self._current: CompiledSnapshot | None = None
        self._signature = b""  # of the current one, as it is cached
        self._revocations: Revocations | None = None
        self._listeners: list[Listener] = []
        self._stop_listeners: list[StopListener] = []

    @property
    def generation(self) -> int:
        """That runs; 0 before the first."""
        return self._current.generation if self._current else 0

    @property
    def revocations(self) -> Revocations:
        """What is stopped; take it once a call."""
        return self._revocations or _NONE

    def current(self) -> CompiledSnapshot:
        """The newest good snapshot; take it once a call. NotPossibleNow before the first."""
        if self._current is None:
            raise NotPossibleNow(
                "no policy snapshot yet: see that the Policy service runs and has documents"
            )
        return self._current

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new snapshot just before it becomes the current one.

        What it returns is awaited. If it raises, the snapshot is refused and the old one stays.
        """
        self._listeners.append(listener)

    def on_stop(self, listener: StopListener) -> None:
        """Call `listener` whenever more may be stopped than before: revocations or keys changed."""
        self._stop_listeners.append(listener)

    async def load(self) -> float:
        """Take what is cached; when Policy confirmed it last, in Unix seconds.

        What may not run is logged by name and left out: the service then waits for Policy.
        """
        if self._cache is None:
            return 0.0
        try:
            cached = await asyncio.to_thread(self._cache.load)
            if cached is None:
                return 0.0
            self._check_age(cached)
            await self._revoke(cached.revocations)
            await self._take(cached.snapshot)
        except HarmostError as error:
            log.warning("the cached snapshot is left out: %s", error.message)
            return 0.0
        self._signature = cached.snapshot.signature.value
        return cached.confirmed_at_s

    async def take(self, snapshot: policy_pb2.Snapshot) -> None:
        """Make `snapshot` the current one, on disk too; nothing but a check where it is already."""
        if self._revocations is None:
            raise InvalidInput("what is stopped was not said before the snapshot: say it first")
        if self._is_current(snapshot):
            await asyncio.to_thread(self._check, snapshot)
        else:
            await self._take(snapshot)
        if self._cache and self._signature != snapshot.signature.value:
            sequence = self.revocations.sequence
            await asyncio.to_thread(self._cache.save, snapshot, sequence=sequence)
        self._signature = snapshot.signature.value

    async def revoke(self, message: policy_pb2.Revocations) -> None:
        """Put `message` in force, then on disk."""
        await self._revoke(message)
        if self._cache:
            generation = self.generation
            await asyncio.to_thread(self._cache.save_revocations, message, generation=generation)

    async def _revoke(self, message: policy_pb2.Revocations) -> None:
        revocations = await asyncio.to_thread(self._checked, message)
        known = self._revocations
        if known is not None and revocations.sequence < known.sequence:
            raise InvalidInput(
                f"revocations `{revocations.sequence}` are older than `{known.sequence}`, which are "
                f"in force: {REMOVE}"
            )
        if known is not None and revocations.sequence == known.sequence:
            if revocations.digest != known.digest:
                raise InvalidInput(f"revocations `{known.sequence}` are others than those in force")
            return
        self._revocations = revocations
        await _told(self._stop_listeners)
        log.info("revocations %d are in force: %d", revocations.sequence, len(revocations.all))

    async def _take(self, snapshot: policy_pb2.Snapshot) -> None:
        if snapshot.generation <= self.generation:
            raise InvalidInput(
                f"generation `{snapshot.generation}` is not above the running "
                f"`{self.generation}`: {REMOVE}"
            )
        # On a thread: a large set takes seconds, and calls go on meanwhile.
        compiled = await asyncio.to_thread(self._compiled, snapshot)
        for listener in self._listeners:
            waiting = listener(compiled)
            if inspect.isawaitable(waiting):
                await waiting
        self._current = compiled
        await _told(self._stop_listeners)
        log.info("policy generation %d runs", compiled.generation)

    def _is_current(self, snapshot: policy_pb2.Snapshot) -> bool:
        current = self._current
        return current is not None and (current.generation, current.digest) == (
            snapshot.generation,
            snapshot.digest,
        )

    def _check_age(self, cached: Cached) -> None:
        if cached.snapshot.generation < cached.generation_min:
            raise InvalidInput(
                f"it is generation `{cached.snapshot.generation}` and "
                f"`{cached.generation_min}` ran here before: {REMOVE}"
            )
        if cached.revocations.sequence < cached.sequence_min:
            raise InvalidInput(
                f"revocations `{cached.revocations.sequence}` are older than "
                f"`{cached.sequence_min}`, which were in force here: {REMOVE}"
            )

    def _checked(self, message: policy_pb2.Revocations) -> Revocations:
        revocations = revocations_from_proto(message)
        self._verifier().check(
            f"the set of revocations `{revocations.sequence}`",
            statement_of_revocations(revocations),
            signature_of(message),
        )
        return revocations

    def _check(self, snapshot: policy_pb2.Snapshot) -> None:
        self._verifier().check(
            f"generation `{snapshot.generation}`",
            statement_of_snapshot(snapshot),
            signature_of(snapshot),
        )

    def _compiled(self, snapshot: policy_pb2.Snapshot) -> CompiledSnapshot:
        self._check(snapshot)
        if content_digest(resource.yaml for resource in snapshot.resources) != snapshot.digest:
            raise InvalidInput(f"generation `{snapshot.generation}` is damaged: its digest differs")
        with gently():
            documents = list(
                parse_sources(
                    [
                        Source(f"{item.kind}/{item.name}", item.yaml)
                        for item in snapshot.resources
                        if not (snapshot.compiled_policy and item.yaml.startswith(_POLICY))
                    ]
                )
            )
            compiled = compile_snapshot(
                snapshot.generation,
                documents,
                digest=snapshot.digest,
                compiled_policy=snapshot.compiled_policy,
            )
            while documents:  # freed one by one: all at once would hold the interpreter
                documents.pop()
        return compiled


_NONE = Revocations()


async def _told(listeners: list[StopListener]) -> None:
    for listener in listeners:
        waiting = listener()
        if inspect.isawaitable(waiting):
            await waiting
