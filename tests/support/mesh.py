"""A real mesh for tests: `harmost up` with real processes, on free ports, in a scratch folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil

from harmost.budget.v1 import budget_pb2, budget_pb2_grpc
from harmost.client import Client, HarmostError
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
COMMAND = (sys.executable, "-m", "harmost.services.cli")


def eventually(check: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "it") -> Any:
    """The first true value of `check`; its last failure is shown when time is over."""
    ends = time.monotonic() + timeout_s
    error: Exception | None = None
    while time.monotonic() < ends:
        try:
            found = check()
        except (AssertionError, HarmostError, grpc.RpcError, OSError, LookupError) as failed:
            error = failed
        else:
            if found:
                return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {timeout_s} s: {error}")


class Mesh:
    """A running `harmost up`."""

    def __init__(self, data: Path, process: "subprocess.Popen[bytes]") -> None:
        self.data = data
        self.process = process
        self.endpoints: dict[str, Any] = json.loads((data / "endpoints.json").read_text())
        self.admin_key = (data / "admin.key").read_text().strip()
        self.transport = "wire"
        self._channels: list[grpc.Channel] = []

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.admin_key}"),)

    def channel(self, service: str) -> grpc.Channel:
        return self.channel_to(self.endpoints[service])

    def channel_to(self, address: str) -> grpc.Channel:
        """A connection of its own: the kernel deals connections out, not calls."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(address, options)
        self._channels.append(channel)
        return channel

    def router(self) -> router_pb2_grpc.RouterServiceStub:
        return router_pb2_grpc.RouterServiceStub(self.channel("router"))

    def client(self, key: str = "") -> Client:
        return Client(self.endpoints["router"], key=key or self.admin_key)

    def key(self, tenant: str, principal: str, role: str) -> str:
        """A new key, once the Router knows it."""
        made = self.harmost(
            *("key", "create", "--tenant", tenant, "--principal", principal),
            *("--role", role, "--json"),
        )
        key: str = json.loads(made.stdout)["key"]
        with self.client(key) as client:
            eventually(lambda: list(client.profiles()) or True, what="the key")
        return key

    def policy(self) -> policy_pb2_grpc.PolicyServiceStub:
        return policy_pb2_grpc.PolicyServiceStub(self.channel("policy"))

    def apply(self, yaml: str, *, name: str = "test.yaml") -> policy_pb2.ApplyResponse:
        """Apply documents and wait until the Router decides by them."""
        before = self.generation()
        request = policy_pb2.ApplyRequest(
            sources=[policy_pb2.Source(name=name, yaml=yaml.encode())]
        )
        answer = self.policy().Apply(request, metadata=self.metadata)
        if answer.generation > before:
            time.sleep(0.5)
        return answer

    def generation(self) -> int:
        request = policy_pb2.ListResourcesRequest(page_size=1)
        return self.policy().ListResources(request, metadata=self.metadata).generation

    def budgets(self) -> dict[tuple[str, int], budget_pb2.Budget]:
        """Every limit by budget name and unit."""
        stub = budget_pb2_grpc.BudgetServiceStub(self.channel("budget"))
        answer = stub.ListBudgets(
            budget_pb2.ListBudgetsRequest(page_size=1000), metadata=self.metadata
        )
        return {(budget.name, budget.unit): budget for budget in answer.budgets}

    def stats(self, worker: int) -> router_pb2.GetStatsResponse:
        """What a worker counts."""
        stub = router_pb2_grpc.RouterServiceStub(self.channel_to(self.endpoints["workers"][worker]))
        request = router_pb2.GetStatsRequest()
        return stub.GetStats(request, metadata=self.metadata, timeout=5)

    def quiet(self, *, timeout_s: float = 40.0) -> None:
        """Wait until nothing runs or is held, and the ledger knows all that Routers know."""
        eventually(self._is_quiet, timeout_s=timeout_s, what="quiet")

    def _is_quiet(self) -> bool:
        for worker in range(len(self.endpoints["workers"])):
            stats = self.stats(worker)
            busy = stats.calls_live, stats.attempts_held, stats.settlements_owed
            assert not any(busy), f"worker {worker}: live, held, owed: {busy}"
        unknown = [each for each in self.budgets().values() if each.held or each.suspense]
        assert not unknown, unknown
        return True

    def entries(self, attempt_id: str = "") -> list[budget_pb2.Entry]:
        """Every ledger row, or those of one attempt."""
        stub = budget_pb2_grpc.BudgetServiceStub(self.channel("budget"))
        rows: list[budget_pb2.Entry] = []
        token = ""
        while True:
            request = budget_pb2.ListEntriesRequest(
                attempt_id=attempt_id, page_size=10_000, page_token=token
            )
            answer = stub.ListEntries(request, metadata=self.metadata)
            rows += answer.entries
            token = answer.next_page_token
            if not token:
                return rows

    def record(self, record_id: str) -> telemetry_pb2.Record:
        """The record, once it is shipped."""
        stub = telemetry_pb2_grpc.TelemetryServiceStub(self.channel("telemetry"))
        request = telemetry_pb2.GetRecordRequest(record_id=record_id)
        return eventually(
            lambda: stub.GetRecord(request, metadata=self.metadata).record, what="the record"
        )

    def records(self) -> list[telemetry_pb2.Record]:
        """The newest thousand records that are shipped by now."""
        stub = telemetry_pb2_grpc.TelemetryServiceStub(self.channel("telemetry"))
        request = telemetry_pb2.ListRecordsRequest(page_size=1000)
        return list(stub.ListRecords(request, metadata=self.metadata).records)

    def billed(self) -> dict[str, int]:
        """What the sandbox's own books say: nano-USD by attempt, of attempts that are over."""
        rows: dict[str, int] = {}
        for line in (self.data / "sandbox" / "sandbox-billing.jsonl").read_text().splitlines():
            row = json.loads(line)
            if "cost_usd_nanos" in row:
                rows[row["attempt_id"]] = row["cost_usd_nanos"]
        return rows

    def pid(self, service: str, worker: int = 0) -> int:
        """The process of `service` that runs now; of a Router's workers, the one of that number."""
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it ended since it was listed
                words = child.cmdline() if child.status() != psutil.STATUS_ZOMBIE else []
                if service not in words:
                    continue
                if service != "router" or words[words.index("--worker") + 1] == str(worker):
                    return child.pid
        raise LookupError(f"no process of `{service}`")

    def kill(self, service: str, worker: int = 0) -> None:
        """kill -9, and wait until another process stands in its place."""
        old = self.pid(service, worker)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: self.pid(service, worker) != old, what=f"a new {service}")

    def harmost(
        self, *args: str, check: bool = True, timeout_s: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command line against this mesh."""
        return subprocess.run(
            [*COMMAND, *args, "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=check,
        )

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


@contextmanager
def running_mesh(data: Path, *args: str) -> Iterator[Mesh]:
    """`harmost up` until the block ends; then it must end cleanly."""
    log = (data.parent / f"{data.name}.log").open("ab")
    process = subprocess.Popen(
        [*COMMAND, "up", "--port", "0", "--data", str(data), *args],
        stdout=log,
        stderr=log,
        cwd=ROOT,
    )
    try:
        eventually(lambda: _started(data, process), timeout_s=START_TIMEOUT_S, what="the mesh")
        mesh = Mesh(data, process)
        yield mesh
        mesh.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, Path(log.name).read_text()[-4000:]
    finally:
        log.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def _started(data: Path, process: "subprocess.Popen[bytes]") -> bool:
    if process.poll() is not None:
        raise RuntimeError((data.parent / f"{data.name}.log").read_text()[-4000:])
    return (data / "endpoints.json").exists() and (data / "admin.key").exists() and _serves(data)


def _serves(data: Path) -> bool:
    endpoints = json.loads((data / "endpoints.json").read_text())
    key = (data / "admin.key").read_text().strip()
    for address in (endpoints["router"], *endpoints["workers"]):
        with Client(address, key=key) as client:
            if not list(client.profiles()):
                return False
    return True
