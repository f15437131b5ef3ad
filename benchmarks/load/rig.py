"""The parts of a load run: the C programs, compiled here; a mock provider; a mesh; one measured load.

Load and mock share the machine with the mesh: what is told of the Router is CPU of its own processes,
from /proc/PID/stat over the counted window only.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from documents import PROMPT, tenant_of, write_documents
from mesh import Mesh, running_mesh

from harmost.router.v1 import router_pb2

__all__ = ["Rig", "Window", "compiled", "cpu_s", "idle", "rig"]

SERVICES = ("router", "budget", "policy", "telemetry")
IDLE_SHARE = 0.06
IDLE_WAIT_MAX_S = 20.0
COMPILE = ("-O2", "-Wall", "-Wextra", "-Werror")


def compiled(scratch: Path) -> Path:
    """`load` and `provider`, compiled into `scratch`; exits with what to install otherwise."""
    for name in ("load", "provider"):
        command = ["gcc", *COMPILE, "-o", str(scratch / name), str(HERE / f"{name}.c"), "-lnghttp2"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode:
            sys.exit(f"{said.stderr}\nneeds gcc and nghttp2: apt-get install gcc libnghttp2-dev")
    return scratch


@dataclass
class Window:
    """One counted window, as `load` printed it, with CPU by service."""

    raw: dict[str, Any]
    cpu_us: dict[str, float]
    rss_mb: float

    @property
    def tokens(self) -> int:
        return int(self.raw["tokens"])

    @property
    def seconds(self) -> float:
        return float(self.raw["seconds"])

    @property
    def streams(self) -> int:
        return int(self.raw["streams"])

    @property
    def router_us_per_token(self) -> float:
        """CPU of the Router's processes; what the other services spend belongs to calls."""
        return self.cpu_us.get("router", 0.0) / max(self.tokens, 1)

    @property
    def answered(self) -> int:
        return int(self.raw["statuses"].get("0", 0))

    @property
    def errors(self) -> dict[str, int]:
        """Calls that failed, by grpc-status; 17 stands for none at all."""
        return {status: n for status, n in self.raw["statuses"].items() if status != "0"}

    @property
    def others_share(self) -> float:
        """What processes that are not ours took of one core: wall times suffer from it."""
        ours = sum(self.cpu_us.values()) + self.raw["own_cpu_us"]
        return max(self.raw["busy_us"] - ours, 0.0) / self.seconds / 1e6

    def ms(self, what: str, quantile: str) -> float:
        """A time: `what` is delay, ttft, gap or latency, `quantile` p50, p90, p99, p999 or max."""
        return float(self.raw[f"{what}_ms"][quantile])


@dataclass
class Rig:
    """A mesh, its mock provider and the programs; `load` measures."""

    mesh: Mesh
    programs: Path
    provider_pid: int
    key: str
    scratch: Path

    def pids(self) -> dict[int, str]:
        """Processes by what they are: the Router's workers, the other services, the mock."""
        found = {self.provider_pid: "provider"}
        for child in psutil.Process(self.mesh.process.pid).children(recursive=True):
            words = child.cmdline() if child.status() != psutil.STATUS_ZOMBIE else []
            service = next((name for name in SERVICES if name in words), None)
            if service:
                found[child.pid] = service
        return found

    def start(self, profile: str, *, unary: bool = False, **settings: object) -> Any:
        """Start `load` on `profile`; it prints one line for each window."""
        body = self.scratch / f"{profile}-{'unary' if unary else 'stream'}.binpb"
        if not body.exists():
            kind = router_pb2.ChatRequest if unary else router_pb2.StreamChatRequest
            body.write_bytes(request(kind, profile))
        method = "Chat" if unary else "StreamChat"
        said = {
            "port": self.mesh.endpoints["router"].rpartition(":")[2],
            "key": self.key,
            "body": body,
            "path": f"/harmost.router.v1.RouterService/{method}",
            "pids": ",".join(str(pid) for pid in self.pids()),
            **settings,
        }
        words = [f"{name}={value}" for name, value in said.items()]
        return subprocess.Popen(
            [str(self.programs / "load"), *words], stdout=subprocess.PIPE, text=True
        )

    def load(self, profile: str, *, unary: bool = False, **settings: object) -> list[Window]:
        """Run one load to its end, then wait until the mesh has nothing more to do."""
        self.forget_peaks()
        with self.start(profile, unary=unary, **settings) as process:
            windows = [self.window(line) for line in process.stdout]
        if process.returncode or not windows:
            raise RuntimeError(f"the load ended with {process.returncode}: see above")
        idle([pid for pid, name in self.pids().items() if name != "provider"])
        return windows

    def forget_peaks(self) -> None:
        """Peak memory counts from here. Source: proc(5), clear_refs."""
        for pid, service in self.pids().items():
            if service == "router":
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def window(self, line: str) -> Window:
        """A line of `load` with what only this side knows: who the processes are, and their memory."""
        raw = json.loads(line)
        pids = self.pids()
        spent: dict[str, float] = {}
        for pid, cpu_us in raw["cpu_us"].items():
            name = pids.get(int(pid), "gone")
            spent[name] = spent.get(name, 0.0) + cpu_us
        routers = [pid for pid, name in pids.items() if name == "router"]
        return Window(raw, spent, sum(peak_rss_mb(pid) for pid in routers))


@contextmanager
def rig(
    programs: Path, *, governed: bool = True, transport: str = "wire", routers: int = 1
) -> Iterator[Rig]:
    """A mesh of its own, with documents that point to a mock of its own."""
    scratch = programs / f"{transport}-{'governed' if governed else 'ungoverned'}-{routers}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    mock = subprocess.Popen([str(programs / "provider"), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert mock.stdout is not None
        port = int(mock.stdout.readline())
        write_documents(scratch / "documents", provider_port=port, governed=governed)
        words = ["--no-sandbox", "--examples", str(scratch / "documents"), "--transport", transport]
        words += ["--routers", str(routers)] if routers > 1 else []
        with running_mesh(scratch / "data", *words) as mesh:
            key = mesh.key(tenant_of(governed=governed), "load", "caller")
            idle([child.pid for child in psutil.Process(mesh.process.pid).children()])
            yield Rig(mesh, programs, mock.pid, key, scratch)
    finally:
        mock.kill()
        mock.wait()


def request(kind: Any, profile: str) -> bytes:
    """One request message for `profile` with PROMPT."""
    said = kind(profile=profile)
    message = said.messages.add(role=router_pb2.MESSAGE_ROLE_USER)
    message.parts.add(text=PROMPT)
    return bytes(said.SerializeToString())


def cpu_s(pid: int) -> float:
    """User and system time of a process; 0 once it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = line.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_mb(pid: int) -> float:
    """Highest resident memory since it was last forgotten, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def idle(pids: list[int]) -> None:
    """Wait until `pids` together use next to no CPU: what a load left behind is not the next one's."""
    ends = time.monotonic() + IDLE_WAIT_MAX_S
    while time.monotonic() < ends:
        before, begin = sum(map(cpu_s, pids)), time.monotonic()
        time.sleep(0.5)
        if (sum(map(cpu_s, pids)) - before) / (time.monotonic() - begin) < IDLE_SHARE:
            return
