"""How many exchanges a second does one core take from stored records to an OTLP collector as spans?

Expected: a record of two attempts is four spans with some eighty attributes, about 1 us each, and is
read, parsed and written in 50 us more: 200 us, so 5,000. The SDK needs 23 to 54 us for a span, and as much
again to encode it.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from _result import emit
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.otel.sampling import sampler_of
from harmost.core.policy.decision import Decision, RuleHit
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import record_to_proto
from harmost.services.telemetry.otel.exporter import Exporter
from harmost.services.telemetry.otel.meter import Meter
from harmost.services.telemetry.otel.otel import resource_of, send_spans
from harmost.services.telemetry.otel.otlp import otlp
from harmost.services.telemetry.otel.settings import Endpoint
from harmost.services.telemetry.otel.shown import prometheus_text
from harmost.services.telemetry.otel.spans import SpanMaker
from harmost.services.telemetry.otel.vendors import Vendors
from harmost.services.telemetry.store import TelemetryStore
from harmost.telemetry.v1 import telemetry_pb2

RECORDS, ROUNDS, BATCH = 2_000, 5, 200
HITS = tuple(
    RuleHit(policy="eu-personal-data", rule=f"rule-{number}", effect="allow", mode="enforce")
    for number in range(3)
)
USAGE = TokenUsage(input_tokens=812, cached_input_tokens=512, output_tokens=230)


def record(number: int, round_number: int) -> telemetry_pb2.Record:
    """A call that hopped once."""
    record_id, at_ns = f"{round_number:016x}{number + 1:016x}", 1_800_000_000_000_000_000 + number
    attempts = tuple(
        AttemptSummary(
            attempt_id=f"{record_id}-{tried}",
            model=f"model-{tried}",
            provider="openai",
            outcome="completed" if tried else "throttled",
            started_at_ns=at_ns,
            usage=USAGE if tried else TokenUsage(),
            cost_usd_nanos=305_000 * tried,
            first_token_ns=200_000_000 * tried,
            total_ns=900_000_000,
            held_usd_nanos=900_000,
            provider_response_id=f"chatcmpl-{number}",
            price_version="list 2026-11-01 a1b2c3d4",
            vendor_model_id="gpt-4o-mini",
            finish_reason="stop" if tried else "",
            output_tokens_max=1_024,
        )
        for tried in range(2)
    )
    return record_to_proto(
        RecordSummary(
            record_id=record_id,
            tenant="acme/retail/support",
            profile="resilient",
            principal="support-app",
            router_id="router-0",
            status="completed",
            started_at_ns=at_ns,
            decision=Decision(
                effect="allow", hits=HITS, candidates=("model-0", "model-1"), snapshot_generation=7
            ),
            attempts=attempts,
            usage=USAGE,
            cost_usd_nanos=305_000,
            total_ns=1_900_000_000,
            first_token_ns=1_100_000_000,
            added_ns=6_000_000,
            steps=("answer",),
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            streamed=True,
        )
    )


async def main() -> None:
    """Measure; one line of JSON for each figure."""
    vendors = Vendors(
        {"openai": ProviderSpec(codec="openai", base_url="https://api.openai.com/v1")}
    )
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()

        async def in_store(job: Any) -> Any:
            return await loop.run_in_executor(thread, job)

        store = await in_store(lambda: TelemetryStore(Path(folder) / "telemetry.db"))
        collector = await asyncio.create_subprocess_exec(
            *(sys.executable, Path(__file__).with_name("_collector.py")),
            stdout=asyncio.subprocess.PIPE,
        )
        assert collector.stdout is not None
        url = (await collector.stdout.readline()).decode().strip()
        resource = resource_of([("service.name", "harmost")])
        with closing(store):
            async with otlp(Endpoint(protocol="grpc", url=url), "traces") as sender:

                async def send(spans: Sequence[Span]) -> None:
                    await send_spans(sender, resource, "v1.41", spans)

                exporter = Exporter(
                    "otlp",
                    store.backlog("otlp", records_max=1_000_000),
                    send,
                    maker=SpanMaker("v1.41", vendors),
                    sampler=sampler_of("always_on", ""),
                    batch_records=BATCH,
                    delay_s=0.01,
                )
                async with exporter.running(in_store):
                    for number in range(ROUNDS):
                        rates.append(await one_round(number, store, in_store, exporter))
        collector.terminate()
        await collector.wait()
    emit("telemetry.otlp.exchanges_per_s", statistics.median(rates), "1/s", n=RECORDS * ROUNDS)
    measure_meter(vendors)


async def one_round(number: int, store: Any, in_store: Any, exporter: Exporter) -> float:
    """Exchanges for each second of CPU, of all that the service does to export them."""
    records = [record(each, number) for each in range(RECORDS)]
    batches = [records[at : at + BATCH] for at in range(0, RECORDS, BATCH)]
    for batch in batches[:-1]:
        await in_store(lambda b=batch: store.take(telemetry_pb2.ReportRequest(records=b)))
    began, cpu = exporter.stats.exported, time.process_time()
    await in_store(lambda: store.take(telemetry_pb2.ReportRequest(records=batches[-1])))
    cpu, already = time.process_time(), exporter.stats.exported
    while exporter.stats.exported < (number + 1) * RECORDS:
        await asyncio.sleep(0.002)
    del began
    return (exporter.stats.exported - already) / (time.process_time() - cpu)


def measure_meter(vendors: Vendors) -> None:
    """What metrics cost: counting a record, and a page for Prometheus."""
    meter = Meter(vendors)
    records = [record(number, 0) for number in range(RECORDS)]
    began = time.process_time()
    for each in records:
        meter.take(each, now_ns=1_900_000_000_000_000_000)
    took_us = (time.process_time() - began) / RECORDS * 1e6
    emit("telemetry.meter.record.us", took_us, "us", n=RECORDS)
    began = time.process_time()
    for _ in range(20):
        prometheus_text(meter, "dup")
    emit("telemetry.scrape.ms", (time.process_time() - began) / 20 * 1e3, "ms", n=20)


if __name__ == "__main__":
    asyncio.run(main())
