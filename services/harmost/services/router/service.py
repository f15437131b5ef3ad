"""RouterService: admits calls, runs a mission for each, converts what happens. mission.py does the rest.

admit   principal, tenant, profile, sizes, claims, calls in flight, idempotency key
"""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import grpc

from harmost.core.audit.rows import Outcome, OutcomeReported
from harmost.core.chat import Call
from harmost.core.errors import InvalidInput, NotFound, NotPossibleNow
from harmost.core.limits import INPUT_BYTES_MAX
from harmost.core.otel.context import TraceContext, trace_context
from harmost.core.policy.revocations import killed
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import visible
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.services.interceptors.principal import Principal, current_principal
from harmost.services.router.admission import InFlight, check_embeds
from harmost.services.router.content import AnyRequest, input_bytes
from harmost.services.router.convert import call_of, chat_response, embed_response
from harmost.services.router.events import Finished
from harmost.services.router.failures import raise_if_broken
from harmost.services.router.listeners import Listener, Nobody, listening
from harmost.services.router.listing import model_info, profile_info
from harmost.services.router.mission import Mission, MissionTools
from harmost.services.router.running import RunningMissions
from harmost.services.snapshots.watcher import SnapshotWatcher

if TYPE_CHECKING:  # generic in the type stubs, not in grpcio itself
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

