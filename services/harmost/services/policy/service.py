"""PolicyService: the RPCs over documents.py (what may change), store.py (disk), watchers.py (push).

Revocations have a way of their own: kills.py (who may stop what), switches.py.

Reads answer from the running set in memory. Changes pass one by one through a writer task: checked,
on disk, then running, then pushed; a caller that goes away does not stop one half-way.
"""

import asyncio
import bisect
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import grpc

from harmost.core.errors import (
    Forbidden,
    InvalidDocuments,
    InvalidInput,
    NotFound,
    NotPossibleNow,
    RateLimited,
    Unsupported,
)
from harmost.core.policy.expiry import LatestTime
from harmost.core.policy.revocations import Revocations
from harmost.core.resources.kinds import KINDS
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.signing import SOURCE_REVISION, Signer
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import visible
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.convert.decision import decision_to_proto
from harmost.services.convert.signed import (
    KIND_NAMES,
    revocation_to_proto,
    revocations_to_proto,
)
from harmost.services.interceptors.principal import Principal, current_principal
from harmost.services.policy.authoring import Authoring
from harmost.services.policy.convert import (
    changes_to_proto,
    facts_from_proto,
    generation_to_proto,
    resource_to_proto,
    snapshot_to_proto,
    sources_from_proto,
)
from harmost.services.policy.decide import Question, question
from harmost.services.policy.documents import (
    Change,
    Kept,
    Key,
    Origin,
    Running,
    change,
    loaded,
)
from harmost.services.policy.kills import Stop, restored, revoked
from harmost.services.policy.recorded import recorded_question
from harmost.services.policy.replay import ReadVectors, Replays
from harmost.services.policy.store import PolicyStore
from harmost.services.policy.switches import Switches
from harmost.services.policy.watchers import Watchers

__all__ = ["PolicyServicer"]

log = logging.getLogger(__name__)

PAGE_SIZE = 100
WRITES_WAITING_MAX = 64
RETRY_AFTER_S = 1.0

Context = grpc.aio.ServicerContext[Any, Any]


class _Write(NamedTuple):
    """A change that waits for the writer. `prepare` checks it against what runs when it is its turn."""

    prepare: Callable[[Running], Change]
    author: str
    done: "asyncio.Future[Change]"
    validate_only: bool


