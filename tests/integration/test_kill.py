"""kill -9 of any one service under load: it comes back, and every dollar is accounted for."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from mesh import Mesh, eventually, running_mesh

from harmost.budget.v1 import budget_pb2
from harmost.client import Client, Delta, Finished, HarmostError
from harmost.telemetry.v1 import telemetry_pb2

CALLERS = 6


class Load:
    """Callers in threads that stream until told to stop; keeps what they were acknowledged."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._stop = threading.Event()
        self.finished: list[Finished] = []
        self.failed = 0
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        with self._mesh.client() as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                self._one(client, f"load {number} {count} [[sandbox token_ms=5 output_tokens=30]]")

    def _one(self, client: Client, text: str) -> None:
        try:
            for event in client.stream("hello", text, timeout_s=20):
                if isinstance(event, Finished):
                    self.finished.append(event)
        except HarmostError:
            self.failed += 1
            time.sleep(0.1)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running_mesh(tmp_path / "data") as running:
        yield running


@pytest.mark.parametrize("service", ["router", "budget", "telemetry", "policy", "sandbox"])
@pytest.mark.timeout(180)
def test_a_killed_service_loses_and_doubles_nothing(mesh: Mesh, service: str) -> None:
    with Load(mesh) as load:
        eventually(lambda: len(load.finished) >= 10, what="load")
        mesh.kill(service)
        before = len(load.finished)
        eventually(lambda: len(load.finished) >= before + 10, timeout_s=40, what="load again")
    mesh.quiet()
    settled = {
        entry.attempt_id: entry.amount.usd_nanos
        for entry in mesh.entries()
        if entry.kind == budget_pb2.ENTRY_KIND_SETTLE
    }
    acknowledged = {a.attempt_id: a.cost_usd_nanos for f in load.finished for a in f.attempts}
    assert {key: settled.get(key) for key in acknowledged} == acknowledged
    billed = {key: cost for key, cost in mesh.billed().items() if cost}
    assert settled == billed
    recorded = {finished.record_id for finished in load.finished}
    eventually(
        lambda: recorded <= {record.record_id for record in mesh.records()}, what="all records"
    )
    ids = [record.record_id for record in mesh.records()]
    assert len(ids) == len(set(ids))


def test_a_call_that_a_killed_router_left_open_becomes_interrupted(mesh: Mesh) -> None:
    with mesh.client() as client, pytest.raises(HarmostError):
        stream = client.stream("hello", "long [[sandbox token_ms=50 output_tokens=900]]")
        for event in stream:
            if isinstance(event, Delta):
                mesh.kill("router")
                break
        next(stream)
    mesh.quiet()
    records = eventually(mesh.records, what="the record")
    print(records)
    assert [r.status for r in records] == [telemetry_pb2.RECORD_STATUS_INTERRUPTED]
    attempt = records[0].attempts[0]
    assert mesh.billed()[attempt.attempt_id] == attempt.cost_usd_nanos > 0
