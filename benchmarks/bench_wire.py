"""What does a message cost on the wire server, and what on grpc.aio, measured the same way?

Back of the envelope: ngh2 takes about 3 us for a request and answer, a task 2, the context and the
handler's own protobuf 2, system calls shared by a turn's messages 1 to 5: 12 to 15 us a unary call,
where grpc.aio pays eight system calls and two thread switches.

CPU is user and system time of the whole server process over the counting window, divided by the
messages that arrived; each pair of transports is measured in turns, and a ratio compares medians of
one run. The load client (wire_load.c, nghttp2) is built here with gcc and costs a tenth of it.
Defences are on. Needs Debian's gcc, libnghttp2-dev and nghttp2-client (for TLS).
"""

import asyncio
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _result import emit
from grpc_tools import protoc
from wire_attacks import ATTACKS, attack

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("WIRE_BENCH_ROUNDS", "3"))
IDLE_STREAMS = 5_000
PACE_US = 50_000  # 20 messages a second
TRANSPORTS = ("wire", "grpc.aio")

scratch = Path(tempfile.mkdtemp(prefix="harmost-wire-bench-"))


def prepare() -> Any:
    """Stubs, a certificate and the load client in `scratch`; returns the messages."""
    outs = [f"--python_out={scratch}", f"--grpc_python_out={scratch}"]
    if protoc.main(["", f"-I{HERE}", *outs, "wire_bench.proto"]) != 0:
        raise SystemExit("protoc failed")
    build = ["gcc", "-O2", "-o", scratch / "wire_load", HERE / "wire_load.c", "-lnghttp2"]
    subprocess.run(build, check=True)
    certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    certificate += ["ec_paramgen_curve:P-256", "-nodes", "-keyout", str(scratch / "key.pem")]
    certificate += ["-out", str(scratch / "cert.pem"), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(certificate, check=True, capture_output=True)
    sys.path.insert(0, str(scratch))
    return importlib.import_module("wire_bench_pb2")


class Server:
    """A server process."""

    def __init__(self, transport: str) -> None:
        script = [sys.executable, str(HERE / "wire_server.py"), transport, str(scratch)]
        self.process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port, self.secure_port = map(int, self.process.stdout.readline().split())

    def cpu_us(self) -> float:
        """User and system time so far; proc(5)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def serving(transport: str) -> Iterator[Server]:
    """A server process for the time of a block."""
    server = Server(transport)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def hex_frame(message: Any) -> str:
    """A request with its prefix, as wire_load takes it."""
    raw: bytes = message.SerializeToString()
    return (b"\0" + len(raw).to_bytes(4, "big") + raw).hex()


def load(server: Server, method: str, message: Any, *shape: float) -> dict[str, float]:
    """Run wire_load; `shape` is connections, streams, warm_s, count_s, ramp_per_s."""
    words = [server.port, server.process.pid, f"/wirebench.Bench/{method}", hex_frame(message)]
    command = [str(scratch / "wire_load"), *map(str, words), *map(str, shape)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"wire_load failed: {run.stderr}")
    counted: dict[str, float] = json.loads(run.stdout)
    counted["cost_us"] = counted["server_cpu_us"] / max(1, counted["messages"])
    return counted


def compare(name: str, method: str, message: Any, *shape: float) -> None:
    """Measure both transports in turns; emit wire's median cost and the ratio of medians."""
    costs: dict[str, list[float]] = {transport: [] for transport in TRANSPORTS}
    counted = 0
    for _ in range(ROUNDS):
        for transport in TRANSPORTS:
            with serving(transport) as server:
                result = load(server, method, message, *shape)
                costs[transport].append(result["cost_us"])
                counted += int(result["messages"]) if transport == "wire" else 0
    wire_us, grpcio_us = (statistics.median(costs[transport]) for transport in TRANSPORTS)
    emit(f"{name}.cpu_us", wire_us, "us", counted)
    emit(f"{name}.grpcio_cpu_us", grpcio_us, "us", counted)
    emit(f"{name}.ratio_vs_grpcio", grpcio_us / wire_us, "x", counted)


def low_level(pb: Any) -> None:
    """The relay's face: no task or coroutine a message."""
    costs: list[float] = []
    counted = 0
    for _ in range(ROUNDS):
        with serving("wire") as server:
            message = pb.StreamRequest(prompt="hello", count=100)
            result = load(server, "LowLevel", message, 1, 1000, 1.5, 3, 2000)
            costs.append(result["cost_us"])
            counted += int(result["messages"])
    emit("wire.lowlevel.paced.cpu_us", statistics.median(costs), "us", counted)


def idle_memory(pb: Any) -> None:
    """Resident memory with streams that wait."""
    for transport in TRANSPORTS:
        with serving(transport) as server:
            command = [str(scratch / "wire_load"), str(server.port), str(server.process.pid)]
            command += ["/wirebench.Bench/Idle", hex_frame(pb.EchoRequest(prompt="hello"))]
            command += ["1", str(IDLE_STREAMS), "6", "1", "2000"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
                time.sleep(5)
                resident_mb = server.resident_mb()
                client.kill()
        suffix = "" if transport == "wire" else ".grpcio"
        emit(f"wire.idle5000.rss_mb{suffix}", resident_mb, "MB", IDLE_STREAMS)


def tls(pb: Any) -> None:
    """Unary calls over TLS, by h2load."""
    if shutil.which("h2load") is None:
        print("h2load is missing: TLS was not measured", file=sys.stderr)
        return
    body = scratch / "echo.bin"
    body.write_bytes(bytes.fromhex(hex_frame(pb.EchoRequest(model="gpt", prompt="hello world"))))
    calls = {"wire": 60_000, "grpc.aio": 8_000}
    costs: dict[str, float] = {}
    for transport in TRANSPORTS:
        with serving(transport) as server:
            url = f"https://127.0.0.1:{server.secure_port}/wirebench.Bench/Echo"
            command = ["h2load", "-c1", "-m64", "-d", str(body), url]
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "-n"]
            subprocess.run([*command, "2000"], check=True, capture_output=True)
            before_us = server.cpu_us()
            subprocess.run([*command, str(calls[transport])], check=True, capture_output=True)
            costs[transport] = (server.cpu_us() - before_us) / calls[transport]
    emit("wire.tls.unary.cpu_us", costs["wire"], "us", calls["wire"])
    emit("wire.tls.unary.ratio_vs_grpcio", costs["grpc.aio"] / costs["wire"], "x", calls["wire"])


def attack_share(name: str) -> float:
    """How much of a core an attack takes of a server that has nothing else to do."""
    with serving("wire") as server:
        command = [sys.executable, __file__, "attack", name, str(server.port)]
        with subprocess.Popen(command) as attacker:
            time.sleep(1)
            before_us, begin = server.cpu_us(), time.monotonic()
            time.sleep(3)
            spent_us, took_s = server.cpu_us() - before_us, time.monotonic() - begin
            attacker.kill()
    return spent_us / took_s / 1e6


def under_attack(pb: Any) -> None:
    """p99 of a well-behaved unary caller, quiet and while another connection attacks."""
    message = pb.EchoRequest(model="gpt", prompt="hello world")
    for name in ATTACKS:
        ratios: list[float] = []
        calls = 0
        for _ in range(ROUNDS):
            with serving("wire") as server:
                quiet = load(server, "Echo", message, 1, 4, 0.5, 2, 0)
                command = [sys.executable, __file__, "attack", name, str(server.port)]
                with subprocess.Popen(command) as attacker:
                    time.sleep(0.3)
                    loud = load(server, "Echo", message, 1, 4, 0.5, 2, 0)
                    attacker.kill()
                ratios.append(loud["p99_us"] / max(1, quiet["p99_us"]))
                calls += int(loud["calls"])
                assert loud["errors"] == 0
        emit(f"wire.attack.{name}.p99_ratio", statistics.median(ratios), "x", calls)
        # Unlike a p99, what the attack alone costs the server can be told beside other work.
        shares = [attack_share(name) for _ in range(ROUNDS)]
        emit(f"wire.attack.{name}.cpu_share", statistics.median(shares), "core", ROUNDS)


def main() -> None:
    """Measure everything that issue 3 names."""
    pb = prepare()
    try:
        echo = pb.EchoRequest(model="gpt", prompt="hello world")
        paced = pb.StreamRequest(prompt="hello world", count=100, pace_us=PACE_US)
        bulk = pb.StreamRequest(prompt="hello world", count=1000)
        compare("wire.unary", "Echo", echo, 1, 64, 0.5, 2, 0)
        compare("wire.stream1000.paced", "Stream", paced, 1, 1000, 1.5, 3, 2000)
        compare("wire.stream100.bulk", "Stream", bulk, 1, 100, 0.5, 2, 0)
        low_level(pb)
        idle_memory(pb)
        tls(pb)
        under_attack(pb)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        asyncio.run(attack(sys.argv[2], int(sys.argv[3])))
    else:
        main()
