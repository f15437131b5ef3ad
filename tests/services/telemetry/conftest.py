"""A real Telemetry service on loopback, on both transports, behind the real gate."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import record_to_proto
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.telemetry.service import TelemetryServicer
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.tail import Tails
from harmost.services.transport import GrpcServer, bearer
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

PRINCIPALS = {
    "service": Principal("mesh", "", frozenset({"service"})),
    "operator": Principal("root", "", frozenset({"operator", "finance"})),
    "acme": Principal("ann", "acme", frozenset({"operator", "finance"})),
    "caller": Principal("app", "acme", frozenset({"caller"})),
}

MakeRecord = Callable[..., telemetry_pb2.Record]


@pytest.fixture
def make_record() -> MakeRecord:
    """A record of one attempt for each (model, tokens, cost); started `at_s`."""

    def make(
        record_id: str,
        *attempts: tuple[str, int, int],
        tenant: str = "acme",
        status: Any = "completed",
        at_s: int = 1_800_000_000,
        **others: Any,
    ) -> telemetry_pb2.Record:
        parts = tuple(
            AttemptSummary(
                attempt_id=f"{record_id}-{number}",
                model=model,
                provider="sandbox",
                outcome="completed",
                started_at_ns=at_s * 10**9,
                usage=TokenUsage(input_tokens=tokens, output_tokens=tokens * 2),
                cost_usd_nanos=cost,
            )
            for number, (model, tokens, cost) in enumerate(attempts)
        )
        record = RecordSummary(
            record_id=record_id,
            tenant=tenant,
            profile=others.pop("profile", "support"),
            principal="app",
            router_id="router-1",
            status=status,
            started_at_ns=at_s * 10**9,
            attempts=parts,
            usage=sum((part.usage for part in parts), TokenUsage()),
            cost_usd_nanos=sum(part.cost_usd_nanos for part in parts),
            **others,
        )
        return record_to_proto(record)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TelemetryStore]:
    with contextlib.closing(TelemetryStore(tmp_path / "telemetry.db")) as store:
        yield store


class Caller:
    """The stub, with the keys that it calls with."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: Any = telemetry_pb2_grpc.TelemetryServiceStub(channel)

    async def report(self, *records: telemetry_pb2.Record, **outcomes: Any) -> int:
        call = self.stub.Report(metadata=bearer("service"))
        await call.write(telemetry_pb2.ReportRequest(batch=7, records=records, outcomes=outcomes))
        response = await call.read()
        assert response is not grpc.aio.EOF, await call.code()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return int(response.batch)

    async def usage(self, key: str = "operator", **fields: Any) -> list[Any]:
        request = telemetry_pb2.QueryUsageRequest(**fields)
        return list((await self.stub.QueryUsage(request, metadata=bearer(key))).rows)

    async def list(self, key: str = "operator", **fields: Any) -> Any:
        request = telemetry_pb2.ListRecordsRequest(**fields)
        return await self.stub.ListRecords(request, metadata=bearer(key))

    async def get(self, record_id: str, key: str = "operator") -> Any:
        request = telemetry_pb2.GetRecordRequest(record_id=record_id)
        return (await self.stub.GetRecord(request, metadata=bearer(key))).record


@pytest.fixture(params=["grpcio", "wire"])
async def caller(request: pytest.FixtureRequest, store: TelemetryStore) -> AsyncIterator[Caller]:
    servicer = TelemetryServicer(store, tails=Tails(queue_max=4))

    def register(server: grpc.aio.Server) -> str:
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, server)
        return "harmost.telemetry.v1.TelemetryService"

    async with servicer.running():
        server = GrpcServer(
            request.param,
            interceptor=Gate(PRINCIPALS.get),
            register=register,
            listen="127.0.0.1:0",
            tls=None,
        )
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Caller(channel)
        await server.stop(0)
