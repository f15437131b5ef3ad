"""A real OpenTelemetry Collector takes what a mesh tells, over gRPC and HTTP, and passes it on whole."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mesh import Mesh, eventually, running_mesh
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import OtlpReceiver, attributes_of, receiving

from harmost.client import Finished

CONFIG = """
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{grpc}}}, http: {{endpoint: 127.0.0.1:{http}}}}}}}
exporters:
  otlp: {{endpoint: {there}, tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp]}}
    metrics: {{receivers: [otlp], exporters: [otlp]}}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(collector: Path, folder: Path, there: OtlpReceiver) -> Iterator[dict[str, int]]:
    """The collector until the block ends; its ports by protocol."""
    ports = {"grpc": free_port(), "http/protobuf": free_port()}
    config = folder / "collector.yaml"
    url = there.grpc_url.removeprefix("http://")
    config.write_text(CONFIG.format(grpc=ports["grpc"], http=ports["http/protobuf"], there=url))
    with (folder / "collector.log").open("wb") as log:
        process = subprocess.Popen([collector, "--config", config], stdout=log, stderr=log)
        try:
            eventually(lambda: _listens(ports["grpc"]), what="the collector")
            yield ports
        finally:
            process.terminate()
            process.wait(20)


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def call(mesh: Mesh) -> str:
    with mesh.client() as client:
        events = list(client.stream("hello", "What is a harmost?"))
    finished = events[-1]
    assert isinstance(finished, Finished)
    return finished.record_id


@pytest.mark.timeout(1_500)  # a first build included
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_takes_traces_and_metrics(
    collector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    with receiving() as there, running(collector, tmp_path, there) as ports:
        url = f"http://127.0.0.1:{ports[protocol]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        with running_mesh(tmp_path / "data") as mesh:
            record_id = call(mesh)
            spans = eventually(lambda: there.spans, what="spans, through the collector")
            eventually(lambda: there.metrics and "harmost.calls" in there.newest(), what="metrics")
    kinds = [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT]
    assert [span.kind for span in spans] == kinds
    assert spans[0].trace_id.hex() == record_id
    assert attributes_of(spans[2])["gen_ai.operation.name"] == "chat"
    newest = there.newest()
    assert newest["harmost.calls"].sum.data_points[0].as_int == 1
    assert newest["harmost.call.duration"].histogram.data_points[0].count == 1
    assert newest["harmost.budget.limit"].gauge.data_points
