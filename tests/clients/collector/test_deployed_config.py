"""The collector's configuration in deploy/ is taken by a real collector, and passes spans on."""

import os
import socket
import subprocess
from pathlib import Path

import grpc
from mesh import eventually
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from otlp_receiver import receiving

CONFIG = Path(__file__).parents[3] / "deploy" / "observability" / "collector.yaml"


def validate(collector: Path, config: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [collector, "validate", "--config", config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_collector_takes_the_configuration(collector: Path, tmp_path: Path) -> None:
    ran = validate(collector, CONFIG)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    misspelt = tmp_path / "collector.yaml"
    misspelt.write_text(CONFIG.read_text().replace("num_consumers", "num_consumer"))
    ran = validate(collector, misspelt)
    assert ran.returncode != 0
    assert "num_consumer" in ran.stdout + ran.stderr


def test_spans_come_through_it(collector: Path, tmp_path: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        for bound in (first, second):
            bound.bind(("127.0.0.1", 0))
        ports = [bound.getsockname()[1] for bound in (first, second)]
    config = tmp_path / "collector.yaml"
    text = CONFIG.read_text()
    for known, port in zip((4317, 4318), ports, strict=True):
        text = text.replace(f'"127.0.0.1:{known}"', f'"127.0.0.1:{port}"')
    config.write_text(text)
    request = trace_service_pb2.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="exchange hello")
    span.trace_id, span.span_id = b"t" * 16, b"s" * 8
    with receiving() as there, (tmp_path / "collector.log").open("wb") as log:
        process = subprocess.Popen(
            [collector, "--config", config],
            stdout=log,
            stderr=log,
            env={**os.environ, "TRACES_BACKEND": there.grpc_url.removeprefix("http://")},
        )
        try:
            with grpc.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
                stub = trace_service_pb2_grpc.TraceServiceStub(channel)
                stub.Export(request, timeout=20, wait_for_ready=True)
            eventually(lambda: there.spans, what="the span")
        finally:
            process.terminate()
            process.wait(20)
        assert [one.name for one in there.spans] == ["exchange hello"]
