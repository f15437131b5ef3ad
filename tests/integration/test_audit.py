"""A mesh that is killed under calls keeps an audit log in which each call stands once."""

import json
import shutil
from pathlib import Path

import pytest
from effort import effort
from mesh import eventually, running_mesh
from typer.testing import CliRunner

from harmost.services.cli.app import app
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

pytestmark = pytest.mark.timeout(300)


def test_each_call_is_in_the_log_once_though_telemetry_is_killed(tmp_path: Path) -> None:
    asked: list[str] = []
    with running_mesh(tmp_path / "data") as mesh, mesh.client() as client:
        for _ in range(effort(1, ci=5, nightly=40)):
            for _ in range(8):
                answer = client.chat("hello", "hi [[sandbox output_tokens=2]]")
                asked.append(answer.record_id)
            mesh.kill("telemetry")
        receipt = tmp_path / "call.tlog-proof"
        eventually(
            lambda: (
                mesh.harmost("audit", "receipt", asked[-1], "-o", str(receipt), check=False)
                and receipt.exists()
            ),
            what="the receipt",
        )
        telemetry = telemetry_pb2_grpc.TelemetryServiceStub(mesh.channel("telemetry"))
        for record_id in asked:
            request = telemetry_pb2.GetReceiptRequest(record_id=record_id)
            assert telemetry.GetReceipt(request, metadata=mesh.metadata).proof
        keys = str(tmp_path / "data" / "audit-verify.keys")
        verified = mesh.harmost("audit", "show", asked[0], "--json")
        assert json.loads(verified.stdout)["opened"]["principal"]["value"] == "admin"
        shutil.copytree(mesh.data / "telemetry" / "audit", tmp_path / "copy")

    for path in ("copy", "call.tlog-proof"):
        done = CliRunner().invoke(
            app, ["audit", "verify", str(tmp_path / path), "--key", keys, "--json"]
        )
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        if path == "copy":
            assert told["kinds"] == {"record": len(asked)}
    (tmp_path / "data" / "audit-signing.pem").unlink()
    with (
        pytest.raises(RuntimeError, match=r"there is an audit log .* but no signing key"),
        running_mesh(tmp_path / "data"),
    ):
        pass
