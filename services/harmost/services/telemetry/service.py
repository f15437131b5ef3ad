"""TelemetryService: RPCs to the store, seen through the caller's tenant."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import apsw
import grpc

from harmost.core.audit.leaf import Opening, is_opened_by, openings
from harmost.core.errors import Forbidden, InvalidInput, NotFound, Unsupported
from harmost.core.tenants import visible
from harmost.services.convert.record import STATUS_NAMES, record_from_proto
from harmost.services.convert.times import time_from_proto
from harmost.services.interceptors.principal import current_principal
from harmost.services.telemetry.audit import AuditLog, Proof, no_entry
from harmost.services.telemetry.convert import position_of, token_of
from harmost.services.telemetry.erasure import Erasure
from harmost.services.telemetry.store import (
    FoundVector,
    RecordFilter,
    TelemetryStore,
    VectorFilter,
)
from harmost.services.telemetry.tail import Followed, Tails
from harmost.services.telemetry.usage import UsageQuestion
from harmost.services.telemetry.worker import Worker
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

__all__ = ["TelemetryServicer"]

log = logging.getLogger(__name__)

if TYPE_CHECKING:  # generic in the type stubs, not in grpcio itself
    from harmost.services.telemetry.otel.otel import Otel

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

PAGE_SIZE = 100
VECTORS_MAX = 1_000_000  # of one question; stated in the contract
VECTORS_AT_ONCE = 2_000  # some 10 ms of the store, in which it takes no records
PRUNE_INTERVAL_S = 60.0
PRUNE_PAUSE_S = 0.1  # between two steps, so that records that come in are not held up
_TIME_NS_MAX = 2**63 - 1


class TelemetryServicer(telemetry_pb2_grpc.TelemetryServiceServicer):
    """Serves while it is `running()`."""

    def __init__(
        self,
        store: TelemetryStore,
        *,
        tails: Tails | None = None,
        audit: AuditLog | None = None,
        otel: "Otel | None" = None,
    ) -> None:
        self._store = store
        self._audit = audit
        self._otel = otel
        self._worker = Worker(store)
        self._tails = tails or Tails()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Prune until the block ends; then let what is being written be ended."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._worker.running())
            if self._audit is not None:
                await stack.enter_async_context(self._audit.running(self._worker))
            if self._otel is not None:
                await stack.enter_async_context(self._otel.running(self._worker.write))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            pruner = tasks.create_task(self._prune_forever(), name="telemetry.prune")
            try:
                yield
            finally:
                pruner.cancel()

    def drain(self) -> None:
        """End what has no end of its own: the followers."""
        self._tails.close()

    async def Report(
        self, request_iterator: AsyncIterator[telemetry_pb2.ReportRequest], context: Context
    ) -> AsyncIterator[telemetry_pb2.ReportResponse]:
        """Acknowledge each batch once it is on the disk. A malformed one ends the stream."""
        async for request in request_iterator:
            fresh = await self._worker.write(partial(self._store.take, request))
            self._tails.offer(fresh)
            if self._otel is not None:
                await self._otel.take(fresh)
            yield telemetry_pb2.ReportResponse(batch=request.batch)

    async def QueryUsage(
        self, request: telemetry_pb2.QueryUsageRequest, context: Context
    ) -> telemetry_pb2.QueryUsageResponse:
        """Sums over what the caller may see."""
        question = UsageQuestion(
            tenant=_scope(request.tenant),
            start_ns=time_from_proto(request.start),
            end_ns=time_from_proto(request.end) if request.HasField("end") else _TIME_NS_MAX,
            group_by=tuple(request.group_by),
            tenant_levels=request.tenant_levels,
            label_names=tuple(request.label_names),
            profile=request.profile,
            model=request.model,
            labels=tuple(request.labels.items()),
        )
        rows, truncated = await self._worker.read(partial(self._store.usage, question))
        return telemetry_pb2.QueryUsageResponse(rows=rows, truncated=truncated)

    async def GetRecord(
        self, request: telemetry_pb2.GetRecordRequest, context: Context
    ) -> telemetry_pb2.GetRecordResponse:
        """One record; NotFound too where the caller may not know of it."""
        record = await self._worker.read(partial(self._store.get, request.record_id))
        if record is None or not visible(current_principal().tenant, record.tenant):
            raise NotFound(
                f"there is no record `{request.record_id}`: "
                "a call is recorded within seconds of its end, and kept for a time"
            )
        return telemetry_pb2.GetRecordResponse(record=record)

    async def ListRecords(
        self, request: telemetry_pb2.ListRecordsRequest, context: Context
    ) -> telemetry_pb2.ListRecordsResponse:
        """A page of records, newest first."""
        wanted = RecordFilter(
            tenant=_scope(request.tenant),
            profile=request.profile,
            status=STATUS_NAMES.get(request.status, ""),
        )
        after, size = position_of(request.page_token), request.page_size or PAGE_SIZE
        # One more than the page tells whether another follows.
        found = await self._worker.read(
            partial(self._store.page, wanted, after=after, items_max=size + 1)
        )
        return telemetry_pb2.ListRecordsResponse(
            records=[item.record for item in found[:size]],
            next_page_token=token_of(found[size - 1].position) if len(found) > size else "",
        )

    async def TailDecisions(
        self, request: telemetry_pb2.TailDecisionsRequest, context: Context
    ) -> AsyncIterator[telemetry_pb2.TailDecisionsResponse]:
        """Records as they come, until the caller goes."""
        followed = Followed(_scope(request.tenant), request.profile, request.status)
        with self._tails.following(followed) as responses:
            async for response in responses:
                yield response

    async def ReadFactVectors(
        self, request: telemetry_pb2.ReadFactVectorsRequest, context: Context
    ) -> AsyncIterator[telemetry_pb2.ReadFactVectorsResponse]:
        """Fact vectors, newest first, page by page."""
        wanted = VectorFilter(
            tenant=_scope(request.tenant),
            start_ns=time_from_proto(request.start),
            end_ns=time_from_proto(request.end) if request.HasField("end") else _TIME_NS_MAX,
        )
        left, after = request.vectors_max or VECTORS_MAX, None
        while True:
            # One more than the page tells whether another follows.
            page = min(left, VECTORS_AT_ONCE)
            read = partial(self._store.vectors, wanted, after=after, items_max=page + 1)
            found = await self._worker.read(read)
            left -= len(found[:page])
            more = len(found) > page
            yield telemetry_pb2.ReadFactVectorsResponse(
                vectors=[_vector_to_proto(each) for each in found[:page]],
                truncated=more and not left,
            )
            if not more or not left:
                return
            after = found[page - 1].position

    async def GetCheckpoint(
        self, request: telemetry_pb2.GetCheckpointRequest, context: Context
    ) -> telemetry_pb2.GetCheckpointResponse:
        """The newest head of the audit log."""
        return telemetry_pb2.GetCheckpointResponse(note=self._log().checkpoint())

    async def GetReceipt(
        self, request: telemetry_pb2.GetReceiptRequest, context: Context
    ) -> telemetry_pb2.GetReceiptResponse:
        """Proof of one record; NotFound too where the caller may not know of it."""
        proof = await self._log().receipt(request.record_id)
        principal = current_principal()
        if not visible(principal.tenant, proof.tenant):
            raise no_entry(request.record_id)
        answer = telemetry_pb2.GetReceiptResponse(proof=proof.receipt)
        if "operator" in principal.roles:
            for opening in await self._openings(request.record_id, proof):
                answer.openings.add(field=opening.field, value=opening.value, nonce=opening.nonce)
        return answer

    async def EraseEndUser(
        self, request: telemetry_pb2.EraseEndUserRequest, context: Context
    ) -> telemetry_pb2.EraseEndUserResponse:
        """Forget an end user, page by page."""
        tenant, principal = _scope(request.tenant), current_principal()
        if self._log().held_within(tenant):
            raise Forbidden(
                f"`{tenant}`, or a tenant below it, is under legal hold: nothing is erased until its "
                "`Tenant` document no longer says `legal_hold`"
            )
        if request.end_user_id in request.reason:
            raise InvalidInput("`reason` names the end user, and is kept: leave the name out")
        erasure = Erasure(tenant, request.end_user_id, principal.name, request.reason)
        answer = telemetry_pb2.EraseEndUserResponse(leaf_index=-1)
        after: int | None = 0
        while after is not None:
            page = await self._worker.write(
                partial(self._store.erase_page, erasure, after=after, now_ns=time.time_ns())
            )
            after = page.position
            answer.records += page.records
            answer.leaf_index = max(answer.leaf_index, page.leaf_index)
        return answer

    def _log(self) -> AuditLog:
        if self._audit is None:
            raise Unsupported(
                "this service keeps no audit log: start it with `--audit-signing-key`"
            )
        return self._audit

    async def _openings(self, record_id: str, proof: Proof) -> list[Opening]:
        """What the entry's commitments hide, as far as it is still known."""
        nonce = await self._worker.read(partial(self._log().nonce, proof.leaf_index))
        record = await self._worker.read(partial(self._store.get, record_id))
        if nonce is None or record is None:
            return []
        found = openings(record_from_proto(record), nonce)
        return [opening for opening in found if is_opened_by(proof.said, opening)]

    async def _prune_forever(self) -> None:
        while True:
            try:
                pruned = await self._worker.write(lambda: self._store.prune(time.time_ns()))
            except apsw.Error as error:
                log.warning("old records cannot be pruned: %s", error)
                pruned = 0
            await asyncio.sleep(PRUNE_PAUSE_S if pruned else PRUNE_INTERVAL_S)


def _vector_to_proto(found: FoundVector) -> telemetry_pb2.FactVector:
    return telemetry_pb2.FactVector(
        record_id=found.record_id,
        tenant=found.tenant,
        profile=found.profile,
        started_ns=found.position.started_ns,
        vector=found.vector,
    )


def _scope(tenant: str) -> str:
    """The subtree that is asked for, as far as the caller may see it."""
    principal = current_principal()
    if not tenant:
        return principal.tenant
    if not visible(principal.tenant, tenant):
        raise Forbidden(
            f"`{principal.name}` may not see `{tenant}`: ask for `{principal.tenant}` or below it"
        )
    return tenant