class PolicyServicer(policy_pb2_grpc.PolicyServiceServicer):
    """Serves the documents that `store` keeps, signed by `signer`; changes need `running()`.

    `read_vectors` asks Telemetry; None: there is nothing to replay. Raises InvalidDocuments when this version does not understand what is stored.
    """

    def __init__(
        self, store: PolicyStore, signer: Signer, *, read_vectors: ReadVectors | None = None
    ) -> None:
        self._store = store
        self._read_vectors = read_vectors
        self._replays = Replays(read_vectors) if read_vectors is not None else None
        self._signer = signer
        self._running = loaded(store.latest())
        self._latest = LatestTime()
        self._authoring = Authoring()
        self._switches = Switches(store, self._revoke)
        self._watchers = Watchers(
            snapshot_to_proto(self._running, signer),
            revocations_to_proto(self._switches.revocations, signer),
        )
        self._writes: asyncio.Queue[_Write] = asyncio.Queue(WRITES_WAITING_MAX)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Carry out changes until the block ends; the one at work is finished."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write_forever(), name="policy.writer")
            try:
                yield
            finally:
                self.drain()
                writer.cancel()

    def drain(self) -> None:
        """End all watches, which else would last as long as the server lets them."""
        self._watchers.close()

    def current(self) -> CompiledSnapshot:
        """The running snapshot; NotPossibleNow before anything was applied."""
        if not self._running.generation:
            raise NotPossibleNow("no documents yet: apply some with `harmost apply -f`")
        return self._running.snapshot

    def revocations(self) -> Revocations:
        """What is stopped now."""
        return self._switches.revocations

    async def Apply(
        self, request: policy_pb2.ApplyRequest, context: Context
    ) -> policy_pb2.ApplyResponse:
        """Add and replace documents, all or nothing."""
        principal = current_principal()
        sources = sources_from_proto(request)
        _check_revision(request.source_revision)

        def prepare(running: Running) -> Change:
            running.check_etag(request.etag)
            put = parse_sources(sources)
            origin = Origin(principal, _now_ms(), request.source_revision)
            return change(running, put=put, remove=(), origin=origin)

        done = await self._write(prepare, principal.name, validate_only=request.validate_only)
        running = self._running if request.validate_only else done.running
        return policy_pb2.ApplyResponse(
            generation=running.generation,
            etag=running.etag,
            changes=changes_to_proto(done.kinds),
            warnings=done.warnings(datetime.now(UTC).date()),
        )

    async def Delete(
        self, request: policy_pb2.DeleteRequest, context: Context
    ) -> policy_pb2.DeleteResponse:
        """Remove documents, all or nothing, unless another document still names one."""
        principal = current_principal()
        keys = tuple(dict.fromkeys((each.kind, each.name) for each in request.resources))

        def prepare(running: Running) -> Change:
            running.check_etag(request.etag)
            try:
                origin = Origin(principal, _now_ms())
                return change(running, put=(), remove=keys, origin=origin)
            except InvalidDocuments as error:
                raise InvalidDocuments(
                    f"other documents still need what would go: {error.message}",
                    violations=error.violations,
                ) from None

        running = (await self._write(prepare, principal.name)).running
        return policy_pb2.DeleteResponse(generation=running.generation, etag=running.etag)

    async def Rollback(
        self, request: policy_pb2.RollbackRequest, context: Context
    ) -> policy_pb2.RollbackResponse:
        """Publish an older generation's content again, under a new number."""
        principal = current_principal()

        def prepare(running: Running) -> Change:
            return self._back_to(running, request.generation, principal)

        running = (await self._write(prepare, principal.name)).running
        return policy_pb2.RollbackResponse(generation=running.generation, etag=running.etag)

    async def GetResource(
        self, request: policy_pb2.GetResourceRequest, context: Context
    ) -> policy_pb2.GetResourceResponse:
        """One document that the principal may see."""
        running, wanted = self._running, request.resource
        _check_kind(wanted.kind)
        kept = running.documents.get((wanted.kind, wanted.name))
        if kept is None or not visible(current_principal().tenant, kept.owner):
            raise NotFound(f"{wanted.kind} `{wanted.name}` does not exist: list what there is")
        return policy_pb2.GetResourceResponse(
            resource=resource_to_proto(kept), snapshot_etag=running.etag
        )

    async def ListResources(
        self, request: policy_pb2.ListResourcesRequest, context: Context
    ) -> policy_pb2.ListResourcesResponse:
        """A page of the documents that the principal may see, in order of kind and name."""
        running, tenant = self._running, current_principal().tenant
        if request.kind:
            _check_kind(request.kind)
        size = request.page_size or PAGE_SIZE
        keys = list(running.documents)
        page: list[Kept] = []
        for key in keys[_page_start(keys, request.page_token) :]:
            kept = running.documents[key]
            if (not request.kind or key[0] == request.kind) and visible(tenant, kept.owner):
                page.append(kept)
                if len(page) > size:
                    break
        last = page[size - 1].stored if len(page) > size else None
        return policy_pb2.ListResourcesResponse(
            resources=[resource_to_proto(kept) for kept in page[:size]],
            next_page_token=f"{last.kind}/{last.name}" if last else "",
            generation=running.generation,
        )

    async def Evaluate(
        self, request: policy_pb2.EvaluateRequest, context: Context
    ) -> policy_pb2.EvaluateResponse:
        """Decide on given facts."""
        snapshot = self.current()
        asked = _question(snapshot, request)
        decision = snapshot.engine.decide(asked.request, asked.candidates, now_s=self._now_s())
        return policy_pb2.EvaluateResponse(decision=decision_to_proto(decision))

    async def Explain(
        self, request: policy_pb2.ExplainRequest, context: Context
    ) -> policy_pb2.ExplainResponse:
        """Decide on given facts, or those of a record, and say what each rule said."""
        snapshot, now_s = self.current(), self._now_s()
        if request.record_id:
            if self._read_vectors is None:
                raise _no_records()
            asked = await recorded_question(
                snapshot, current_principal(), request, self._read_vectors, now_s=now_s
            )
        else:
            asked = _question(snapshot, request)
        return await self._authoring.explain(snapshot, asked, now_s=now_s)

    async def Test(
        self, request: policy_pb2.TestRequest, context: Context
    ) -> policy_pb2.TestResponse:
        """Run tests of policies."""
        self.current()
        return await self._authoring.test(
            self._running, current_principal(), request, now_s=self._now_s()
        )

    async def Lint(
        self, request: policy_pb2.LintRequest, context: Context
    ) -> policy_pb2.LintResponse:
        """Look for what is doubtful about policies."""
        self.current()
        return await self._authoring.lint(
            self._running, current_principal(), request, now_s=self._now_s()
        )

    async def Replay(
        self, request: policy_pb2.ReplayRequest, context: Context
    ) -> AsyncIterator[policy_pb2.ReplayResponse]:
        """Decide recorded calls again with other documents over the running ones."""
        if self._replays is None:
            raise _no_records()
        principal, running = current_principal(), self._running
        sources = sources_from_proto(request)

        def compiled() -> CompiledSnapshot:
            put = parse_sources(sources) if sources else ()
            origin = Origin(principal, _now_ms())
            return change(running, put=put, remove=(), origin=origin).running.snapshot

        async for response in self._replays.run(request, principal, compiled):
            yield response

    async def WatchSnapshot(
        self, request_iterator: AsyncIterator[policy_pb2.WatchSnapshotRequest], context: Context
    ) -> AsyncIterator[policy_pb2.WatchSnapshotResponse]:
        """The running snapshot, then each newer one."""
        async for message in self._watchers.watch(request_iterator):
            yield message

    async def GetStatus(
        self, request: policy_pb2.GetStatusRequest, context: Context
    ) -> policy_pb2.GetStatusResponse:
        """What runs, and who runs it."""
        running = self._running
        return policy_pb2.GetStatusResponse(
            generation=generation_to_proto(running.published, whole=not current_principal().tenant),
            etag=running.etag,
            digest=running.snapshot.digest,
            key_id=self._signer.key_id,
            revocations_sequence=self._switches.revocations.sequence,
            watchers=() if current_principal().tenant else self._watchers.status(),
        )

    async def ListGenerations(
        self, request: policy_pb2.ListGenerationsRequest, context: Context
    ) -> policy_pb2.ListGenerationsResponse:
        """The newest generations that are kept."""
        whole = not current_principal().tenant
        history = await asyncio.to_thread(self._store.history, request.page_size or PAGE_SIZE)
        return policy_pb2.ListGenerationsResponse(
            generations=[generation_to_proto(published, whole=whole) for published in history]
        )

    async def Revoke(
        self, request: policy_pb2.RevokeRequest, context: Context
    ) -> policy_pb2.RevokeResponse:
        """Stop something."""
        principal, catalog = current_principal(), self.current().catalog
        stop = Stop(KIND_NAMES[request.kind], request.name, request.tenant, request.reason)
        done = await self._switches.change(
            lambda known, now_ms: revoked(
                known, stop, catalog=catalog, principal=principal, now_ms=now_ms
            )
        )
        return policy_pb2.RevokeResponse(
            revocation=revocation_to_proto(done.revocation), sequence=done.revocations.sequence
        )

    async def Restore(
        self, request: policy_pb2.RestoreRequest, context: Context
    ) -> policy_pb2.RestoreResponse:
        """Take a revocation back."""
        principal = current_principal()
        stop = Stop(KIND_NAMES[request.kind], request.name, request.tenant)
        done = await self._switches.change(
            lambda known, _: restored(known, stop, principal=principal)
        )
        return policy_pb2.RestoreResponse(sequence=done.revocations.sequence)

    async def ListRevocations(
        self, request: policy_pb2.ListRevocationsRequest, context: Context
    ) -> policy_pb2.ListRevocationsResponse:
        """A page of what is revoked within the principal's tenant."""
        found, token = self._switches.page(
            current_principal().tenant,
            size=request.page_size or PAGE_SIZE,
            token=request.page_token,
        )
        return policy_pb2.ListRevocationsResponse(
            revocations=[revocation_to_proto(each) for each in found],
            next_page_token=token,
            sequence=self._switches.revocations.sequence,
        )

    def _revoke(self, revocations: Revocations) -> None:
        self._watchers.revoke(revocations_to_proto(revocations, self._signer))

    def _now_s(self) -> int:
        return self._latest.at(int(time.time()))

    async def _write(
        self,
        prepare: Callable[[Running], Change],
        author: str,
        *,
        validate_only: bool = False,
    ) -> Change:
        done: asyncio.Future[Change] = asyncio.get_running_loop().create_future()
        try:
            self._writes.put_nowait(_Write(prepare, author, done, validate_only))
        except asyncio.QueueFull:
            raise RateLimited(
                f"{WRITES_WAITING_MAX} changes are waiting: try again", retry_after_s=RETRY_AFTER_S
            ) from None
        return await done

    async def _write_forever(self) -> None:
        while True:
            write = await self._writes.get()
            if write.done.cancelled():
                continue  # the caller went before its turn came
            carried_out = asyncio.ensure_future(self._carry_out(write))
            try:
                await asyncio.shield(carried_out)
            except asyncio.CancelledError:
                # INVARIANT: what was begun is finished, so that memory and disk agree.
                await carried_out
                raise

    async def _carry_out(self, write: _Write) -> None:
        """Check and store on a thread; run and push on the loop."""
        try:
            done, snapshot = await asyncio.to_thread(self._stored, write, self._running)
        except Exception as error:  # noqa: BLE001 - the caller, not the writer, raises it
            if not write.done.cancelled():
                write.done.set_exception(error)
            return
        if snapshot is not None:
            self._running = done.running
            self._watchers.publish(snapshot)
            log.info("generation %d runs, by %s", done.running.generation, write.author)
        if not write.done.cancelled():
            write.done.set_result(done)

    def _stored(self, write: _Write, running: Running) -> tuple[Change, policy_pb2.Snapshot | None]:
        """The change, and the snapshot that it makes if it makes one."""
        done = write.prepare(running)
        if done.running is running or write.validate_only:
            return done, None
        snapshot = snapshot_to_proto(done.running, self._signer)
        self._store.publish(done.running.published, changed=done.changed, removed=done.removed)
        return done, snapshot

    def _back_to(self, running: Running, generation: int, principal: Principal) -> Change:
        """The change from what runs to what `generation` held. On the writer's thread."""
        wanted = self._store.at(generation)
        old = {(item.kind, item.name): item for item in wanted.documents}
        remove = tuple(key for key in running.documents if key not in old)
        differing = [
            item
            for key, item in old.items()
            if key not in running.documents or running.documents[key].stored.yaml != item.yaml
        ]
        put = parse_sources([Source(f"{item.kind}/{item.name}", item.yaml) for item in differing])
        touched: list[Key] = [*remove, *(parsed.key for parsed in put)]
        owners = [parsed.document.owner for parsed in put]
        owners += [running.documents[key].owner for key in touched if key in running.documents]
        if not all(visible(principal.tenant, owner) for owner in owners):
            raise Forbidden(
                f"generation `{generation}` differs outside `{principal.tenant}` too: "
                "apply the old documents of your own tenant instead"
            )
        origin = Origin(principal, _now_ms(), wanted.published.source_revision, generation)
        return change(running, put=put, remove=remove, origin=origin)


def _question(
    snapshot: CompiledSnapshot, request: policy_pb2.EvaluateRequest | policy_pb2.ExplainRequest
) -> Question:
    return question(
        snapshot,
        current_principal(),
        profile=request.profile,
        given=facts_from_proto(request.facts),
        models=tuple(request.facts.models),
    )


def _check_revision(revision: str) -> None:
    if not SOURCE_REVISION.fullmatch(revision):
        raise InvalidInput(
            f"`source_revision` is `{revision}`: use at most 100 letters, digits and `.+-_`"
        )


def _no_records() -> Unsupported:
    return Unsupported(
        "this Policy service was not told where records are: start it with `--telemetry`"
    )


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidInput(f"kind `{kind}` is not known: use {', '.join(KINDS)}")


def _page_start(keys: list[Key], token: str) -> int:
    if not token:
        return 0
    kind, slash, name = token.partition("/")
    if not slash or kind not in KINDS:
        raise InvalidInput("`page_token` is not one that was given: begin without it")
    return bisect.bisect_right(keys, (kind, name))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
