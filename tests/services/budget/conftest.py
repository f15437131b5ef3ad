"""A real Budget service on a port of its own, its clock and its documents in the test's hands."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from harmost.budget.v1 import budget_pb2 as pb
from harmost.budget.v1 import budget_pb2_grpc
from harmost.core.errors import HarmostError, NotPossibleNow
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.services.budget.service import BudgetServicer
from harmost.services.budget.store import BudgetStore
from harmost.services.interceptors.errors import error_of
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.transport import GrpcServer, bearer

NOON_NS = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9  # a Wednesday

PRINCIPALS = {
    "admin": Principal("admin", "", frozenset({"finance", "operator"})),
    "service": Principal("router", "", frozenset({"service"})),
    "acme": Principal("app", "acme", frozenset({"caller", "finance"})),
    "retail": Principal("shop", "acme/retail", frozenset({"caller", "finance"})),
    "globex": Principal("other", "globex", frozenset({"caller", "finance"})),
}


class Documents:
    """Budget documents, swapped whole like a snapshot."""

    def __init__(self) -> None:
        self._snapshot: Any = None

    def publish(self, **budgets: tuple[str, BudgetSpec]) -> None:
        resources = {
            name: SimpleNamespace(metadata=Metadata(name=name, tenant=tenant), spec=spec)
            for name, (tenant, spec) in budgets.items()
        }
        self._snapshot = SimpleNamespace(catalog=SimpleNamespace(budgets=resources))

    def current(self) -> Any:
        if self._snapshot is None:
            raise NotPossibleNow("no snapshot yet: try again")
        return self._snapshot


class Budget:
    """Calls one running Budget service; errors come back as they were raised there."""

    def __init__(
        self,
        address: str,
        store: BudgetStore,
        documents: Documents,
        servicer: BudgetServicer,
    ) -> None:
        self.address = address
        self.store = store
        self.documents = documents
        self.servicer = servicer
        self._channel = grpc.aio.insecure_channel(address)
        self.stub = budget_pb2_grpc.BudgetServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def call(self, method: str, request: Any, key: str = "service") -> Any:
        try:
            return await getattr(self.stub, method)(request, metadata=bearer(key), timeout=20)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, service="Budget") from None

    async def reserve(
        self,
        attempt_id: str,
        usd_nanos: int = 0,
        tokens: int = 0,
        *,
        tenant: str = "acme/retail",
        key: str = "service",
        minimum: tuple[int, int] | None = None,
        price_unknown: bool = False,
        **path: str,
    ) -> pb.ReserveResponse:
        least = pb.Amount(usd_nanos=minimum[0], tokens=minimum[1]) if minimum else None
        request = pb.ReserveRequest(
            attempt_id=attempt_id,
            path=pb.BudgetPath(tenant=tenant, **path),
            model="haiku",
            amount=pb.Amount(usd_nanos=usd_nanos, tokens=tokens, price_unknown=price_unknown),
            minimum=least,
        )
        return await self.call("Reserve", request, key)

    async def settle(
        self,
        attempt_id: str,
        usd_nanos: int = 0,
        tokens: int = 0,
        key: str = "service",
        **more: Any,
    ) -> pb.SettleResponse:
        amount = pb.Amount(
            usd_nanos=usd_nanos, tokens=tokens, price_unknown=more.pop("price_unknown", False)
        )
        request = pb.SettleRequest(attempt_id=attempt_id, amount=amount, **more)
        return await self.call("Settle", request, key)

    async def void(self, attempt_id: str, key: str = "service") -> pb.VoidResponse:
        return await self.call("Void", pb.VoidRequest(attempt_id=attempt_id), key)

    async def balances(self, name: str, key: str = "service") -> tuple[int, int, int]:
        """Settled, held and debt."""
        answer = await self.call("GetBudget", pb.GetBudgetRequest(name=name), key)
        return answer.budget.settled, answer.budget.held, answer.budget.debt

    async def entries(self, key: str = "service", **wanted: Any) -> list[pb.Entry]:
        entries: list[pb.Entry] = []
        while True:
            answer = await self.call("ListEntries", pb.ListEntriesRequest(**wanted), key)
            entries += answer.entries
            if not answer.next_page_token:
                return entries
            wanted["page_token"] = answer.next_page_token


class Clock:
    """Stands where the test puts it."""

    def __init__(self) -> None:
        self.now_ns = NOON_NS

    def __call__(self) -> int:
        return self.now_ns

    def move(self, *, seconds: float) -> None:
        self.now_ns += int(seconds * 10**9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def documents() -> Documents:
    """One hard day budget of 100 nanodollars for acme."""
    documents = Documents()
    documents.publish(day=("acme", BudgetSpec(limits=(Limit(window="day", usd="0.0000001"),))))
    return documents


@pytest.fixture
def started(
    tmp_path: Path, clock: Clock, documents: Documents
) -> Callable[[], AbstractAsyncContextManager[Budget]]:
    """Starts the service; once more, and it is a restart on the same file."""

    @asynccontextmanager
    async def start() -> AsyncGenerator[Budget]:
        store = BudgetStore(tmp_path / "budget.db", now_ns=clock, clock_ns=clock)
        servicer = BudgetServicer(store, documents)

        def register(server: grpc.aio.Server) -> str:
            budget_pb2_grpc.add_BudgetServiceServicer_to_server(servicer, server)
            return "harmost.budget.v1.BudgetService"

        server = GrpcServer(
            "grpcio",
            interceptor=Gate(PRINCIPALS.get),
            register=register,
            listen="127.0.0.1:0",
            tls=None,
        )
        try:
            async with servicer.running():
                await server.start()
                budget = Budget(f"127.0.0.1:{server.port}", store, documents, servicer)
                try:
                    yield budget
                finally:
                    await budget.close()
                    await server.stop(1)
        finally:
            store.close()

    return start


@pytest.fixture
async def budget(
    started: Callable[[], AbstractAsyncContextManager[Budget]],
) -> AsyncGenerator[Budget]:
    async with started() as running:
        yield running


@pytest.fixture
def refused() -> Callable[..., Any]:
    """Runs calls at once; how many were admitted, and the errors of the others."""

    async def gather(*calls: Any) -> tuple[int, list[HarmostError]]:
        answers = await asyncio.gather(*calls, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, HarmostError)]
        unexpected = [
            answer
            for answer in answers
            if isinstance(answer, BaseException) and not isinstance(answer, HarmostError)
        ]
        assert not unexpected
        return len(answers) - len(errors), errors

    return gather


@pytest.fixture
def limit() -> Callable[..., BudgetSpec]:
    """A document's spec with the ceilings given as mappings."""

    def spec(*limits: Mapping[str, Any], **narrowed: str) -> BudgetSpec:
        return BudgetSpec(limits=tuple(Limit(**values) for values in limits), **narrowed)

    return spec