__all__ = ["RouterServicer"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Serves applications. Run `running` around it: what outlives a call belongs to it."""

    def __init__(self, *, snapshots: SnapshotWatcher, tools: MissionTools, tls: bool) -> None:
        self._snapshots = snapshots
        self._tools = tools
        self._tls = tls
        self._in_flight = InFlight()
        self._missions = RunningMissions()
        snapshots.on_stop(self._stop)
        self._closing: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Own the tasks that settle abandoned calls; the end waits for them."""
        async with asyncio.TaskGroup() as self._closing:
            yield

    async def StreamChat(  # type: ignore[override] # it writes to its call by itself
        self, request: router_pb2.StreamChatRequest, context: Context
    ) -> None:
        async with listening(context) as listener:
            serving = self._serve(request, context, listener)
            del request  # a stream would keep its prompt to its end
            await serving

    async def Chat(  # type: ignore[override] # the message as bytes: it is never an object
        self, request: router_pb2.ChatRequest, context: Context
    ) -> bytes:
        serving = self._serve(request, context, Nobody())
        del request
        mission, finished = await serving
        return chat_response(mission.parts, finished)

    async def Embed(  # type: ignore[override] # as `Chat`
        self, request: router_pb2.EmbedRequest, context: Context
    ) -> bytes:
        serving = self._serve(request, context, Nobody())
        del request
        mission, finished = await serving
        return embed_response(mission.vectors, finished)

    async def ReportOutcome(
        self, request: router_pb2.ReportOutcomeRequest, context: Context
    ) -> router_pb2.ReportOutcomeResponse:
        journal = self._tools.attempt.journal
        outcome = Outcome(
            name=request.name,
            score_permille=request.score_permille,
            reported_at_ns=time.time_ns(),
            tenant=current_principal().tenant,
        )
        journal.append(OutcomeReported(record_id=request.record_id, outcome=outcome))
        await journal.flush()
        return router_pb2.ReportOutcomeResponse()

    async def ListModels(
        self, request: router_pb2.ListModelsRequest, context: Context
    ) -> router_pb2.ListModelsResponse:
        snapshot, principal = self._snapshots.current(), current_principal()
        known = {
            name: model
            for name, model in snapshot.catalog.models.items()
            if _shared(principal.tenant, model.metadata.tenant)
        }
        page, token = _page(sorted(known), request.page_size, request.page_token)
        now = datetime.now(UTC)
        prices = snapshot.prices.at(int(now.timestamp()))
        return router_pb2.ListModelsResponse(
            models=[model_info(name, snapshot.catalog, prices[name], now.date()) for name in page],
            next_page_token=token,
        )

    async def ListProfiles(
        self, request: router_pb2.ListProfilesRequest, context: Context
    ) -> router_pb2.ListProfilesResponse:
        snapshot, principal = self._snapshots.current(), current_principal()
        known = {
            name: profile
            for name, profile in snapshot.catalog.profiles.items()
            if _shared(principal.tenant, profile.metadata.tenant)
        }
        page, token = _page(sorted(known), request.page_size, request.page_token)
        return router_pb2.ListProfilesResponse(
            profiles=[profile_info(known[name].metadata, snapshot.steps[name]) for name in page],
            next_page_token=token,
        )

    async def GetStats(
        self, request: router_pb2.GetStatsRequest, context: Context
    ) -> router_pb2.GetStatsResponse:
        tools = self._tools
        answer = tools.stats.answer(
            router_id=tools.router_id,
            calls_live=self._in_flight.calls,
            tools=tools.attempt,
            generation=self._snapshots.current().generation,
        )
        answer.runs_record = request.record_id in self._missions
        return answer

    # --- admit --------------------------------------------------------------------------------------

    async def _serve(
        self, request: AnyRequest, context: Context, listener: Listener
    ) -> tuple[Mission, Finished]:
        """A mission for `request` that has run, and its end; it is counted while it runs.

        Left early, it is settled behind the scenes.
        """
        principal, snapshot = current_principal(), self._snapshots.current()
        trace = trace_context(context.invocation_metadata() or ())
        call = self._admit(request, principal, snapshot, trace)
        record_id = f"{time.time_ns():016x}{os.urandom(8).hex()}"
        stopped = self._snapshots.revocations().of_call(
            tenant=call.tenant, profile=call.profile, agent_id=call.agent_id, record_id=record_id
        )
        if stopped is not None:
            raise killed(stopped)
        self._in_flight.enter(call.tenant, snapshot.catalog.tenants)
        mission: Mission | None = None
        try:
            if call.idempotency_key:
                await self._claim(request, call, principal, record_id)
            mission = Mission(
                call,
                record_id=record_id,
                snapshot=snapshot,
                tools=self._tools,
                tls=self._tls,
            )
            del request
            self._missions.begin(mission, principal)
            finished = await mission.run(listener)
            raise_if_broken(finished)
            return mission, finished
        finally:
            if mission is not None:
                self._missions.end(mission)
            if mission is not None and mission.open:
                self._abandon(mission, context)
            else:
                self._in_flight.leave(call.tenant)
                if mission is not None and call.idempotency_key:
                    await self._tools.attempt.budget.ended(record_id)

    async def _claim(
        self, request: AnyRequest, call: Call, principal: Principal, record_id: str
    ) -> None:
        """Make the call's key stand for it alone, whichever Router is asked next."""
        owner = f"{principal.tenant}:{principal.name}"  # names are unique within a tenant
        budget = self._tools.attempt.budget
        await budget.claim(owner, call.idempotency_key, _digest(request), record_id)

    def _admit(
        self,
        request: AnyRequest,
        principal: Principal,
        snapshot: CompiledSnapshot,
        trace: TraceContext,
    ) -> Call:
        profile = snapshot.catalog.profiles.get(request.profile)
        if profile is None or not _shared(principal.tenant, profile.metadata.tenant):
            raise NotFound(
                f"no profile `{request.profile}` that this key may call: "
                "see `harmost profiles` or apply a MissionProfile document"
            )
        age_s, age_max_s = self._snapshots.age_s(), profile.spec.snapshot_age_max_s
        if age_s > age_max_s:
            raise NotPossibleNow(
                f"the policy snapshot is {age_s:.0f} s old, older than the {age_max_s} s that "
                f"`{request.profile}` allows: see that the Policy service runs"
            )
        tenant = _charged(request, principal, profile.metadata.tenant, snapshot)
        _check_size(request, min(profile.spec.input_bytes_max, INPUT_BYTES_MAX))
        if isinstance(request, router_pb2.EmbedRequest):
            check_embeds(request.profile, snapshot.steps[request.profile])
        return call_of(request, principal=principal, tenant=tenant, trace=trace)

    async def _stop(self) -> None:
        """End the running missions that what is stopped now means."""
        if self._in_flight.calls:
            await self._missions.stop(self._snapshots.current(), self._snapshots.revocations())

    def _abandon(self, mission: Mission, context: Context) -> None:
        # None without a deadline, whatever the stubs say.
        remaining_s = cast("float | None", context.time_remaining())
        late = remaining_s is not None and remaining_s <= 0
        assert self._closing is not None  # INVARIANT: calls are served inside `running`
        self._closing.create_task(self._close_abandoned(mission, late), name="router.abandoned")

    async def _close_abandoned(self, mission: Mission, late: bool) -> None:
        try:
            await mission.abandon("deadline" if late else "cancelled")
        except Exception:
            # The journal has its open rows: the next start settles what could not be settled now.
            log.exception("abandoned mission `%s` could not be closed", mission.record_id)
        finally:
            self._in_flight.leave(mission.call.tenant)
            if mission.call.idempotency_key:
                await self._tools.attempt.budget.ended(mission.record_id)


def _check_size(request: AnyRequest, input_bytes_max: int) -> None:
    if request.ByteSize() <= input_bytes_max:
        return  # nearly always, and then its parts need not be looked at
    said_bytes = input_bytes(request)
    if said_bytes > input_bytes_max:
        raise InvalidInput(
            f"the input is {said_bytes} bytes: "
            f"profile `{request.profile}` takes at most {input_bytes_max}"
        )


def _charged(
    request: AnyRequest, principal: Principal, owner: str, snapshot: CompiledSnapshot
) -> str:
    """The tenant path that pays; `owner` is the profile's tenant."""
    tenant = request.tenant or (owner if visible(principal.tenant, owner) else principal.tenant)
    if not tenant:
        raise InvalidInput(
            "who pays is not known: this key and profile belong to no tenant: set `tenant`"
        )
    if not visible(principal.tenant, tenant) or tenant not in snapshot.catalog.tenants:
        raise NotFound(
            f"no tenant `{tenant}` that this key may charge: "
            + (
                f"it may charge `{principal.tenant}` and what is below"
                if principal.tenant
                else "see `harmost get tenants`"
            )
        )
    if owner and not visible(owner, tenant):
        raise NotFound(f"profile `{request.profile}` is not for tenant `{tenant}`")
    return tenant


def _shared(principal_tenant: str, owner: str) -> bool:
    """Whether a document of `owner` serves a key: it is the key's own, above it, or below it."""
    return not owner or visible(principal_tenant, owner) or visible(owner, principal_tenant)


def _digest(request: AnyRequest) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def _page(names: list[str], page_size: int, page_token: str) -> tuple[list[str], str]:
    """Names after `page_token`, at most `page_size` (0: 100), and the token of the next page."""
    rest = [name for name in names if name > page_token]
    page = rest[: page_size or 100]
    return page, page[-1] if len(page) < len(rest) else ""
