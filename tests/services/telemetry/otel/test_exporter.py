"""Records to a real OTLP receiver, over gRPC and HTTP, that misbehaves in every way we could think of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import OtlpReceiver, attributes_of, receiver

from harmost.core.otel.sampling import sampler_of
from harmost.services.telemetry.otel.exporter import Exporter
from harmost.services.telemetry.otel.otel import resource_of, send_spans
from harmost.services.telemetry.otel.otlp import RETRY_AFTER_S_MAX, TryAgain, otlp
from harmost.services.telemetry.otel.settings import Endpoint, Protocol
from harmost.services.telemetry.otel.spans import SpanMaker
from harmost.services.telemetry.otel.vendors import Vendors
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.worker import Worker
from harmost.telemetry.v1 import telemetry_pb2

MakeRecord = Callable[..., telemetry_pb2.Record]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")
RESOURCE = resource_of([("service.name", "harmost")])


class Stage:
    """A store, a receiver, and an exporter between them that is started when told."""

    def __init__(
        self, store: TelemetryStore, worker: Worker, make_record: MakeRecord, there: OtlpReceiver
    ) -> None:
        self.store, self.worker, self.there = store, worker, there
        self._make = make_record
        self.taken = 0
        self.exporter: Exporter | None = None

    async def take(self, count: int, **more: Any) -> None:
        records = [self._make(f"r{self.taken + n}", ("m", 1, 1), **more) for n in range(count)]
        self.taken += count
        request = telemetry_pb2.ReportRequest(records=records)
        await self.worker.write(lambda: self.store.take(request))

    @contextlib.asynccontextmanager
    async def exporting(
        self,
        protocol: Protocol = "grpc",
        *,
        url: str = "",
        records_max: int = 1_000,
        batch_records: int = 100,
        sampler: str = "always_on",
        timeout_s: float = 5.0,
        delay_s: float = 0.01,
        **endpoint: Any,
    ) -> AsyncIterator[Exporter]:
        whole = f"{self.there.http_url}/v1/traces"
        url = url or (self.there.grpc_url if protocol == "grpc" else whole)
        to = Endpoint(protocol=protocol, url=url, timeout_s=timeout_s, **endpoint)
        async with otlp(to, "traces") as sender:

            async def send(spans: Sequence[Span]) -> None:
                await send_spans(sender, RESOURCE, "v1.41", spans)

            exporter = self.exporter = Exporter(
                "otlp",
                self.store.backlog("otlp", records_max=records_max),
                send,
                maker=SpanMaker("v1.41", Vendors()),
                sampler=sampler_of(sampler, ""),
                batch_records=batch_records,
                delay_s=delay_s,
                backoff_max_s=0.05,
            )
            async with exporter.running(self.worker.write):
                yield exporter

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not check():
                await asyncio.sleep(0.01)

    def told(self) -> list[str]:
        """The records whose calls came, in order."""
        calls = [span for span in self.there.spans if span.kind == Span.SPAN_KIND_SERVER]
        return [attributes_of(span)["harmost.record.id"] for span in calls]


@pytest.fixture
async def stage(store: TelemetryStore, make_record: MakeRecord) -> AsyncIterator[Stage]:
    worker = Worker(store)
    async with worker.running(), receiver() as there:
        await worker.write(store.backlog("otlp", records_max=1).begin)
        yield Stage(store, worker, make_record, there)


def expected(count: int) -> list[str]:
    return [f"r{number}" for number in range(count)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("gzip", [False, True])
async def test_records_arrive_as_spans_each_once(
    stage: Stage, protocol: Protocol, gzip: bool
) -> None:
    await stage.take(250)
    async with stage.exporting(protocol, gzip=gzip, headers=(("x-key", "secret"),)) as exporter:
        await stage.until(lambda: exporter.stats.exported == 250)
    assert stage.told() == expected(250)
    assert all(metadata["x-key"] == "secret" for metadata in stage.there.metadata)
    scope = stage.there.traces[0].resource_spans[0]
    assert attributes_of(scope.resource)["service.name"] == "harmost"
    assert scope.scope_spans[0].schema_url == "https://opentelemetry.io/schemas/1.41.0"


async def test_what_is_sampled_out_is_counted_and_done_with(stage: Stage) -> None:
    await stage.take(5)
    await stage.take(1, status="failed", reason="PROVIDER_FAILED")
    async with stage.exporting(sampler="always_off") as exporter:
        await stage.until(lambda: exporter.stats.exported == 6)
    assert stage.told() == ["r5"]
    assert exporter.stats.sampled_out == 5


async def test_what_is_sampled_out_counts_once_however_often_a_batch_is_sent(stage: Stage) -> None:
    async def refuse(_: Any, context: Any) -> None:
        if stage.there.calls < 4:
            await aborted(context, grpc.StatusCode.UNAVAILABLE)

    stage.there.behave = refuse
    await stage.take(5)
    await stage.take(1, status="failed", reason="PROVIDER_FAILED")
    async with stage.exporting(sampler="always_off") as exporter:
        await stage.until(lambda: exporter.stats.exported == 6)
    assert (exporter.stats.failures, exporter.stats.sampled_out) == (3, 5)


async def test_a_backlog_is_caught_up_without_delay_by_a_collector_that_takes_little_at_once(
    stage: Stage,
) -> None:
    async def bound(request: Any, context: Any) -> None:
        if len(request.resource_spans[0].scope_spans[0].spans) > 30:
            await aborted(context, grpc.StatusCode.INVALID_ARGUMENT)

    stage.there.behave = bound
    await stage.take(60)
    async with stage.exporting(delay_s=600.0, batch_records=20) as exporter:
        await stage.until(lambda: exporter.stats.exported == 60)
    assert stage.told() == expected(60)


async def test_the_first_records_that_are_given_up_are_named_and_none_twice(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.take(15)
    async with stage.exporting(records_max=10) as exporter:
        await stage.until(lambda: exporter.stats.exported == 10)
    async with stage.exporting(records_max=10) as exporter:
        assert exporter.stats.dropped == 5
        await stage.take(1)
        await stage.until(lambda: exporter.stats.exported == 1)
    named = [each.message for each in caplog.records if "are given up" in each.message]
    assert named == ["5 records are given up, unexported: otlp is too far behind"]


async def test_a_collector_that_is_down_is_waited_for_and_nothing_is_lost(stage: Stage) -> None:
    await stage.take(30)
    async with stage.exporting(url="http://127.0.0.1:1") as exporter:
        await stage.until(lambda: exporter.stats.failures > 2)
        assert exporter.stats.exported == 0
    async with stage.exporting() as exporter:
        await stage.until(lambda: exporter.stats.exported == 30)
    assert stage.told() == expected(30)


async def test_one_that_is_down_for_long_costs_the_oldest_but_never_what_must_be_audited(
    stage: Stage,
) -> None:
    await stage.take(5)
    await stage.take(3, audit_required=True)
    async with stage.exporting(url="http://127.0.0.1:1", records_max=10) as exporter:
        await stage.take(40)
        await stage.until(lambda: exporter.stats.dropped == 5 + 30)
        assert exporter.stats.backlog == 3 + 10
    async with stage.exporting(records_max=10) as exporter:
        await stage.until(lambda: exporter.stats.exported == 13)
    assert stage.told() == ["r5", "r6", "r7", *(f"r{number}" for number in range(38, 48))]
    assert exporter.stats.dropped == 35


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_that_hangs_is_given_up_in_time_and_asked_again(
    stage: Stage, protocol: Protocol
) -> None:
    hung = asyncio.Event()

    async def hang(*_: Any) -> None:
        if stage.there.calls < 3:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await hung.wait()

    stage.there.behave = stage.there.behave_http = hang
    await stage.take(1)
    async with stage.exporting(protocol, timeout_s=0.1) as exporter:
        await stage.until(lambda: exporter.stats.exported == 1)
    hung.set()
    assert exporter.stats.failures == 2


async def test_one_that_resets_its_connections_is_asked_again(stage: Stage) -> None:
    async def reset(request: web.Request) -> None:
        if stage.there.calls < 4 and request.transport is not None:
            request.transport.abort()  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)

    stage.there.behave_http = reset
    await stage.take(1)
    async with stage.exporting("http/protobuf") as exporter:
        await stage.until(lambda: stage.told() and exporter.stats.exported == 1)
    assert exporter.stats.failures >= 3


@pytest.mark.parametrize(
    "garbage",
    [
        web.Response(text="<html>please log in</html>"),
        web.Response(body=b"\xff" * 100_000),
        web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}),
        web.Response(status=401),
        web.Response(status=503, text="x" * 100_000),
    ],
    ids=["page", "bytes", "redirect", "key", "down"],
)
async def test_what_is_no_answer_is_none(stage: Stage, garbage: web.Response) -> None:
    async def answer(request: web.Request) -> web.Response | None:
        same = web.Response(body=garbage.body, status=garbage.status, headers=garbage.headers)
        return same if stage.there.calls < 3 else None

    stage.there.behave_http = answer
    await stage.take(1)
    async with stage.exporting("http/protobuf") as exporter:
        await stage.until(lambda: exporter.stats.exported == 1)
    assert (exporter.stats.failures, stage.told()) == (2, ["r0"])


async def test_a_server_that_speaks_no_http_is_no_collector(stage: Stage) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"220 mail.example ESMTP\r\n" * 100)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await stage.take(1)
    for protocol, end in (("grpc", ""), ("http/protobuf", "/v1/traces")):
        async with stage.exporting(protocol, url=url + end) as exporter:  # type: ignore[arg-type]
            await stage.until(lambda: exporter.stats.failures > 1)
            assert exporter.stats.exported == 0
    server.close()
    await server.wait_closed()


async def aborted(context: Any, code: grpc.StatusCode, *, after_s: int | None = None) -> None:
    details = []
    if after_s is not None:
        packed = Packed()
        packed.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=after_s)))
        details.append(packed)
    status = status_pb2.Status(code=code.value[0], message="no", details=details)
    await context.abort_with_status(rpc_status.to_status(status))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("asked_s", "waits_s"), [(7, 7.0), (86_400, RETRY_AFTER_S_MAX)])
async def test_one_that_says_when_is_heard_but_not_for_ever(
    stage: Stage, protocol: Protocol, asked_s: int, waits_s: float
) -> None:
    async def refuse(_: Any, context: Any) -> None:
        await aborted(context, grpc.StatusCode.RESOURCE_EXHAUSTED, after_s=asked_s)

    async def refuse_http(_: Any) -> web.Response:
        return web.Response(status=429, headers={"retry-after": str(asked_s)})

    stage.there.behave, stage.there.behave_http = refuse, refuse_http
    whole = f"{stage.there.http_url}/v1/traces"
    url = stage.there.grpc_url if protocol == "grpc" else whole
    async with otlp(Endpoint(protocol=protocol, url=url), "traces") as sender:
        with pytest.raises(TryAgain) as raised:
            await send_spans(sender, RESOURCE, "v1.41", [Span(name="x")])
    assert raised.value.after_s == waits_s


async def test_one_that_is_overloaded_gets_less_at_once_until_it_takes_it(stage: Stage) -> None:
    async def bound(request: Any, context: Any) -> None:
        if len(request.resource_spans[0].scope_spans[0].spans) > 30:
            await aborted(context, grpc.StatusCode.RESOURCE_EXHAUSTED)

    stage.there.behave = bound
    await stage.take(40)
    async with stage.exporting() as exporter:
        await stage.until(lambda: exporter.stats.exported == 40)
    assert stage.told() == expected(40)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_record_that_it_never_takes_holds_up_none_of_the_others(
    stage: Stage, protocol: Protocol
) -> None:
    async def refuse(request: Any, context: Any) -> None:
        if b"r13" in request.SerializeToString():
            await aborted(context, grpc.StatusCode.INVALID_ARGUMENT)

    async def refuse_http(request: web.Request) -> web.Response | None:
        return web.Response(status=400) if b"r13" in await request.read() else None

    stage.there.behave, stage.there.behave_http = refuse, refuse_http
    await stage.take(40)
    async with stage.exporting(protocol) as exporter:
        await stage.until(lambda: exporter.stats.exported == 40)
    assert stage.told() == [name for name in expected(40) if name != "r13"]
    assert exporter.stats.refused_spans == 3


async def test_a_batch_that_is_too_large_for_it_is_parted(stage: Stage) -> None:
    # The receiver takes 4 MiB, as every gRPC server does that is not told otherwise.
    await stage.take(1_000, steps=("s" * 128,) * 32)
    async with stage.exporting(batch_records=1_000) as exporter:
        await stage.until(lambda: exporter.stats.exported == 1_000)
    assert stage.told() == expected(1_000)
    assert exporter.stats.failures > 0


async def test_spans_that_it_refuses_of_a_batch_that_it_takes_are_counted(stage: Stage) -> None:
    async def part(_: Any, __: Any) -> Any:
        stage.there.behave = None
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = 2
        answer.partial_success.error_message = "two are too old"
        return answer

    stage.there.behave = part
    await stage.take(1)
    async with stage.exporting() as exporter:
        await stage.until(lambda: exporter.stats.exported == 1)
    assert (exporter.stats.refused_spans, stage.there.calls) == (2, 1)


async def test_an_http_answer_that_comes_in_pieces_is_read_whole(stage: Stage) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "two are too old"
    whole = answer.SerializeToString()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(len(whole)):
            await response.write(whole[at : at + 1])
            await asyncio.sleep(0.001)
        return response

    stage.there.behave_http = trickle
    await stage.take(1)
    async with stage.exporting("http/protobuf") as exporter:
        await stage.until(lambda: exporter.stats.exported == 1)
    assert (exporter.stats.refused_spans, stage.there.calls) == (2, 1)


async def test_a_record_that_cannot_be_told_holds_up_no_other(stage: Stage) -> None:
    await stage.take(3)

    def damage() -> None:
        unknown = telemetry_pb2.Record.FromString(
            stage.store._connection.execute(
                "SELECT record FROM whole_records WHERE position = 1"
            ).get  # type: ignore[arg-type]
        )
        unknown.status = 99  # type: ignore[assignment] # of a Router that knows more than we do
        for position, data in ((1, unknown.SerializeToString()), (2, b"\xff")):
            stage.store._connection.execute(
                "UPDATE whole_records SET record = ? WHERE position = ?", (data, position)
            )

    await stage.worker.write(damage)
    async with stage.exporting() as exporter:
        await stage.until(lambda: exporter.stats.exported == 3)
    assert (stage.told(), exporter.stats.refused_spans) == (["r2"], 2)


async def test_one_that_asks_to_be_asked_at_once_is_not_asked_without_pause(stage: Stage) -> None:
    async def now(_: Any) -> web.Response:
        return web.Response(status=429, headers={"retry-after": "0"})

    stage.there.behave_http = now
    await stage.take(1)
    async with stage.exporting("http/protobuf") as exporter:
        await asyncio.sleep(0.3)
    assert 1 <= exporter.stats.failures <= 20


async def test_what_a_destination_is_owed_outlives_the_service(stage: Stage) -> None:
    await stage.take(50)
    async with stage.exporting(batch_records=20) as exporter:
        await stage.until(lambda: exporter.stats.exported >= 20)
    await stage.take(10)
    async with stage.exporting() as exporter:
        await stage.until(lambda: exporter.stats.exported and exporter.stats.backlog == 0)
    assert list(dict.fromkeys(stage.told())) == expected(60)


async def test_no_secret_is_in_what_is_logged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.take(1)
    headers = (("authorization", "Bearer hunter2"),)
    async with stage.exporting(url="http://127.0.0.1:1", headers=headers) as exporter:
        await stage.until(lambda: exporter.stats.failures > 1)
    waits = [each for each in caplog.records if "spans wait on the disk" in each.message]
    assert len(waits) == 1  # once, not at each try
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(Endpoint(protocol="grpc", url="http://x", headers=headers))
