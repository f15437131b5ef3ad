"""Spans through Microsoft's exporter to an ingestion endpoint on loopback."""

import gzip
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from azure.monitor.opentelemetry.exporter._configuration._state import get_configuration_manager
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.otel.azure import azure
from harmost.services.telemetry.otel.otel import resource_of
from harmost.services.telemetry.otel.otlp import TryAgain

KEY = "00000000-0000-0000-0000-000000000001"
TRACE, CALLER = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"), b"CALLER.."
RESOURCE = resource_of([("service.name", "harmost")])


class Ingestion:
    """What came: envelopes as Azure Monitor's protocol writes them."""

    def __init__(self) -> None:
        self.envelopes: list[dict[str, Any]] = []
        self.status = 200
        self.url = ""

    async def track(self, request: web.Request) -> web.Response:
        body = await request.read()
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        lines = json.loads(body)
        if self.status == 200:
            self.envelopes += lines
        answer = {"itemsReceived": len(lines), "itemsAccepted": len(lines), "errors": []}
        return web.json_response(answer, status=self.status)


@asynccontextmanager
async def ingestion() -> AsyncIterator[Ingestion]:
    made = Ingestion()
    app = web.Application()
    app.router.add_post("/v2.1/track", made.track)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def spans() -> list[Span]:
    call = Span(
        trace_id=TRACE,
        span_id=b"CALL....",
        parent_span_id=CALLER,
        name="harmost.router.v1.RouterService/StreamChat",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=1_800_000_000_000_000_000,
        end_time_unix_nano=1_800_000_001_500_000_000,
    )
    call.attributes.add(key="harmost.profile").value.string_value = "hello"
    attempt = Span(
        trace_id=TRACE,
        span_id=b"ATTEMPT.",
        parent_span_id=call.span_id,
        name="chat gpt-4o-mini",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=1_800_000_000_000_000_000,
        end_time_unix_nano=1_800_000_001_000_000_000,
    )
    attempt.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 12
    attempt.status.code = Status.STATUS_CODE_ERROR
    return [call, attempt]


def connection(there: Ingestion) -> str:
    return f"InstrumentationKey={KEY};IngestionEndpoint={there.url}"


async def test_a_call_is_a_request_and_an_attempt_a_dependency() -> None:
    async with ingestion() as there, azure(connection(there), RESOURCE) as send:
        await send(spans())
        told = {each["data"]["baseType"]: each for each in there.envelopes}
        request, dependency = told["RequestData"], told["RemoteDependencyData"]
        assert request["tags"]["ai.operation.id"] == TRACE.hex()
        assert request["tags"]["ai.operation.parentId"] == CALLER.hex()
        assert request["tags"]["ai.cloud.role"] == "harmost"
        assert request["data"]["baseData"]["properties"]["harmost.profile"] == "hello"
        assert request["data"]["baseData"]["duration"].endswith("00:00:01.500")
        assert dependency["tags"]["ai.operation.parentId"] == b"CALL....".hex()
        assert dependency["data"]["baseData"]["success"] is False


async def test_what_it_does_not_take_is_tried_again() -> None:
    async with ingestion() as there, azure(connection(there), RESOURCE) as send:
        there.status = 503
        with pytest.raises(TryAgain):
            await send(spans())
        there.status = 200
        await send(spans())
        assert there.envelopes


async def test_the_exporter_tells_nobody_else() -> None:
    async with ingestion() as there, azure(connection(there), RESOURCE) as send:
        await send(spans())
        kinds = {each["data"]["baseType"] for each in there.envelopes}
        others = [each.name for each in threading.enumerate() if "tats" in each.name]
    assert kinds == {"RequestData", "RemoteDependencyData"}
    assert get_configuration_manager() is None  # what its makers would switch it with
    assert others == []


async def test_a_connection_string_that_is_none_is_refused_without_its_key() -> None:
    with pytest.raises(InvalidInput) as raised:
        async with azure("InstrumentationKey=hunter2", RESOURCE):
            pass
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in raised.value.message
    assert "hunter2" not in raised.value.message
