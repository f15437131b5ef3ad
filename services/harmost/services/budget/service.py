"""The Budget service's RPCs: who may ask for what, then one piece of work for the store each."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import grpc

from harmost.budget.v1 import budget_pb2 as pb
from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.budget.nodes import BudgetLimit, BudgetLimits, compile_limits
from harmost.core.errors import Forbidden, HarmostError, NotFound
from harmost.core.policy.revocations import Revocations, killed
from harmost.core.resources.kinds import BudgetSpec, Metadata
from harmost.core.tenants import visible
from harmost.services.budget.accounts import Accounts
from harmost.services.budget.audit import Audit, page_after
from harmost.services.budget.convert import (
    adjustment_of,
    budget_to_proto,
    entry_question_of,
    entry_to_proto,
    page_number,
    proof_to_proto,
    reservation_of,
    reserve_response,
    settlement_of,
    sum_question_of,
    sums_to_proto,
)
from harmost.services.budget.lease_convert import claim_of, suspense_to_proto
from harmost.services.budget.lease_streams import LeaseStreams
from harmost.services.budget.report import Position, Report, SumPage, SumQuestion
from harmost.services.budget.store import BudgetStore
from harmost.services.interceptors.principal import Principal, current_principal

__all__ = ["BudgetServicer", "LimitsSource"]

log = logging.getLogger(__name__)

PAGE_SIZE = 100  # where the caller names none
# How soon Routers hear of a limit that changed, and how often silent ones are looked for.
LIMITS_INTERVAL_S = 0.25
EXPIRY_INTERVAL_S = 5.0

if TYPE_CHECKING:  # generic in the type stubs, not in grpcio itself
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext


class BudgetDocument(Protocol):
    """A `Budget` document as a catalog holds it."""

    @property
    def metadata(self) -> Metadata: ...
    @property
    def spec(self) -> BudgetSpec: ...


class BudgetCatalog(Protocol):
    """The documents that the ledger needs of a catalog."""

    @property
    def budgets(self) -> Mapping[str, BudgetDocument]: ...


class BudgetSnapshot(Protocol):
    """One generation of the documents; immutable."""

    @property
    def catalog(self) -> BudgetCatalog: ...


class LimitsSource(Protocol):
    """Where the limits come from: a `SnapshotWatcher`, or what a test puts in its place."""

    def current(self) -> BudgetSnapshot:
        """The newest snapshot; raises NotPossibleNow before the first."""
        ...


class BudgetServicer(budget_pb2_grpc.BudgetServiceServicer):
    """Answers from `store`, under the limits of the newest snapshot of `source`.

    `revocations` says what is stopped: no new hold is made for it.
    """

    def __init__(
        self,
        store: BudgetStore,
        source: LimitsSource,
        *,
        revocations: Callable[[], Revocations] = Revocations,
    ) -> None:
        self._store = store
        self._source = source
        self._revocations = revocations
        self._compiled: tuple[BudgetSnapshot, BudgetLimits] | None = None
        self._streams = LeaseStreams(store, self._limits)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the ledger writing until the block ends."""
        async with self._store.running(), asyncio.TaskGroup() as tasks:
            self._store.on_pushes = self._streams.push
            keepers = [
                tasks.create_task(self._follow_limits_forever(), name="budget.limits"),
                tasks.create_task(self._expire_forever(), name="budget.expiry"),
            ]
            try:
                yield
            finally:
                for keeper in keepers:
                    keeper.cancel()

    def drain(self) -> None:
        """End what has no end of its own: the streams of Routers."""
        self._streams.close()

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:
        wanted = reservation_of(request)
        path = wanted.path
        stopped = self._revocations().of_call(
            tenant=path.tenant, profile=path.profile, agent_id=path.agent_id, record_id=""
        )
        if stopped is not None:
            raise killed(stopped)
        within = current_principal().tenant
        self._limits()  # also what the store decides by: none, no answer
        held = await self._store.run(
            lambda accounts, now_ns: accounts.reserve(wanted, within=within, now_ns=now_ns)
        )
        return reserve_response(held)

    async def Settle(self, request: pb.SettleRequest, context: Context) -> pb.SettleResponse:
        used = settlement_of(request)
        within = current_principal().tenant
        posted = await self._store.run(
            lambda accounts, now_ns: accounts.settle(used, within=within, now_ns=now_ns)
        )
        return pb.SettleResponse(sequence=posted.sequence, debt_usd_nanos=posted.debt_usd_nanos)

    async def Void(self, request: pb.VoidRequest, context: Context) -> pb.VoidResponse:
        attempt_id, within = request.attempt_id, current_principal().tenant
        posted = await self._store.run(
            lambda accounts, now_ns: accounts.void(attempt_id, within=within, now_ns=now_ns)
        )
        return pb.VoidResponse(sequence=posted.sequence)

    async def GetBudget(
        self, request: pb.GetBudgetRequest, context: Context
    ) -> pb.GetBudgetResponse:
        within = current_principal().tenant
        limits = [
            limit for limit in self._limits().of(request.name) if visible(within, limit.tenant)
        ]
        if not limits:
            raise NotFound(f"budget `{request.name}` does not exist: see `harmost budget show`")
        budgets = await self._budgets(limits)
        return pb.GetBudgetResponse(budget=budgets[0], limits=budgets)

    async def ListBudgets(
        self, request: pb.ListBudgetsRequest, context: Context
    ) -> pb.ListBudgetsResponse:
        tenant = _narrowed(request.tenant)
        begin, size = page_number(request.page_token), request.page_size or PAGE_SIZE
        seen = [limit for limit in self._limits().all if visible(tenant, limit.tenant)]
        end = begin + size
        return pb.ListBudgetsResponse(
            budgets=await self._budgets(seen[begin:end]),
            next_page_token=str(end) if end < len(seen) else "",
        )

    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: Context
    ) -> pb.ListEntriesResponse:
        question = entry_question_of(request, tenant=_narrowed(request.tenant))
        after = page_number(request.page_token)
        attempt_id, size = request.attempt_id, request.page_size or PAGE_SIZE
        entries, following = await self._store.run(
            lambda accounts, _: accounts.entries(
                question, after=after, rows_max=size, attempt_id=attempt_id
            )
        )
        return pb.ListEntriesResponse(
            entries=[entry_to_proto(entry) for entry in entries],
            next_page_token=str(following) if following else "",
        )

    async def SumEntries(
        self, request: pb.SumEntriesRequest, context: Context
    ) -> pb.SumEntriesResponse:
        question = sum_question_of(request, tenant=_narrowed(request.tenant))
        report = Report(question.groups, tenant_levels=request.tenant_levels)
        reached: Position | None = Position()
        while reached is not None:  # ends with the rows, or with the caller's deadline
            work = partial(_sum_page, question=question, after=reached)
            page = await self._store.run(work)
            report.add(page)
            reached = page.reached
        return sums_to_proto(report)

    async def VerifyLedger(
        self, request: pb.VerifyLedgerRequest, context: Context
    ) -> AsyncIterator[pb.VerifyLedgerResponse]:
        if current_principal().tenant:
            raise Forbidden("only a key of the whole deployment may have the whole ledger proven")
        audit = Audit()
        while (
            True
        ):  # ends with the rows, which are read faster than they come, or with the deadline
            page = await self._store.run(partial(page_after, sequence=audit.sequence))
            if audit.take(page):
                break
            yield pb.VerifyLedgerResponse(rows=audit.fold.rows, rows_total=page.last_sequence)
        yield proof_to_proto(audit.fold, rows_total=page.last_sequence)

    async def Adjust(self, request: pb.AdjustRequest, context: Context) -> pb.AdjustResponse:
        principal = current_principal()
        wanted = adjustment_of(request, author=principal.name)
        self._limits()
        adjusted = await self._store.run(
            lambda accounts, now_ns: accounts.adjust(wanted, within=principal.tenant, now_ns=now_ns)
        )
        return pb.AdjustResponse(sequence=adjusted.sequence, budget=budget_to_proto(adjusted.state))

    async def SyncLeases(
        self, request_iterator: AsyncIterator[pb.SyncLeasesRequest], context: Context
    ) -> AsyncIterator[pb.SyncLeasesResponse]:
        async for response in self._streams.serve(request_iterator):
            yield response

    async def WriteOffSuspense(
        self, request: pb.WriteOffSuspenseRequest, context: Context
    ) -> pb.WriteOffSuspenseResponse:
        name = _of_the_whole_deployment().name
        entries = await self._store.run(
            lambda accounts, now_ns: accounts.leases.write_off(
                request.router_id,
                request.epoch,
                author=name,
                reason=request.reason,
                now_ns=now_ns,
            )
        )
        return pb.WriteOffSuspenseResponse(entries=[entry_to_proto(entry) for entry in entries])

    async def ListSuspense(
        self, request: pb.ListSuspenseRequest, context: Context
    ) -> pb.ListSuspenseResponse:
        _of_the_whole_deployment()
        router = request.router_id
        found = await self._store.run(lambda accounts, _: accounts.leases.suspense(router))
        return suspense_to_proto(found)

    async def ClaimKey(self, request: pb.ClaimKeyRequest, context: Context) -> pb.ClaimKeyResponse:
        claim = claim_of(request)
        await self._store.run(lambda accounts, now_ns: accounts.leases.claim(claim, now_ns=now_ns))
        return pb.ClaimKeyResponse()

    async def _follow_limits_forever(self) -> None:
        while True:
            await asyncio.sleep(LIMITS_INTERVAL_S)
            before = self._compiled
            try:
                self._limits()
                if self._compiled is not before:
                    await self._store.run(lambda accounts, now_ns: None)  # Routers are told by it
            except HarmostError as error:
                log.debug("the limits are as they were: %s", error)

    async def _expire_forever(self) -> None:
        while True:
            try:
                await self._store.run(
                    lambda accounts, now_ns: accounts.leases.expire(now_ns=now_ns)
                )
            except HarmostError as error:
                log.warning("silent Routers were not looked for: %s", error)
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    async def _budgets(self, limits: list[BudgetLimit]) -> list[pb.Budget]:
        states = await self._store.run(
            lambda accounts, now_ns: accounts.states(limits, now_ns=now_ns)
        )
        return [budget_to_proto(state) for state in states]

    def _limits(self) -> BudgetLimits:
        """The limits of the newest snapshot, compiled once and told to the store."""
        snapshot = self._source.current()
        if self._compiled is None or self._compiled[0] is not snapshot:
            budgets = snapshot.catalog.budgets
            limits = compile_limits(
                {name: (budget.metadata, budget.spec) for name, budget in budgets.items()}
            )
            self._compiled = (snapshot, limits)
            self._store.limits = limits
        return self._compiled[1]


def _sum_page(accounts: Accounts, _: int, *, question: SumQuestion, after: Position) -> SumPage:
    return accounts.sums(question, after=after)


def _narrowed(tenant: str) -> str:
    """The tenant that is listed: what is asked for, if the caller may see it, or all they may."""
    within = current_principal().tenant
    if not tenant:
        return within
    if not visible(within, tenant):
        raise Forbidden(f"the key belongs to `{within}`: it cannot see `{tenant}`")
    return tenant


def _of_the_whole_deployment() -> Principal:
    """Who calls, where that is nobody's tenant; else Forbidden."""
    principal = current_principal()
    if principal.tenant:
        raise Forbidden(
            f"the key belongs to `{principal.tenant}` and a Router's leases to all: use the admin key"
        )
    return principal
