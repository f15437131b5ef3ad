"""OTLP over TLS: a collector proves who it is, or nothing is sent."""

from pathlib import Path

import pytest
from certificates import certificate
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import OtlpReceiver, receiver

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.otel.otel import resource_of, send_spans
from harmost.services.telemetry.otel.otlp import TryAgain, otlp
from harmost.services.telemetry.otel.settings import Endpoint, Protocol

PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")


async def send(there: OtlpReceiver, protocol: Protocol, ca: Path | None) -> None:
    url = there.grpc_url if protocol == "grpc" else f"{there.http_url}/v1/traces"
    async with otlp(Endpoint(protocol=protocol, url=url, ca=ca, timeout_s=5), "traces") as sender:
        await send_spans(sender, resource_of([]), "v1.41", [Span(name="x")])


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_collector_whose_authority_is_trusted_gets_spans(
    tmp_path: Path, protocol: Protocol
) -> None:
    pem = certificate(tmp_path, "127.0.0.1")
    async with receiver(tls=pem) as there:
        await send(there, protocol, pem)
        assert [span.name for span in there.spans] == ["x"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("address", ["", "127.0.0.2"], ids=["nobody signed it", "another host"])
async def test_a_collector_that_does_not_prove_who_it_is_gets_none(
    tmp_path: Path, protocol: Protocol, address: str
) -> None:
    pem = certificate(tmp_path, address or "127.0.0.1")
    async with receiver(tls=pem) as there:
        with pytest.raises(TryAgain):
            await send(there, protocol, pem if address else None)
        assert not there.spans


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_file_that_is_no_certificate_is_refused_at_the_start(
    tmp_path: Path, protocol: Protocol
) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    endpoint = Endpoint(protocol=protocol, url="https://127.0.0.1:1", ca=tmp_path / "ca.pem")
    with pytest.raises(InvalidInput, match="PEM"):
        async with otlp(endpoint, "traces"):
            pass
