"""Stock clients drive the mesh from the protos alone: grpcurl, ghz and a Go program."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mesh import ROOT, Mesh

STREAM_CHAT = "harmost.router.v1.RouterService/StreamChat"
CHAT = "harmost.router.v1.RouterService/Chat"
FROM_PROTOS = ("-import-path", str(ROOT / "protos"), "-proto", "harmost/router/v1/router.proto")

pytestmark = pytest.mark.timeout(900)  # the first run fetches and builds the clients


def question(text: str = "hi [[sandbox output_tokens=5]]") -> str:
    messages = [{"role": "MESSAGE_ROLE_USER", "parts": [{"text": text}]}]
    return json.dumps({"profile": "hello", "messages": messages})


def output(*command: str | Path, check: bool = True) -> str:
    done = subprocess.run(
        [*map(str, command)], check=False, capture_output=True, text=True, timeout=60
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def events(text: str) -> list[dict[str, Any]]:
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        event, end = decoder.raw_decode(text)
        found.append(event)
        text = text[end:]
    return found


@pytest.mark.parametrize("source", [FROM_PROTOS, ()], ids=["protos", "reflection"])
def test_grpcurl_streams_an_answer(programs: Path, mesh: Mesh, source: tuple[str, ...]) -> None:
    said = output(
        *(programs / "grpcurl", "-plaintext", *source, "-d", question()),
        *("-H", f"authorization: Bearer {mesh.admin_key}"),
        *(mesh.endpoints["router"], STREAM_CHAT),
    )
    kinds = [next(iter(set(event) - {"sequence"})).lower() for event in events(said)]
    # Descriptors that come by reflection name fields as the proto does, not as JSON does.
    spelled = [kind.replace("_", "") for kind in kinds]
    assert spelled == ["started", "stepstarted", *["delta"] * 5, "stepfinished", "finished"]


@pytest.mark.parametrize("service", ["router", "policy", "budget", "telemetry"])
def test_every_port_has_reflection_and_health(programs: Path, mesh: Mesh, service: str) -> None:
    address = mesh.endpoints[service]
    listed = output(programs / "grpcurl", "-plaintext", address, "list").split()
    assert f"harmost.{service}.v1.{service.capitalize()}Service" in listed
    health = output(programs / "grpcurl", "-plaintext", address, "grpc.health.v1.Health/Check")
    assert json.loads(health) == {"status": "SERVING"}


def test_grpcurl_is_told_what_is_wrong_with_details(programs: Path, mesh: Mesh) -> None:
    said = output(
        *(programs / "grpcurl", "-plaintext", "-d", "{}"),
        *("-H", f"authorization: Bearer {mesh.admin_key}"),
        *(mesh.endpoints["router"], CHAT),
        check=False,
    )
    assert "InvalidArgument" in said
    assert "`profile` is required" in said


def test_a_go_program_from_the_protos_alone_streams(programs: Path, mesh: Mesh) -> None:
    said = output(
        *(programs / "stream", mesh.endpoints["router"], mesh.admin_key, "hello"),
        "hi from Go [[sandbox output_tokens=7]]",
    )
    deltas, reason, model, cost = said.split()
    assert (deltas, reason, model) == ("7", "FINISH_REASON_STOP", "sandbox-small")
    assert int(cost) > 0


def test_ghz_calls_without_a_failure(ghz: Path, mesh: Mesh) -> None:
    report = output(
        *(ghz, "--insecure", "--proto", "harmost/router/v1/router.proto"),
        *("--import-paths", ROOT / "protos", "--call", CHAT, "-d", question()),
        *("-m", json.dumps({"authorization": f"Bearer {mesh.admin_key}"})),
        *("-n", "200", "-c", "20", "--connections", "4", "-O", "json"),
        mesh.endpoints["router"],
    )
    found = json.loads(report)
    assert found["statusCodeDistribution"] == {"OK": 200}
