"""`harmost up` with its real services: the first start, a death, the next start, the end."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ledger_process import free_port

from harmost.client import Client, Delta, Finished, HarmostError, Tls

WAIT_S = 60
EXAMPLES = Path(__file__).parents[3] / "examples"


class Up:
    """A supervisor that runs on `data`."""

    def __init__(self, data: Path, *words: str) -> None:
        self.data = data
        self.errors = data.parent / "errors"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*HARMOST, "up", "--port", "0", "--data", str(data), "--json", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def ready(self) -> Any:
        """What it says once all serve."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], WAIT_S)[0], self.errors.read_text()
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        return json.loads(line)

    def client(self) -> Client:
        """A client with the admin key."""
        endpoints = json.loads((self.data / "endpoints.json").read_text())
        return Client(endpoints["router"], (self.data / "admin.key").read_text())

    def pids(self) -> dict[str, int]:
        """Its services' processes."""
        children = psutil.Process(self.process.pid).children()
        return {child.cmdline()[3]: child.pid for child in children}

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WAIT_S)


HARMOST = [sys.executable, "-m", "harmost.services.cli"]


@contextmanager
def running(data: Path, *words: str) -> Iterator[Up]:
    up = Up(data, *words)
    try:
        yield up
    finally:
        for pid in up.pids().values() if up.process.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        up.process.kill()
        up.process.wait()
        assert up.process.stdout is not None
        up.process.stdout.close()


def _asks(client: Client) -> bool:
    try:
        return client.chat("hello", "hi", timeout_s=5).finished.finish_reason == "stop"
    except HarmostError:
        return False


def test_a_life_of_the_mesh(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as up:
        told = up.ready()
        assert told["endpoints"]["router"].startswith("127.0.0.1:")
        assert any("documents" in note for note in told["notes"])
        for name in ("admin.key", "service.key"):
            assert (data / name).stat().st_mode & 0o777 == 0o600
        with up.client() as client:
            assert _asks(client)
            _a_second_supervisor_is_refused(data)
            before = up.pids()
            assert set(before) == {"router", "policy", "budget", "telemetry", "sandbox"}
            _each_service_is_started_again(up, client, before)
            _streams_end_before_the_router_does(up, client)
        assert up.process.returncode == 0
        assert not any(psutil.pid_exists(pid) for pid in before.values())
    with running(data) as again:
        assert again.ready()["endpoints"] == told["endpoints"]
        with again.client() as client:
            assert _asks(client)
        assert again.end() == 0


def _a_second_supervisor_is_refused(data: Path) -> None:
    words = [*HARMOST, "up", "--port", "0", "--data", str(data)]
    second = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("error: another `harmost up` (process ")


def _each_service_is_started_again(up: Up, client: Client, before: dict[str, int]) -> None:
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + WAIT_S
    while not _asks(client):
        assert time.monotonic() < deadline, up.errors.read_text()
        time.sleep(0.1)
    after = up.pids()
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    assert up.errors.read_text().count("was ended by SIGKILL: starting it again") >= len(before)


def _streams_end_before_the_router_does(up: Up, client: Client) -> None:
    # 20 pieces, one each 50 ms: under way when the end is asked for, and whole all the same.
    stream = client.stream("hello", "[[sandbox output_tokens=20 chunk_tokens=1 token_ms=50]]")
    first = next(event for event in stream if isinstance(event, Delta))
    up.process.send_signal(signal.SIGTERM)
    rest = list(stream)
    assert isinstance(rest[-1], Finished)
    text = first.text + "".join(event.text for event in rest if isinstance(event, Delta))
    assert len(text) == 80
    assert up.process.wait(WAIT_S) == 0


def test_a_second_signal_kills(tmp_path: Path) -> None:
    with running(tmp_path / "data") as up:
        up.ready()
        before = up.pids()
        with up.client() as client:
            stream = client.stream("hello", "[[sandbox output_tokens=9 token_ms=20000]]")
            next(stream)
            up.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert up.process.poll() is None  # it drains: the stream has 10 s
            began = time.monotonic()
            up.process.send_signal(signal.SIGINT)
            up.process.wait(WAIT_S)
            assert time.monotonic() - began < 5
        assert not any(psutil.pid_exists(pid) for pid in before.values())


def test_the_services_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with running(tmp_path / "data") as up:
        up.ready()
        before = list(up.pids().values())
        up.process.kill()
        up.process.wait()
        _, alive = psutil.wait_procs(
            [psutil.Process(p) for p in before if psutil.pid_exists(p)], 20
        )
        assert alive == []


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [*HARMOST, "up", "--port", str(port), "--data", str(tmp_path / "data")]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert ran.returncode == 1
    assert f"`127.0.0.1:{port}`, wanted by router, cannot be had" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_documents_that_are_wrong_end_the_start(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "x.yaml").write_text("kind: Cat\n")
    with running(tmp_path / "data", "--examples", str(examples)) as up:
        assert up.process.wait(WAIT_S) == 1
        assert f"error: {examples / 'x.yaml'}:1:" in up.errors.read_text()


def test_with_a_certificate_every_service_speaks_tls(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    words = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with running(tmp_path / "data", *words) as up:
        address = up.ready()["endpoints"]["router"]
        admin = (up.data / "admin.key").read_text()
        with Client(address, admin, Tls(ca=certificate)) as client:
            assert _asks(client)
        with Client(address, admin) as plain:
            assert not _asks(plain)
        chat = [*HARMOST, "budget", "show", "--data", str(up.data)]
        assert subprocess.run(chat, capture_output=True, timeout=WAIT_S, check=True).stdout
        assert up.end() == 0


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for loopback that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def test_up_serves_on_the_other_transport(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--transport", "grpcio") as up:
        assert up.ready()["endpoints"]["sandbox"]
        with up.client() as client:
            assert _asks(client)
        assert up.end() == 0


def test_without_the_sandbox_its_models_do_not_answer(tmp_path: Path) -> None:
    # On a port of nobody: another mesh may have its sandbox on the usual one.
    examples = shutil.copytree(EXAMPLES, tmp_path / "examples")
    providers = examples / "providers.yaml"
    providers.write_text(providers.read_text().replace(":50055/", f":{free_port()}/"))
    with running(tmp_path / "data", "--no-sandbox", "--examples", str(examples)) as up:
        assert not up.ready()["endpoints"]["sandbox"]
        with up.client() as client:
            assert not _asks(client)
        assert up.end() == 0
