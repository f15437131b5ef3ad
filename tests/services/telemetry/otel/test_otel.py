"""The parts together: what is counted, named and served, and what is refused at the start."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.otel.meter import Meter
from harmost.services.telemetry.otel.otel import Otel
from harmost.services.telemetry.otel.settings import otel_settings
from harmost.services.telemetry.otel.vendors import Vendors
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.worker import Worker
from harmost.telemetry.v1 import telemetry_pb2

MakeRecord = Callable[..., telemetry_pb2.Record]


def made(store: TelemetryStore, *, prometheus: str = "", **environment: str) -> Otel:
    vendors = Vendors()
    settings = otel_settings(environment, prometheus=prometheus)
    return Otel(settings, store, vendors, Meter(vendors))


async def page(port: int, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_metrics_are_served_where_they_are_wanted(
    store: TelemetryStore, make_record: MakeRecord
) -> None:
    otel, worker = made(store, prometheus="127.0.0.1:0"), Worker(store)
    async with worker.running(), otel.running(worker.write):
        await otel.take([make_record("r", ("m", 1, 1)) for _ in range(100)])
        status, text = await page(otel.metrics_port)
        assert status == 200
        assert (
            'harmost_calls_total{harmost_profile="support",harmost_status="completed"} 100' in text
        )


async def test_a_page_that_is_none_and_a_request_that_is_too_large_are_refused(
    store: TelemetryStore,
) -> None:
    otel, worker = made(store, prometheus="127.0.0.1:0"), Worker(store)
    async with worker.running(), otel.running(worker.write):
        assert (await page(otel.metrics_port, "/"))[0] == 404
        assert (await page(otel.metrics_port, x="y" * 20_000))[0] == 400
        assert (await page(otel.metrics_port))[0] == 200


async def test_a_port_that_is_taken_is_named_with_what_to_do(store: TelemetryStore) -> None:
    worker = Worker(store)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match="--metrics-listen"):
            async with worker.running(), made(store, prometheus=address).running(worker.write):
                pass


async def test_a_clock_that_is_ahead_is_named_once(
    store: TelemetryStore, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    otel, now_s = made(store), int(time.time())
    await otel.take([make_record(str(n), at_s=now_s + 3_600) for n in range(3)])
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "`router-1` is 3" in warnings[0]
    await otel.take([make_record("right", at_s=now_s - 1)])
    await otel.take([make_record("again", at_s=now_s + 3_600)])
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 2


async def test_metrics_that_cannot_be_told_stop_nothing(
    store: TelemetryStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def refresh(self) -> None:
            raise ZeroDivisionError

    environment = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_METRIC_EXPORT_INTERVAL": "10",
    }
    otel, worker = made(store, **environment), Worker(store)
    broken: Any = Broken()
    otel.use(broken)
    async with worker.running(), otel.running(worker.write):
        async with asyncio.timeout(10):
            while caplog.text.count("ZeroDivisionError") < 2:
                await asyncio.sleep(0.01)
